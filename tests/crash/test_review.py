"""What a hostile reviewer found, each with its scenario."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys

import pytest

from hermes_kanban_plugin.configuration import LiveSettings
from hermes_kanban_plugin.dispatch.reaper import Action, Deed
from hermes_kanban_plugin.dispatch.tick import tick
from hermes_kanban_plugin.hookspecs import hookimpl
from hermes_kanban_plugin.manager import Manager
from hermes_kanban_plugin.runtime import Runtime
from hermes_kanban_plugin.testing import claim_one, make_board
from tests.conftest import host_lock, lives, wait_for

DISPATCHER = [sys.executable, "-m", "hermes_kanban_plugin.cli.main", "dispatcher", "--stop-workers"]


@pytest.fixture
def dispatcher():
    """Start dispatcher processes that end, with their workers, after the test."""
    processes: list[subprocess.Popen[str]] = []

    def start(*words: str, **how) -> subprocess.Popen[str]:
        process = subprocess.Popen([*DISPATCHER, *words], text=True, stderr=subprocess.DEVNULL, **how)
        processes.append(process)
        return process

    yield start
    for process in processes:
        process.terminate()
        process.wait(timeout=60)


def put_foreign_run(board, task_id: str, pid: int, lock: str, *, run: bool = True) -> int | None:
    """Let a task be held by a worker of the host's own dispatcher."""
    run_id = None
    if run:
        insert = (
            "INSERT INTO task_runs (task_id, status, claim_lock, started_at) VALUES (?, 'running', ?, 1) RETURNING id"
        )
        run_id = board.writer.execute(insert, (task_id, lock)).fetchone()[0]
    board.writer.execute(
        "UPDATE tasks SET status = 'running', claim_lock = ?, claim_expires = 1, worker_pid = ?, current_run_id = ? "
        "WHERE id = ?",
        (lock, pid, run_id, task_id),
    )
    return run_id


def test_a_frozen_supervisor_does_not_park_a_reclaimed_task_for_ever(workshop, dispatcher):
    workshop.configure(
        {"lane": "test -e ../again && exit 0; touch ../again; sleep 600"}, farewell_seconds=0, terminate_grace_seconds=1
    )
    task_id = workshop.board.create_task(title="x", assignee="lane")
    workshop.tick()
    run = workshop.run(task_id)
    os.kill(run.supervisor_pid, signal.SIGSTOP)
    workshop.board.reclaim(workshop.board.task(task_id), None, "tester")
    dispatcher()
    wait_for(lambda: workshop.board.task(task_id).status == "done", "the task to be done", seconds=60)
    assert not lives(run.worker_pid)


def test_a_running_task_without_a_run_and_with_a_dead_pid_is_taken_back(board, home, clock):
    task_id = board.create_task(title="x", assignee="w")
    put_foreign_run(board, task_id, 4194304, host_lock(), run=False)
    runtime = Runtime(home, clock, Manager(discover=False))
    assert [saved.task_id for saved in tick(board, runtime).rescued] == [task_id]
    assert board.task(task_id).status == "ready"
    runtime.close()


def test_another_worker_of_the_same_host_dispatcher_is_not_touched(board, home, clock):
    """The host gives one lock to all its workers; a pid that now belongs to a sibling is not this run's worker."""
    lock = host_lock()
    task_id = board.create_task(title="x", assignee="w")
    environment = {**os.environ, "HERMES_KANBAN_CLAIM_LOCK": lock, "HERMES_KANBAN_RUN_ID": "77"}
    sibling = subprocess.Popen(["sleep", "600"], env=environment)
    try:
        put_foreign_run(board, task_id, sibling.pid, lock)
        manager = Manager(discover=False)
        assert not manager.ask("kanban_terminate_worker", run=board.held_run(task_id), grace_seconds=0.1)
        assert lives(sibling.pid)
    finally:
        sibling.kill()
        sibling.wait()


@pytest.mark.parametrize("verb", [["reclaim"], ["block"], ["complete"]])
def test_a_worker_of_the_host_is_stopped_before_its_task_is_taken_away(board, home, verb):
    task_id = board.create_task(title="x", assignee="w")
    lock = host_lock()
    environment = {**os.environ, "HERMES_KANBAN_CLAIM_LOCK": lock, "HERMES_KANBAN_RUN_ID": "1"}
    worker = subprocess.Popen(["sleep", "600"], env=environment)
    try:
        assert put_foreign_run(board, task_id, worker.pid, lock) == 1
        command = [sys.executable, "-m", "hermes_kanban_plugin.cli.main", *verb, task_id]
        subprocess.run(command, check=True, capture_output=True)
        assert worker.wait(timeout=10) == -signal.SIGTERM
    finally:
        worker.kill()
        worker.wait()


def test_the_limit_of_a_host_worker_is_enforced_and_counted(board, home, clock):
    task_id = board.create_task(title="x", assignee="w", max_runtime_seconds=5)
    lock = host_lock()
    environment = {**os.environ, "HERMES_KANBAN_CLAIM_LOCK": lock, "HERMES_KANBAN_RUN_ID": "1"}
    worker = subprocess.Popen(["sleep", "600"], env=environment)
    try:
        put_foreign_run(board, task_id, worker.pid, lock)
        board.writer.execute("UPDATE task_runs SET max_runtime_seconds = 5")
        runtime = Runtime(home, clock, Manager(discover=False))
        assert [saved.outcome for saved in tick(board, runtime).rescued] == ["timed_out"]
        assert board.task(task_id).consecutive_failures == 1
        assert not lives(worker.pid)
        runtime.close()
    finally:
        worker.kill()
        worker.wait()


def test_a_board_that_is_locked_at_the_launch_is_not_the_tasks_failure(workshop, monkeypatch):
    monkeypatch.setenv("HERMES_KANBAN_BUSY_TIMEOUT_MS", "100")
    flag = workshop.home / "reached"
    monkeypatch.setenv("HERMES_KANBAN_TEST_POINT", f"supervisor.before_accept=stop@{flag}")
    workshop.configure({"lane": "true"})
    task_id = workshop.board.create_task(title="x", assignee="lane")
    workshop.tick()
    wait_for(flag.exists, "the supervisor to wait before its claim")
    launched = workshop.runtime.launched[0]
    with make_board(workshop.database) as other:
        other.writer.execute("BEGIN IMMEDIATE")
        os.kill(launched.pid, signal.SIGCONT)
        assert launched._process.wait(timeout=30) == 75
        other.writer.execute("ROLLBACK")
    assert workshop.settle(task_id, "done") == "done"
    assert [run.outcome for run in workshop.board.runs(task_id)] == ["reclaimed", "completed"]


@pytest.mark.parametrize("device", ["/dev/full"])
def test_an_output_that_is_full_does_not_end_the_dispatcher(workshop, dispatcher, device):
    workshop.configure({"lane": "true"})
    with open(device, "w") as full:
        process = dispatcher("--json", stdout=full)
        for _ in range(2):
            task_id = workshop.board.create_task(title="x", assignee="lane")
            wait_for(lambda task_id=task_id: workshop.board.task(task_id).status == "done", "the task to be done")
        assert process.poll() is None


def test_a_board_that_was_replaced_is_served_again(workshop, dispatcher):
    workshop.configure({"lane": "true"})
    dispatcher(stdout=subprocess.DEVNULL)
    early = workshop.board.create_task(title="x", assignee="lane")
    wait_for(lambda: workshop.board.task(early).status == "done", "the first board to be served")
    workshop.restart()
    for name in ("kanban.db", "kanban.db-wal", "kanban.db-shm"):
        (workshop.home / name).unlink()
    make_board(workshop.database).close()
    late = workshop.board.create_task(title="y", assignee="lane")
    wait_for(lambda: workshop.board.task(late).status == "done", "the new board to be served")


def test_a_damaged_board_does_not_keep_the_others_from_being_served(workshop, dispatcher):
    workshop.configure({"lane": "true"})
    other = workshop.home / "kanban" / "boards" / "two" / "kanban.db"
    make_board(other, slug="two").close()
    two = sqlite3.connect(other)
    assert two.execute("PRAGMA journal_mode=DELETE").fetchone() == ("delete",)
    two.close()
    process = dispatcher(stdout=subprocess.DEVNULL)
    early = workshop.board.create_task(title="x", assignee="lane")
    wait_for(lambda: workshop.board.task(early).status == "done", "the first task")
    other.write_bytes(b"garbage" * 5000)
    late = workshop.board.create_task(title="y", assignee="lane")
    wait_for(lambda: workshop.board.task(late).status == "done", "the second task")
    assert process.poll() is None


def test_limits_do_not_vanish_while_the_settings_are_written_anew(home):
    path = home / "config.yaml"
    path.write_text(json.dumps({"kanban": {"max_spawn": 1}}))
    live = LiveSettings(home)
    path.write_text("")
    assert live.current().host.max_spawn == 1
    path.unlink()
    assert live.current().host.max_spawn == 1
    path.write_text(json.dumps({"kanban": {"max_spawn": 2}}))
    assert live.current().host.max_spawn == 2


def test_one_board_served_alone_still_counts_what_runs_on_the_others(workshop, dispatcher):
    workshop.configure({"lane": "sleep 600"}, kanban={"max_in_progress": 1})
    workshop.board.create_task(title="x", assignee="lane")
    run_id = workshop.tick().started[0].run_id
    with make_board(workshop.home / "kanban" / "boards" / "two" / "kanban.db", slug="two") as two:
        waiting = two.create_task(title="y", assignee="lane")
        command = [*DISPATCHER[:3], "--board", "two", *DISPATCHER[3:]]
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        terms = "SELECT count(*) FROM kp_dispatchers"
        wait_for(lambda: two.writer.execute(terms).fetchone()[0], "the second board to be served")
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(timeout=1)
        assert two.task(waiting).status == "ready"
        process.terminate()
        process.wait(timeout=30)
    os.kill(workshop.run(workshop.board.tasks()[0].id).supervisor_pid, signal.SIGTERM)
    workshop.ended(run_id)


def test_the_workspace_of_a_task_that_was_deleted_is_removed(workshop):
    workshop.configure({"lane": "true"})
    parent = workshop.board.create_task(title="p", assignee="lane")
    workshop.board.create_task(title="c", parents=(parent,))
    assert workshop.settle(parent, "done") == "done"
    folder = workshop.home / "kanban" / "workspaces" / parent
    assert folder.exists()
    for table, column in (("tasks", "id"), ("task_links", "parent_id")):
        workshop.board.writer.execute(f"DELETE FROM {table} WHERE {column} = ?", (parent,))
    workshop.tick()
    assert not folder.exists()


def test_a_clock_that_was_set_back_does_not_make_a_pause_last_for_hours(board, home, clock):
    task_id = board.create_task(title="x", assignee="nobody")
    insert = (
        "INSERT INTO task_runs (task_id, status, outcome, started_at, ended_at) VALUES (?, 'x', 'rate_limited', ?, ?)"
    )
    board.writer.execute(insert, (task_id, clock.now() + 7200, clock.now() + 7200))
    runtime = Runtime(home, clock, Manager(discover=False))
    report = tick(board, runtime)
    assert [skipped.task_id for skipped in report.skipped] == [task_id]  # considered: only nobody is there to start
    runtime.close()


def test_what_a_plugin_counts_without_a_word_of_its_own_is_a_crash(board, home, clock):
    class Strict:
        @hookimpl
        def kanban_orphan_decide(self):
            return Action(Deed.COUNT, "no mercy")

    manager = Manager(discover=False)
    manager.register(Strict(), "strict")
    runtime = Runtime(home, clock, manager)
    task_id = board.create_task(title="x", assignee="nobody")
    claim_one(board, task_id)
    assert [saved.outcome for saved in tick(board, runtime).rescued] == ["crashed"]
    assert board.task(task_id).consecutive_failures == 1
    runtime.close()
