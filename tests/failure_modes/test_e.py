"""Group E: scheduling. Each test builds what users suffered from and holds the pass condition of its row."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from hermes_kanban_plugin.board import create_board
from hermes_kanban_plugin.diagnosis import surroundings, why
from hermes_kanban_plugin.diagnosis.answer import By
from hermes_kanban_plugin.diagnosis.finding import Finding, Level
from hermes_kanban_plugin.dispatch.tick import tick_all
from hermes_kanban_plugin.manager import Manager
from hermes_kanban_plugin.memory import MIB, Sample
from hermes_kanban_plugin.runtime import Runtime
from hermes_kanban_plugin.store import dispatchers, journal, queries
from hermes_kanban_plugin.store.transaction import immediate
from hermes_kanban_plugin.testing import FakeClock, place_of
from tests.conftest import Workshop, lives, wait_for
from tests.failure_modes.conftest import Stage, reason, served

GIB = 1024 * MIB


def findings(stage: Stage) -> list[Finding]:
    return surroundings.diagnose(stage.runtime, served(stage))


@pytest.fixture
def dispatcher(workshop: Workshop) -> Iterator[Callable[[], subprocess.Popen[bytes]]]:
    """Start dispatcher processes that end with the test, politely, so that they end what they started."""
    processes: list[subprocess.Popen[bytes]] = []

    def start() -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "hermes_kanban_plugin.cli.main", "dispatcher"]
        processes.append(subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
        return processes[-1]

    yield start
    for process in processes:
        process.send_signal(signal.SIGCONT)
        process.terminate()
        process.wait(timeout=30)


def test_E1_a_dispatcher_that_is_frozen_or_dead_is_named_and_how_to_revive_it(
    workshop: Workshop, dispatcher: Callable[[], subprocess.Popen[bytes]]
) -> None:
    process = dispatcher()
    wait_for(lambda: dispatchers.latest(workshop.board.writer), "the first tick")
    workshop.board.create_task(title="waits", assignee="ghost")

    def look(later: float = 0) -> Finding | None:
        runtime = Runtime(workshop.home, FakeClock(time.time() + later), Manager(discover=False))
        try:
            found = surroundings.inspect(runtime, place_of(workshop.database))
        finally:
            runtime.close()
        return next((one for one in found if one.kind == "dispatcher_silent"), None)

    assert look() is None
    process.send_signal(signal.SIGSTOP)
    interval = workshop.runtime.settings.host.dispatch_interval_seconds
    frozen = look(later=interval)
    assert frozen is not None, "an outside observer alarms within one interval"
    assert (frozen.level, frozen.fix) == (Level.CRITICAL, f"kill -CONT {process.pid}")
    process.kill()
    process.wait()
    dead = look()
    assert dead is not None, "a death shows at once"
    assert (dead.level, dead.fix) == (Level.CRITICAL, "hermes-kanban dispatcher")
    assert str(process.pid) in dead.sentence


def test_E2_a_board_that_was_broken_comes_back_by_itself_and_stops_no_other(stage: Stage) -> None:
    path = stage.home / "kanban" / "boards" / "second" / "kanban.db"
    second = place_of(path, "second")
    create_board(second)
    board = stage.runtime.open(second)
    board.create_task(title="on the second board", assignee="puppet")
    stage.create()
    aside, garbage = path.with_name("aside"), path.with_name("garbage")
    garbage.write_bytes(b"no database " * 500)
    os.replace(path, aside)
    os.replace(garbage, path)
    locations = [second, stage.board.location]
    (report,) = tick_all(stage.runtime, locations)
    assert report.board == "default"
    assert len(report.started) == 1
    os.replace(aside, path)
    reports = {report.board: report for report in tick_all(stage.runtime, locations)}
    assert len(reports["second"].started) == 1


def test_E3_a_slow_decomposition_holds_up_nobody(
    workshop: Workshop, dispatcher: Callable[[], subprocess.Popen[bytes]], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    note, program = tmp_path / "pid", tmp_path / "hermes"
    program.write_text(f"#!/bin/sh\necho $$ > {note}.new && mv {note}.new {note}\nexec sleep 600\n")
    program.chmod(0o755)
    monkeypatch.setenv("HERMES_BIN", str(program))
    workshop.configure({"quick": "true"}, kanban={"auto_decompose": True})
    workshop.board.create_task(title="describe me", triage=True)
    process = dispatcher()
    wait_for(note.exists, "the decomposition to begin")
    ids = [workshop.board.create_task(title="ready", assignee="quick") for _ in range(5)]
    wait_for(lambda: all(workshop.board.task(one).status == "done" for one in ids), "five tasks to be done")
    slow = int(note.read_text())
    assert lives(slow)
    process.terminate()
    process.wait(timeout=30)
    wait_for(lambda: not lives(slow), "the decomposition to be ended with its dispatcher")


def test_E4_a_cap_that_is_edited_holds_from_the_next_tick_and_is_shown_with_its_source(
    stage: Stage, capsys: pytest.CaptureFixture[str]
) -> None:
    from hermes_kanban_plugin.cli.main import main

    config = stage.home / "config.yaml"
    document = json.loads(config.read_text())
    first = [stage.create() for _ in range(2)]
    assert stage.started() == sorted(first, key=lambda one: (stage.board.task(one).created_at, one))
    config.write_text(json.dumps({**document, "kanban": {"max_in_progress": 2}}))
    stage.runtime.reload()
    third = stage.create()
    assert stage.started() == []
    assert reason(stage, third).code == "capacity"
    main(["status", "--json"])
    cap = json.loads(capsys.readouterr().out)["caps"]["max_in_progress"]
    assert cap["value"] == 2
    assert str(config) in cap["source"]


def test_E5_no_route_of_ours_goes_past_a_cap(workshop: Workshop) -> None:
    workshop.configure({"slow": "sleep 600"}, kanban={"max_in_progress": 1})
    ids = [workshop.board.create_task(title="nudged", assignee="slow") for _ in range(5)]
    command = [sys.executable, "-m", "hermes_kanban_plugin.cli.main", "dispatch"]

    def running() -> int:
        return sum(workshop.board.task(one).status == "running" for one in ids)

    for _ in range(2):
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, timeout=60)
        assert running() == 1
        workshop.tick()
        assert running() == 1
    (held,) = [one for one in ids if workshop.board.task(one).status == "running"]
    run = workshop.run(held)
    assert run.supervisor_pid is not None
    os.kill(run.supervisor_pid, signal.SIGTERM)  # ends its worker and releases the task
    workshop.ended(run.run_id or 0)


HOST_TICK = """
import json, sys
from pathlib import Path
from hermes_cli import kanban_db
with kanban_db.connect(Path(sys.argv[1])) as board:
    done = kanban_db.dispatch_once(board, spawn_fn=lambda task, workspace, board=None: None)
print(json.dumps([done.skipped_locked, len(done.spawned)]))
"""


@pytest.mark.host
def test_E5_a_tick_of_hermes_does_nothing_on_a_board_that_we_serve(workshop: Workshop, dispatcher) -> None:
    """The button of its dashboard, its desktop and ``hermes kanban dispatch`` know no caps."""
    workshop.configure({"slow": "sleep 600"}, kanban={"max_in_progress": 1})
    (workshop.home / "profiles" / "slow").mkdir(parents=True)
    ids = [workshop.board.create_task(title="nudged", assignee="slow") for _ in range(5)]

    def tick_of_hermes() -> list[int]:
        command = [sys.executable, "-c", HOST_TICK, str(workshop.database)]
        return json.loads(subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout)

    served = dispatcher()
    held = wait_for(lambda: next(iter(queries.held_runs(workshop.board.reader)), None), "a worker")
    workshop.run(held.task_id)
    for _ in range(3):
        assert tick_of_hermes() == [True, 0]
    served.kill()
    served.wait()
    locked, spawned = tick_of_hermes()  # nobody serves it any more: the kernel gave the lock back
    assert (locked, spawned > 0) == (False, True)
    for task in map(workshop.board.task, ids):
        if task.status == "running":
            workshop.board.reclaim(task, "the end of the test", "ann")
    workshop.ended(held.run_id)


def test_E6_a_cap_per_profile_counts_over_all_boards(stage: Stage) -> None:
    stage.configure({"max_in_progress_per_profile": 3})
    second = place_of(stage.home / "kanban" / "boards" / "second" / "kanban.db", "second")
    create_board(second)
    for _ in range(5):
        stage.create()
        stage.runtime.open(second).create_task(title="elsewhere", assignee="puppet")
    locations = [second, stage.board.location]
    started = [one for _ in range(3) for report in tick_all(stage.runtime, locations) for one in report.started]
    assert len(started) == 3


def test_E6_an_assignee_can_have_a_cap_of_its_own_over_all_boards(stage: Stage) -> None:
    stage.configure({"max_in_progress_per_profile": 2}, assignee_caps={"Puppet": 3})
    second = place_of(stage.home / "kanban" / "boards" / "second" / "kanban.db", "second")
    create_board(second)
    for _ in range(3):
        stage.create()
        stage.runtime.open(second).create_task(title="elsewhere", assignee="puppet")
    reports = [report for _ in range(3) for report in tick_all(stage.runtime, [second, stage.board.location])]
    assert len([one for report in reports for one in report.started]) == 3
    assert "assignee_caps 3" in reports[-1].skipped[0].reason


def test_E7_a_running_task_counts_once(stage: Stage) -> None:
    stage.configure({"max_in_progress": 4, "max_spawn": 3})
    for _ in range(2):
        stage.create()
    assert len(stage.started()) == 2
    for _ in range(3):
        stage.create()
    assert len(stage.started()) == 1


def test_E8_full_slots_are_a_reason_and_no_alarm(stage: Stage) -> None:
    stage.configure({"max_in_progress": 1})
    ids = [stage.create() for _ in range(30)]
    (held,) = stage.started()
    waiting = [one for one in ids if one != held]
    stage.tick(7200)
    found = [one for one in findings(stage) if one.level is not Level.INFO and one.kind != "sqlite_version_risk"]
    assert found == []
    (cap,) = [one for one in findings(stage) if one.kind == "cap_reached"]
    assert cap.evidence["count"] == len(waiting)
    answer = reason(stage, waiting[0])
    assert (answer.code, answer.next.by) == ("capacity", By.WORKER)


def test_E9_each_card_that_cannot_run_says_exactly_why(stage: Stage) -> None:
    cards = {
        "ghost": "neither a profile nor a lane",
        "@anna": "neither a profile nor a lane",
        None: "no assignee",
    }
    ids = {assignee: stage.create(assignee=assignee) for assignee in cards}
    report = stage.tick()
    skipped = {one.task_id: one.reason for one in report.skipped}
    for assignee, words in cards.items():
        answer = reason(stage, ids[assignee])
        assert words in answer.reason
        assert (answer.next.by, answer.level) == (By.PERSON, Level.ERROR)
        assert answer.next.command == f"hermes kanban assign {ids[assignee]} <PROFILE>"
        assert str(assignee) in skipped[ids[assignee]] or assignee is None
    told = {task for one in findings(stage) if one.level is Level.ERROR for task in one.evidence["tasks"]}
    assert told == set(ids.values())


def test_E10_the_higher_priority_starts_first_and_a_dead_card_takes_no_slot(stage: Stage) -> None:
    stage.configure({"max_in_progress": 1})
    stage.create(assignee="ghost", priority=9)
    low, high = stage.create(priority=1), stage.create(priority=2)
    assert stage.started() == [high]
    stage.complete(high)
    assert stage.started() == [low]


def test_E10_waiting_raises_a_task_above_ever_new_ones(stage: Stage) -> None:
    """However many more important ones come, it starts: its priority grows by one each hour."""
    stage.configure({"max_in_progress": 1})
    patient = stage.create(priority=0)
    for hour in range(5):
        urgent = stage.create(priority=3)
        (started,) = stage.started(3600 if hour else 0)
        if started == patient:
            break
        assert started == urgent
        stage.complete(started)
    assert hour == 4
    assert stage.status(patient) == "running"


@pytest.mark.parametrize(
    ("sample", "at_once"),
    [
        (Sample(16 * GIB, 9 * GIB), 5),
        (Sample(16 * GIB, 9 * GIB, 2 * GIB, 0), 5),  # a full swap alone is no alarm
        (Sample(16 * GIB, GIB, 2 * GIB, 2 * GIB), 1),
        (Sample(16 * GIB, GIB, 2 * GIB, 0), 0),
        (Sample(16 * GIB, 9 * GIB, 0, 0, 90.0, 60.0), 0),
        (Sample(None, None), 2),  # unknown is not unlimited
    ],
)
def test_E11_the_memory_of_the_machine_bounds_what_is_started(stage: Stage, mocker, sample, at_once: int) -> None:
    mocker.patch("hermes_kanban_plugin.machine.sample", return_value=sample)
    ids = [stage.create() for _ in range(5)]
    assert len(stage.started()) == at_once
    for _ in range(3):
        assert stage.started(60) == []
    waiting = [one for one in ids if stage.status(one) == "ready"]
    assert len(waiting) == 5 - at_once
    if waiting:
        answer = reason(stage, waiting[0])
        assert (answer.code, answer.next.by) == ("memory", By.TICK)
        assert {found.kind for found in findings(stage) if waiting[0] in str(found.evidence)} == {"ready_not_runnable"}
    mocker.patch("hermes_kanban_plugin.machine.sample", return_value=Sample(16 * GIB, 9 * GIB))
    assert len(stage.started()) == len(waiting)


def test_E12_tasks_that_share_a_pool_run_one_after_another(stage: Stage) -> None:
    stage.configure(pools={"gpu": {"size": 1, "assignees": ["puppet"]}}, more_lanes=["clerk"])
    second = place_of(stage.home / "kanban" / "boards" / "second" / "kanban.db", "second")
    create_board(second)
    first = stage.create()
    elsewhere = stage.runtime.open(second).create_task(title="on another board", assignee="puppet")
    free = stage.create(assignee="clerk")
    boards = [stage.board.location, second]

    def started() -> set[str]:
        return {one.task_id for report in tick_all(stage.runtime, boards) for one in report.started}

    assert started() == {first, free}
    assert started() == set()
    stage.complete(first)
    assert started() == {elsewhere}


def test_E13_the_next_task_starts_without_waiting_for_the_timed_tick(
    workshop: Workshop, dispatcher: Callable[[], subprocess.Popen[bytes]]
) -> None:
    workshop.configure({"quick": "true"}, kanban={"dispatch_interval_seconds": 3600})
    dispatcher()
    wait_for(lambda: dispatchers.latest(workshop.board.writer), "the first tick")
    parent = workshop.board.create_task(title="parent", assignee="quick")
    child = workshop.board.create_task(title="child", assignee="quick", parents=[parent])
    wait_for(lambda: workshop.board.task(child).status == "done", "parent and child, long before the timed tick")


def test_E15_a_card_with_an_unknown_skill_is_blocked_and_never_started(
    workshop: Workshop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program, trace = tmp_path / "hermes", tmp_path / "trace"
    program.write_text(f"#!/bin/sh\necho started >> {trace}\n")
    program.chmod(0o755)
    monkeypatch.setenv("HERMES_BIN", str(program))
    profile = workshop.home / "profiles" / "coder"
    (profile / "skills" / "pdf").mkdir(parents=True)
    (profile / "skills" / "pdf" / "SKILL.md").write_text("Read it.\n")
    (profile / ".no-bundled-skills").touch()
    task_id = workshop.board.create_task(title="t", assignee="coder", skills=["pdf", "no-such-skill", "web"])
    for _ in range(5):
        assert workshop.tick().started == []
    task = workshop.board.task(task_id)
    assert (task.status, task.consecutive_failures, task.block_kind) == ("blocked", 0, "capability")
    assert not trace.exists()
    facts = surroundings.look(workshop.runtime, workshop.board, task_id)
    (case,) = facts.cases
    said = why.explain(case, facts).reason
    assert "no-such-skill" in case.turn.word("reason")
    assert str(profile / "skills") in case.turn.word("reason")
    assert "pdf," not in case.turn.word("reason")
    assert "no-such-skill" in said
    assert workshop.board.runs(task_id) == []  # no attempt
    shutil.copytree(profile / "skills" / "pdf", profile / "skills" / "no-such-skill")
    shutil.copytree(profile / "skills" / "pdf", profile / "skills" / "web")
    workshop.board.unblock(task_id, "me")
    assert [started.task_id for started in workshop.tick().started] == [task_id]
    run_id = workshop.board.runs(task_id)[-1].id
    workshop.ended(run_id)


def test_E16_a_card_that_the_loop_breaker_parked_is_not_rewritten_and_not_started(stage: Stage) -> None:
    task_id = stage.create(body="the contract")
    for _ in range(2):
        assert stage.started() == [task_id]
        status = stage.block(task_id, "which colour?", "needs_input")
        if status == "blocked":
            stage.board.unblock(task_id, "me")
    assert stage.status(task_id) == "triage"
    assert queries.open_triage_ids(stage.board.reader) == []  # what the decomposer may take
    for _ in range(20):
        assert stage.started(3600) == []
    assert stage.columns(task_id, "body", "status") == ("the contract", "triage")
    answer = reason(stage, task_id)
    assert (answer.code, answer.next.by) == ("block_loop", By.PERSON)


def test_E17_a_pull_request_in_a_comment_holds_nothing_back(stage: Stage) -> None:
    task_id = stage.create()
    stage.board.comment(task_id, "me", "see https://github.com/o/r/pull/7, which is closed")
    with immediate(stage.board.writer) as writer:
        journal.append(writer, task_id, "respawn_guarded", {"reason": "active_pr"}, stage.now)
    assert reason(stage, task_id).code == "starting"
    assert stage.started() == [task_id]
