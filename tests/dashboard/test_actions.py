"""What each button does to the board, and that it does nothing to a row that is not what was shown."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from hermes_kanban_plugin.dashboard import actions
from hermes_kanban_plugin.dashboard.actions import ACTOR, Press, act, preview_stale, reclaim_stale
from hermes_kanban_plugin.errors import ChangedMeanwhile, InvalidArgument, KanbanError, UnknownTask, WrongState
from hermes_kanban_plugin.foreign import stop_foreign_worker
from hermes_kanban_plugin.manager import Manager
from hermes_kanban_plugin.runtime import Runtime
from hermes_kanban_plugin.store.moves import Seen
from hermes_kanban_plugin.store.outcomes import Handoff
from hermes_kanban_plugin.testing import claim_one, violations
from tests.conftest import host_lock, lives, wait_for
from tests.dashboard.conftest import lose, press_of, works

if TYPE_CHECKING:
    from pathlib import Path

    from hermes_kanban_plugin.board import Board
    from tests.conftest import Workshop


@pytest.fixture
def runtime(home: Path, board: Board) -> Runtime:
    return Runtime(home, board.clock, Manager(discover=False))


def spoil(board: Board, statement: str, *values: object) -> None:
    board.writer.execute(statement, values)


def add(board: Board, **fields: Any) -> str:
    return board.create_task(**{"title": "a task", "assignee": "worker", **fields})


def running(board: Board) -> str:
    task_id = add(board)
    claim_one(board, task_id)
    return task_id


def blocked(board: Board) -> str:
    task_id = add(board)
    board.block(task_id, "wait", None, "anna")
    return task_id


def stray(board: Board) -> str:
    task_id = add(board)
    spoil(board, "UPDATE tasks SET claim_lock = 'gone:1:x' WHERE id = ?", task_id)
    return task_id


def skilled(board: Board) -> str:
    return add(board, skills=["juggling"])


def failing(board: Board) -> str:
    task_id = add(board)
    spoil(board, "UPDATE tasks SET consecutive_failures = 3, last_failure_error = 'x' WHERE id = ?", task_id)
    return task_id


def finished_late(board: Board) -> str:
    task_id = add(board)
    lease = claim_one(board, task_id)
    board.reclaim(board.task(task_id), None, "anna")
    assert board.keep_completion(lease, Handoff("all done"))
    return task_id


def waiting(board: Board) -> str:
    task_id = add(board)
    lease = claim_one(board, task_id)
    board.reclaim(board.task(task_id), None, "anna")
    spoil(board, "UPDATE kp_runs SET retry_at = 2000000000 WHERE run_id = ?", lease.run_id)
    return task_id


SCENES: dict[str, tuple[Callable[[Board], str], str, str, str]] = {
    # verb: (scene, said, status then, event)
    "reclaim": (running, "was reclaimed and is ready", "ready", "reclaimed"),
    "stop": (running, "is blocked until you unblock it", "blocked", "blocked"),
    "unblock": (blocked, "was unblocked and is ready", "ready", "unblocked"),
    "clear-claim": (stray, "was cleared, it is ready", "ready", "reclaimed"),
    "clear-skills": (skilled, "does not ask for skills any more", "ready", "edited"),
    "reset-failures": (failing, "are counted anew", "ready", "edited"),
    "accept": (finished_late, "was accepted, it is done", "done", "completed"),
    "retry": (waiting, "does not wait any longer", "ready", "edited"),
}


def test_every_verb_has_a_scene() -> None:
    assert {*SCENES, actions.REPAIR} == set(actions.VERBS)


@pytest.mark.parametrize("verb", SCENES)
def test_a_button_does_what_the_command_does_and_names_the_dashboard(board: Board, runtime: Runtime, verb: str) -> None:
    scene, said, status, kind = SCENES[verb]
    task_id = scene(board)
    sentence = act(runtime, board, press_of(board, verb, task_id))
    assert task_id in sentence
    assert said in sentence
    task = board.task(task_id)
    assert (task.status, task.current_run_id, task.claim_lock) == (status, None, None)
    assert not task.skills
    assert task.consecutive_failures == 0
    event = [event for event in board.events(task_id) if event.kind == kind][-1]
    assert (event.payload or {})["actor"] == ACTOR
    assert violations(board.path) == []


def snapshot(board: Board) -> list[Any]:
    tables = ("tasks", "task_runs", "task_events", "kp_runs", "kp_completions", "kp_failures")
    return [[tuple(row) for row in board.reader.execute(f"SELECT * FROM {table}")] for table in tables]


@pytest.mark.parametrize("verb", SCENES)
def test_a_row_that_changed_is_left_alone(board: Board, runtime: Runtime, verb: str) -> None:
    task_id = SCENES[verb][0](board)
    press = press_of(board, verb, task_id)
    for field, other in (("status", "todo"), ("run_id", 77), ("lock", "other")):
        wrong = press._replace(seen=press.seen._replace(**{field: other}))
        before = snapshot(board)
        with pytest.raises(ChangedMeanwhile):
            act(runtime, board, wrong)
        assert snapshot(board) == before
    act(runtime, board, press)  # and what is as it was shown is done


@pytest.mark.parametrize("verb", [verb for verb in SCENES if verb not in ("reclaim", "stop")])
def test_a_task_that_something_happened_to_is_left_alone(board: Board, runtime: Runtime, verb: str) -> None:
    """A task without a run may look the same after it went round: the history says that it is another one."""
    task_id = SCENES[verb][0](board)
    press = press_of(board, verb, task_id)
    board.comment(task_id, "anna", "better not")
    before = snapshot(board)
    with pytest.raises(ChangedMeanwhile):
        act(runtime, board, press)
    assert snapshot(board) == before


def test_a_claim_that_was_called_stale_is_left_to_a_worker_that_came_back(board: Board, runtime: Runtime) -> None:
    task_id = add(board)
    lease = claim_one(board, task_id)
    task = board.task(task_id)
    press = press_of(board, "reclaim", task_id)._replace(life=f"{task.claim_expires}/{task.last_heartbeat_at}")
    board.clock.advance(100)
    board.heartbeat(lease, 120, "awake again")
    before = snapshot(board)
    with pytest.raises(ChangedMeanwhile):
        act(runtime, board, press)
    assert snapshot(board) == before
    task = board.task(task_id)
    act(runtime, board, press._replace(life=f"{task.claim_expires}/{task.last_heartbeat_at}"))
    assert board.task(task_id).status == "ready"


def test_a_sign_of_life_does_not_stand_in_the_way(board: Board, runtime: Runtime) -> None:
    task_id = add(board)
    lease = claim_one(board, task_id)
    press = press_of(board, "stop", task_id)
    board.heartbeat(lease, 120, "still at it")
    act(runtime, board, press)
    assert board.task(task_id).status == "blocked"


def test_a_button_that_is_none(board: Board, runtime: Runtime) -> None:
    press = press_of(board, "archive", add(board))
    with pytest.raises(InvalidArgument, match="unknown action 'archive'; use one of: accept"):
        act(runtime, board, press)
    with pytest.raises(UnknownTask):
        act(runtime, board, Press("reclaim", "t_none", Seen("running", 1, "x"), 0))


@pytest.mark.parametrize("verb", ["clear-skills", "accept", "unblock"])
def test_what_the_store_refuses_is_refused(board: Board, runtime: Runtime, verb: str) -> None:
    task_id = running(board)
    before = snapshot(board)
    with pytest.raises(KanbanError) as refused:
        act(runtime, board, press_of(board, verb, task_id))
    assert not isinstance(refused.value, ChangedMeanwhile)
    assert snapshot(board) == before


# --- runs without a task -------------------------------------------------------------------------------------------


def test_a_run_beside_its_task_is_closed_and_no_other(board: Board, runtime: Runtime) -> None:
    left = []
    for _ in range(2):
        task_id = add(board)
        spoil(board, "INSERT INTO task_runs (task_id, status, started_at) VALUES (?, 'running', 1)", task_id)
        left.append((task_id, board.runs(task_id)[-1].id))
    (task_id, run_id), (other, other_run) = left
    sentence = act(runtime, board, Press("repair", task_id, Seen("", run_id, ""), 0))
    assert sentence == f"nothing is left of run {run_id} of {task_id}"
    assert board.runs(task_id)[-1].ended_at is not None
    assert (board.events(task_id)[-1].payload or {})["actor"] == ACTOR
    assert board.runs(other)[-1].ended_at is None
    with pytest.raises(ChangedMeanwhile):
        act(runtime, board, Press("repair", task_id, Seen("", run_id, ""), 0))
    act(runtime, board, Press("repair", other, Seen("", other_run, ""), 0))


def test_what_is_left_of_a_closed_run_is_ended(workshop: Workshop) -> None:
    workshop.configure({"worker": "exec sleep 600"})
    task_id = add(workshop.board)
    workshop.tick()
    run = works(workshop.board, task_id)
    assert run.supervisor_pid is not None
    assert run.worker_pid is not None
    os.kill(run.supervisor_pid, signal.SIGSTOP)  # it can neither renew nor notice that its run was closed
    workshop.board.reclaim(workshop.board.task(task_id), None, "anna")
    spoil(workshop.board, "UPDATE task_runs SET ended_at = ended_at - 300")
    act(workshop.runtime, workshop.board, Press("repair", task_id, Seen("", run.run_id or 0, ""), 0))
    assert not lives(run.worker_pid)
    assert not lives(run.supervisor_pid)


# --- foreign workers -----------------------------------------------------------------------------------------------


def held_by_a_process(
    board: Board, task_id: str, script: str = "import time; time.sleep(600)", *arguments: str
) -> subprocess.Popen[bytes]:
    """Make a claim as the host's dispatcher does: a run without facts of ours, a bare pid."""
    lock = host_lock()
    opened = "INSERT INTO task_runs (task_id, status, claim_lock, started_at) VALUES (?, 'running', ?, 1)"
    spoil(board, opened, task_id, lock)
    run_id = board.runs(task_id)[-1].id
    badge = {"HERMES_KANBAN_CLAIM_LOCK": lock, "HERMES_KANBAN_RUN_ID": str(run_id), "HERMES_KANBAN_TASK": task_id}
    worker = subprocess.Popen(
        [sys.executable, "-c", script, *arguments], env={**os.environ, **badge}, start_new_session=True
    )
    spoil(
        board, "UPDATE tasks SET status = 'running', claim_lock = ?, current_run_id = ?, worker_pid = ? WHERE id = ?",
        lock, run_id, worker.pid, task_id,
    )  # fmt: skip
    return worker


def test_a_worker_of_the_host_is_ended_before_its_task_is_taken(board: Board, runtime: Runtime) -> None:
    task_id = add(board)
    worker = held_by_a_process(board, task_id)
    try:
        act(runtime, board, press_of(board, "reclaim", task_id))
        assert not lives(worker.pid)
        assert board.task(task_id).status == "ready"
    finally:
        worker.kill()
        worker.wait(10)


GIVES_BACK = """
import os, signal, sys, time
from hermes_kanban_plugin.worker import assignment

mine = assignment.read(os.environ, os.getpid())

def end(*_):
    assignment.release_interrupted(mine, "SIGTERM", int(time.time()))
    sys.exit(0)

signal.signal(signal.SIGTERM, end)
open(sys.argv[1], "w").close()
time.sleep(600)
"""


@pytest.mark.parametrize(
    ("verb", "said", "status"),
    [
        ("reclaim", "was given back by its worker and is ready", "ready"),
        ("stop", "was stopped and is blocked", "blocked"),
    ],
)
def test_a_worker_that_gives_its_task_back_when_stopped_is_no_change_by_others(
    workshop: Workshop, tmp_path: Path, verb: str, said: str, status: str
) -> None:
    """A worker that Hermes started has this plugin loaded: it releases its task at SIGTERM."""
    board, ready = workshop.board, tmp_path / "ready"
    task_id = add(board)
    worker = held_by_a_process(board, task_id, GIVES_BACK, str(ready))
    try:
        wait_for(ready.exists, "the worker to listen")
        sentence = act(workshop.runtime, board, press_of(board, verb, task_id))
        assert said in sentence
        assert board.task(task_id).status == status
        assert not lives(worker.pid)
    finally:
        worker.kill()
        worker.wait(10)


def test_a_worker_of_another_run_than_the_one_shown_is_not_touched(board: Board) -> None:
    task_id = add(board)
    before = board.task(task_id)
    worker = held_by_a_process(board, task_id)
    try:
        shown = before.model_copy(update={"status": "running", "current_run_id": 999, "claim_lock": "earlier"})
        with pytest.raises(ChangedMeanwhile):
            stop_foreign_worker(board, shown, "reclaim")
        assert worker.poll() is None
    finally:
        worker.kill()
        worker.wait(10)


# --- all that is stale ---------------------------------------------------------------------------------------------


def two_lost(shop: Workshop) -> list[tuple[str, int]]:
    """Start three workers and kill two of them with their supervisors; returns task and run of the two."""
    shop.configure({"worker": "exec sleep 600"})
    ids = [add(shop.board, title=f"task {number}") for number in range(3)]
    shop.tick()
    return [(run.task_id, run.run_id or 0) for run in lose(shop.runtime, shop.board, *ids[:2])]


def test_the_preview_names_what_would_be_taken_and_takes_nothing(workshop: Workshop) -> None:
    lost = two_lost(workshop)
    preview = preview_stale(workshop.runtime, workshop.board)
    assert sorted((row["task_id"], row["run_id"]) for row in preview["taken"]) == sorted(lost)
    assert {row["reason"] for row in preview["taken"]} == {"its supervisor and its worker died"}
    assert sorted(row["title"] for row in preview["taken"]) == ["task 0", "task 1"]
    assert preview["doubtful"] == []
    assert workshop.board.task(lost[0][0]).status == "running"


def test_only_what_was_shown_is_taken(workshop: Workshop) -> None:
    first, second = two_lost(workshop)
    assert reclaim_stale(workshop.runtime, workshop.board, [first]) == {first[0]: "ready"}
    board = workshop.board
    assert [board.task(task_id).status for task_id, _ in (first, second)] == ["ready", "running"]
    (event,) = [event for event in board.events(first[0]) if event.kind == "reclaimed"]
    assert (event.payload or {})["actor"] == ACTOR
    with pytest.raises(ChangedMeanwhile):
        reclaim_stale(workshop.runtime, board, [first])
    assert reclaim_stale(workshop.runtime, board, [first, second]) == {second[0]: "ready"}, "what is left of it"


def test_the_preview_says_which_tasks_are_given_up(workshop: Workshop) -> None:
    board, ids = workshop.board, []
    for failures in range(2):
        task_id = add(board, title=f"failed {failures} times")
        worker = held_by_a_process(board, task_id)
        worker.kill()
        worker.wait(10)
        spoil(board, "UPDATE tasks SET consecutive_failures = ?, claim_expires = 1 WHERE id = ?", failures, task_id)
        ids.append(task_id)
    gated = blocked(board)  # a run that is open beside it is closed, and it stays where it is
    opened = "INSERT INTO task_runs (task_id, status, started_at) VALUES (?, 'running', ?)"
    spoil(board, opened, gated, board.clock.now())
    taken = preview_stale(workshop.runtime, board)["taken"]
    expected = {**dict(zip(ids, ("ready", "blocked"), strict=True)), gated: None}
    assert {row["task_id"]: row["then"] for row in taken} == expected
    assert [board.task(task_id).status for task_id in ids] == ["running", "running"]
    shown = [(row["task_id"], row["run_id"]) for row in taken]
    assert reclaim_stale(workshop.runtime, board, shown) == expected | {gated: ""}
    assert {task_id: board.task(task_id).status for task_id in expected} == expected | {gated: "blocked"}


def test_another_run_than_the_one_shown_is_not_taken(workshop: Workshop) -> None:
    (task_id, run_id), _ = two_lost(workshop)
    with pytest.raises(ChangedMeanwhile):
        reclaim_stale(workshop.runtime, workshop.board, [(task_id, run_id + 100)])
    assert workshop.board.task(task_id).current_run_id == run_id


def test_a_claim_behind_which_somebody_lives_is_not_just_cleared(workshop: Workshop) -> None:
    workshop.configure({"worker": "exec sleep 600"})
    task_id = add(workshop.board)
    workshop.tick()
    run = works(workshop.board, task_id)
    with pytest.raises(WrongState, match="lives"):
        act(workshop.runtime, workshop.board, press_of(workshop.board, "clear-claim", task_id))
    assert run.worker_pid is not None
    assert lives(run.worker_pid)
    assert workshop.board.task(task_id).current_run_id == run.run_id
