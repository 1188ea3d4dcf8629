"""kanban_block: the kind decides where the task goes, and repeating oneself leads to a person."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.tools.conftest import Seat


@pytest.mark.parametrize("kind", [None, "needs_input", "capability", "transient"])
def test_block_of_every_kind_waits_for_a_person(seat: Seat, kind: str | None) -> None:
    lease = seat.work()
    answer = seat.call("kanban_block", reason="which of the two files?", kind=kind)
    expected = {"ok": True, "task_id": lease.task_id, "run_id": lease.run_id, "status": "blocked", "block_kind": kind}
    assert answer == expected
    task, (run,) = seat.board.task(lease.task_id), seat.board.runs(lease.task_id)
    assert (task.status, task.block_kind, task.block_recurrences) == ("blocked", kind, 1)
    assert (task.claim_lock, task.claim_expires, task.worker_pid, task.current_run_id) == (None, None, None, None)
    assert (run.status, run.outcome, run.summary) == ("blocked", "blocked", "which of the two files?")
    assert run.ended_at == seat.clock.now()
    payload = {"reason": "which of the two files?", "kind": kind, "recurrences": 1}
    assert seat.last_event(lease.task_id) == ("blocked", payload)


def test_dependency_with_an_open_parent_waits_for_it(seat: Seat) -> None:
    lease = seat.work()
    parent = seat.create("read the file")
    seat.board.link(parent, lease.task_id)
    answer = seat.call("kanban_block", reason="needs the other", kind="dependency")
    assert answer["status"] == "todo"
    assert seat.last_event(lease.task_id) == ("dependency_wait", {"reason": "needs the other", "kind": "dependency"})
    seat.sit(seat.claim(parent))
    seat.call("kanban_complete", summary="read")
    assert seat.board.task(lease.task_id).status == "ready"


def test_dependency_without_an_open_parent_waits_for_a_person(seat: Seat) -> None:
    """Nothing could wake it in ``todo``, which the host starts again at once, for ever (contract W10)."""
    seat.work()
    answer = seat.call("kanban_block", reason="needs another", kind="dependency")
    assert (answer["status"], answer["block_kind"]) == ("blocked", "dependency")
    assert seat.board.promote() == []


def test_second_block_for_the_same_reason_goes_to_triage(seat: Seat) -> None:
    lease = seat.work()
    seat.call("kanban_block", reason="no key", kind="capability")
    seat.board.unblock(lease.task_id, "ann")
    seat.sit(seat.claim(lease.task_id))
    assert seat.call("kanban_block", reason="still no key", kind="capability")["status"] == "triage"
    payload = {"reason": "still no key", "kind": "capability", "recurrences": 2, "limit": 2}
    assert seat.last_event(lease.task_id) == ("block_loop_detected", payload)


def test_another_kind_starts_the_count_again(seat: Seat) -> None:
    lease = seat.work()
    for kind in ("capability", "needs_input"):
        assert seat.call("kanban_block", reason="stuck", kind=kind)["status"] == "blocked"
        seat.board.unblock(lease.task_id, "ann")
        seat.sit(seat.claim(lease.task_id))
    assert seat.board.task(lease.task_id).block_recurrences == 1
    assert seat.call("kanban_block", reason="stuck", kind="needs_input")["status"] == "triage"


def test_completion_forgets_the_count(seat: Seat) -> None:
    lease = seat.work()
    seat.call("kanban_block", reason="stuck", kind="transient")
    seat.board.unblock(lease.task_id, "ann")
    seat.sit(seat.claim(lease.task_id))
    seat.call("kanban_complete", summary="went through")
    task = seat.board.task(lease.task_id)
    assert (task.block_kind, task.block_recurrences) == (None, 0)


@pytest.mark.parametrize("kind", ["dependency", "needs_input"])
def test_goal_mode_task_may_wait_for_what_it_cannot_do_itself(seat: Seat, kind: str) -> None:
    seat.work(goal_mode=True)
    assert seat.call("kanban_block", reason="needs you", kind=kind)["ok"] is True


@pytest.mark.parametrize("kind", [None, "capability", "transient"])
def test_goal_mode_task_cannot_escape_its_judge(seat: Seat, refused: Callable[..., str], kind: str | None) -> None:
    seat.work(goal_mode=True)
    message = refused("kanban_block", reason="enough", kind=kind)
    assert "kanban_complete" in message
    assert "needs_input" in message


def test_orchestrator_blocks_a_ready_task_and_the_reason_is_kept_in_a_run(seat: Seat) -> None:
    task_id = seat.create()
    answer = seat.call("kanban_block", task_id=task_id, reason="wait for the budget")
    (run,) = seat.board.runs(task_id)
    assert answer == {"ok": True, "task_id": task_id, "run_id": run.id, "status": "blocked", "block_kind": None}
    assert (run.outcome, run.summary, run.started_at) == ("blocked", "wait for the budget", run.ended_at)


def test_orchestrator_blocks_a_running_task_and_its_worker_is_superseded(seat: Seat) -> None:
    lease = seat.claim(seat.create())
    answer = seat.call("kanban_block", task_id=lease.task_id, reason="wrong approach")
    assert answer["run_id"] == lease.run_id
    seat.sit(lease)
    assert "no longer current" in seat.call("kanban_complete", summary="did it all the same")["error"]
    assert seat.board.task(lease.task_id).status == "blocked"


def test_superseded_worker_cannot_block(seat: Seat, refused: Callable[..., str]) -> None:
    old = seat.work()
    seat.board.reclaim(seat.board.task(old.task_id), None, "ann")
    new = seat.claim(old.task_id)
    assert f"superseded by run {new.run_id}" in refused("kanban_block", reason="stuck")
    assert seat.board.task(old.task_id).current_run_id == new.run_id
