"""Tasks that wait for a time: parked, woken once, and never by a timer of the past (failure mode D11)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from hermes_kanban_plugin.errors import UnknownTask, WrongState
from hermes_kanban_plugin.store import timers
from hermes_kanban_plugin.testing import FakeClock, claim_one

if TYPE_CHECKING:
    from hermes_kanban_plugin.board import Board

HOUR = 3600


def status(board: Board, task_id: str) -> str:
    return board.task(task_id).status


def park(board: Board, task_id: str, seconds: int = HOUR) -> int:
    due = board.clock.now() + seconds
    timers.park(board.writer, task_id, due, "not before the market opens", "ann", board.clock.now())
    return due


def wake(board: Board) -> list[str]:
    return timers.wake(board.writer, board.clock.now())


def test_it_comes_back_at_its_time_and_not_before(board: Board, clock: FakeClock) -> None:
    task_id = board.create_task(title="x", assignee="a")
    due = park(board, task_id)
    clock.advance(HOUR - 1)
    assert wake(board) == []
    assert status(board, task_id) == "scheduled"
    clock.advance(1)
    assert wake(board) == [task_id]
    assert status(board, task_id) == "ready"
    parked, woken = board.events(task_id)[-2:]
    assert parked.payload == {"reason": "not before the market opens", "due_at": due, "actor": "ann"}
    assert (woken.kind, woken.payload["due_at"], woken.payload["status"]) == ("promoted", due, "ready")
    assert wake(board) == []


def test_behind_an_unfinished_task_it_waits_on(board: Board, clock: FakeClock) -> None:
    parent = board.create_task(title="x", assignee="a")
    child = board.create_task(title="y", assignee="a", parents=[parent])
    park(board, child)
    clock.advance(HOUR)
    assert wake(board) == [child]
    assert status(board, child) == "todo"


def test_who_was_opened_and_parked_again_without_a_time_is_not_woken_by_the_old_one(
    board: Board, clock: FakeClock
) -> None:
    task_id = board.create_task(title="x", assignee="a")
    park(board, task_id)
    board.unblock(task_id, "ann")
    board.writer.execute("UPDATE tasks SET status = 'scheduled' WHERE id = ?", (task_id,))  # as the host parks
    event = "INSERT INTO task_events (task_id, kind, created_at) VALUES (?, 'scheduled', 1)"
    board.writer.execute(event, (task_id,))
    clock.advance(2 * HOUR)
    assert wake(board) == []
    assert status(board, task_id) == "scheduled"
    assert timers.due_at(board.reader, task_id) is None


def test_a_new_time_replaces_the_old_one(board: Board, clock: FakeClock) -> None:
    task_id = board.create_task(title="x", assignee="a")
    park(board, task_id)
    later = park(board, task_id, 3 * HOUR)
    assert timers.due_at(board.reader, task_id) == later
    clock.advance(2 * HOUR)
    assert wake(board) == []
    clock.advance(HOUR)
    assert wake(board) == [task_id]


def test_a_gate_that_its_person_parks_opens_at_the_time_that_was_named(board: Board, clock: FakeClock) -> None:
    task_id = board.create_task(title="x", assignee="a")
    board.block(task_id, "wait for monday", "needs_input", "ann")
    park(board, task_id)
    clock.advance(HOUR)
    assert wake(board) == [task_id]
    assert board.task(task_id).block_kind == "needs_input"  # the loop breaker goes on counting


def test_what_moved_meanwhile_is_left_alone(board: Board, clock: FakeClock) -> None:
    task_id = board.create_task(title="x", assignee="a")
    park(board, task_id)
    board.unblock(task_id, "ann")
    lease = claim_one(board, task_id)
    clock.advance(HOUR)
    assert wake(board) == []
    assert board.task(task_id).current_run_id == lease.run_id


@pytest.mark.parametrize("where", ["running", "done", "archived", "review", "triage"])
def test_only_what_waits_can_be_parked(board: Board, where: str) -> None:
    task_id = board.create_task(title="x", assignee="a")
    if where == "running":
        claim_one(board, task_id)
    else:
        board.writer.execute("UPDATE tasks SET status = ? WHERE id = ?", (where, task_id))
    with pytest.raises(WrongState):
        park(board, task_id)
    assert status(board, task_id) == where


def test_a_task_that_is_not_there(board: Board) -> None:
    with pytest.raises(UnknownTask):
        park(board, "t_nothing")


def test_a_task_can_be_made_for_a_time(board: Board, clock: FakeClock) -> None:
    due = clock.now() + HOUR
    task_id = board.create_task(title="x", assignee="a", start_at=due)
    assert (status(board, task_id), timers.due_at(board.reader, task_id)) == ("scheduled", due)
    assert [event.kind for event in board.events(task_id)] == ["created", "scheduled"]
    clock.advance(HOUR)
    assert wake(board) == [task_id]


def test_a_key_that_answers_leaves_the_other_task_as_it_is(board: Board, clock: FakeClock) -> None:
    due = clock.now() + HOUR
    first = board.create_task(title="x", assignee="a", idempotency_key="daily", start_at=due)
    again = board.create_task(title="x", assignee="a", idempotency_key="daily", start_at=due + HOUR)
    ready = board.create_task(title="y", assignee="a", idempotency_key="other")
    same = board.create_task(title="y", assignee="a", idempotency_key="other", start_at=due)
    assert (again, same) == (first, ready)
    assert timers.due_at(board.reader, first) == due
    assert status(board, ready) == "ready"
