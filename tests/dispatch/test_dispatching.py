"""Starting workers: order, caps, lanes, environment, dry run."""

from __future__ import annotations

import hashlib
import json

import pytest

from hermes_kanban_plugin.dispatch.tick import rehearse, tick_all
from hermes_kanban_plugin.locations import tick_lock
from hermes_kanban_plugin.locks import FileLock
from hermes_kanban_plugin.testing import make_board


def test_priority_then_age_decide_within_the_cap(workshop):
    workshop.configure({"lane": "sleep 600"}, kanban={"max_in_progress": 2})
    low, first, second = (
        workshop.board.create_task(title=title, assignee="lane", priority=priority)
        for title, priority in (("low", 0), ("first", 5), ("second", 5))
    )
    workshop.board.writer.execute("UPDATE tasks SET created_at = created_at - 9 WHERE id = ?", (first,))
    report = workshop.tick()
    assert [started.task_id for started in report.started] == [first, second]
    assert [skipped.task_id for skipped in report.skipped] == [low]
    assert "max_in_progress 2" in report.skipped[0].reason
    assert workshop.tick().started == []


def test_running_tasks_count_once_on_whatever_board(workshop, home):
    workshop.configure({"lane": "sleep 600"}, kanban={"max_spawn": 4, "max_in_progress": 3})
    database = home / "kanban" / "boards" / "other" / "kanban.db"
    with make_board(database, slug="other") as other:
        for board in (workshop.board, other):
            for number in range(3):
                board.create_task(title=str(number), assignee="lane")
        boards = [workshop.board.location, other.location._replace(root=home)]
        reports = tick_all(workshop.runtime, boards)
        assert [len(report.started) for report in reports] == [3, 0]


def test_the_cap_per_profile_leaves_room_for_others(workshop):
    workshop.configure({"a": "sleep 600", "b": "sleep 600"}, kanban={"max_in_progress_per_profile": 1})
    for assignee in ("a", "a", "b"):
        workshop.board.create_task(title="x", assignee=assignee)
    assert sorted(started.assignee for started in workshop.tick().started) == ["a", "b"]


def test_the_default_assignee_is_written_on_the_task(workshop):
    workshop.configure({"lane": "true"}, kanban={"default_assignee": "Lane"})
    task_id = workshop.board.create_task(title="x")
    workshop.tick()
    assert workshop.board.task(task_id).assignee == "lane"
    assert workshop.board.events(task_id)[1].payload == {"assignee": "lane", "source": "kanban.default_assignee"}


def test_a_lowered_cap_holds_from_the_next_tick(workshop):
    workshop.configure({"lane": "sleep 600"})
    workshop.board.create_task(title="x", assignee="lane")
    assert len(workshop.tick().started) == 1
    workshop.configure({"lane": "sleep 600"}, kanban={"max_spawn": 1})
    workshop.board.create_task(title="y", assignee="lane")
    assert workshop.tick().started == []


def test_an_unfinished_review_goes_back_to_review(workshop):
    workshop.configure({"lane": "exit 3"})
    task_id = workshop.board.create_task(title="x", assignee="lane")
    workshop.board.writer.execute("UPDATE tasks SET status = 'review' WHERE id = ?", (task_id,))
    report = workshop.tick()
    workshop.ended(report.started[0].run_id)
    assert workshop.board.task(task_id).status == "review"


def test_a_task_waits_while_the_earlier_workers_end_is_not_proven(workshop):
    workshop.configure({"lane": "true"})
    task_id = workshop.board.create_task(title="x", assignee="lane")
    insert = """INSERT INTO kp_runs (run_id, task_id, lane, source_status, claimed_at, launch_deadline, accepted_at,
        host_id, boot_id, pid_namespace, supervisor_pid, worker_pid)
        VALUES (99, ?, 'command', 'ready', ?, ?, ?, 'another machine', 'b', 'p', 1, 2)"""
    now = workshop.board.clock.now()
    workshop.board.writer.execute(insert, (task_id, now, now, now))
    closed = "INSERT INTO task_runs (id, task_id, status, started_at, ended_at) VALUES (99, ?, 'done', ?, ?)"
    workshop.board.writer.execute(closed, (task_id, now, now))
    assert workshop.tick().started == []
    workshop.board.writer.execute("UPDATE task_runs SET ended_at = ended_at - 1000, started_at = 1 WHERE id = 99")
    assert len(workshop.tick().started) == 1


def test_the_worker_gets_the_contracts_environment(workshop, home):
    line = 'env | grep -E "^(HERMES|TERMINAL)" | sort; pwd'
    workshop.configure({"lane": line})
    task_id = workshop.board.create_task(title="x", assignee="lane", tenant="acme", max_runtime_seconds=3600)
    run_id = workshop.tick().started[0].run_id
    *lines, folder = workshop.ended(run_id).last_output.splitlines()
    got = dict(line.split("=", 1) for line in lines)
    workspace = str(home / "kanban" / "workspaces" / task_id)
    assert folder == workspace
    lock = got.pop("HERMES_KANBAN_CLAIM_LOCK")
    assert lock.endswith(task_id)
    assert got == {
        "HERMES_HOME": str(home),
        "HERMES_PROFILE": "lane",
        "HERMES_TENANT": "acme",
        "HERMES_KANBAN_TASK": task_id,
        "HERMES_KANBAN_RUN_ID": str(run_id),
        "HERMES_KANBAN_WORKSPACE": workspace,
        "HERMES_KANBAN_DB": str(home / "kanban.db"),
        "HERMES_KANBAN_WORKSPACES_ROOT": str(home / "kanban" / "workspaces"),
        "HERMES_KANBAN_BOARD": "default",
        "TERMINAL_CWD": workspace,
        "TERMINAL_TIMEOUT": "3570",
        "TERMINAL_MAX_FOREGROUND_TIMEOUT": "3570",
    }


def test_a_rehearsal_says_what_the_tick_then_does_and_changes_no_byte(workshop):
    workshop.configure({"lane": "sleep 600"}, kanban={"max_in_progress": 1})
    parent = workshop.board.create_task(title="p", assignee="lane")
    workshop.board.create_task(title="c", assignee="lane", parents=(parent,))
    stray = workshop.board.create_task(title="s")
    workshop.board.writer.execute("UPDATE tasks SET claim_lock = 'gone:1' WHERE id = ?", (stray,))
    workshop.board.writer.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    before = hashlib.sha256(workshop.database.read_bytes()).hexdigest(), workshop.board.reader.total_changes
    rehearsed = rehearse(workshop.board, workshop.runtime)
    assert hashlib.sha256(workshop.database.read_bytes()).hexdigest() == before[0]
    done = workshop.tick()
    same = ("promoted", "rescued", "repaired", "skipped")
    assert {name: getattr(rehearsed, name) for name in same} == {name: getattr(done, name) for name in same}
    assert [one.task_id for one in rehearsed.started] == [one.task_id for one in done.started] == [parent]


def test_a_board_that_somebody_else_is_ticking_is_left_alone(workshop):
    workshop.configure({"lane": "true"})
    workshop.board.create_task(title="x", assignee="lane")
    lock = FileLock(tick_lock(workshop.database))
    assert lock.acquire()
    assert workshop.tick().locked_out
    lock.release()
    assert len(workshop.tick().started) == 1


@pytest.mark.parametrize("placeholder", ["{title}", "{body}", "{task_id}", "{workspace}", "{run_id}"])
def test_placeholders_are_arguments_and_never_shell(workshop, placeholder):
    lanes = {"lane": {"command": ["printf", "%s", placeholder]}}
    (workshop.home / "config.yaml").write_text(
        json.dumps({"plugins": {"entries": {"hermes-kanban": {"lanes": lanes}}}})
    )
    evil = "'; touch /tmp/evil; echo {task_id} '"
    task_id = workshop.board.create_task(title=evil, body=evil, assignee="lane")
    run = workshop.ended(workshop.tick().started[0].run_id)
    workspace = workshop.board.task(task_id).workspace_path
    expected = {
        "{title}": evil,
        "{body}": evil,
        "{task_id}": task_id,
        "{workspace}": workspace,
        "{run_id}": str(run.id),
    }
    assert run.summary == expected[placeholder].strip()
