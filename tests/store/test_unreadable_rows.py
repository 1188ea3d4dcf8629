"""A value of the wrong kind stops its own task and no other: SQLite keeps whatever another program writes."""

from __future__ import annotations

import sqlite3

import pytest

from hermes_kanban_plugin.board import Board
from hermes_kanban_plugin.errors import UnreadableRow
from hermes_kanban_plugin.models import HeldRun
from hermes_kanban_plugin.store import queries
from hermes_kanban_plugin.store.rows import Sieve
from hermes_kanban_plugin.store.values import known
from hermes_kanban_plugin.testing import FakeClock, claim_one

SPOILT = {
    "goal_mode": 2,
    "priority": "high",
    "created_at": 1.5,
    "title": b"\xff\x00",
    "max_runtime_seconds": "x",
    "max_retries": "many",
    "block_recurrences": "often",
}


def spoil(board: Board, task_id: str, column: str, value: object) -> None:
    board.writer.execute(f"UPDATE tasks SET {column} = ? WHERE id = ?", (value, task_id))


@pytest.mark.parametrize("column", SPOILT)
def test_the_others_are_read_and_can_start(board: Board, clock: FakeClock, column: str) -> None:
    broken, sound = (board.create_task(title="a task", assignee="worker") for _ in range(2))
    spoil(board, broken, column, SPOILT[column])
    sieve = Sieve()
    assert [task.id for task in board.tasks(sieve=sieve)] == [sound]
    assert [(row.task_id, row.column) for row in sieve.unreadable] == [(broken, column)]
    assert [task.id for task in queries.candidates(board.reader, clock.now(), 300)] == [sound]


@pytest.mark.parametrize("column", SPOILT)
def test_what_the_message_says_puts_it_right(board: Board, column: str) -> None:
    broken = board.create_task(title="a task", assignee="worker")
    spoil(board, broken, column, SPOILT[column])
    with pytest.raises(UnreadableRow, match=column) as refused:
        board.task(broken)
    statement = str(refused.value).partition(' "')[2].rstrip('"')
    other = sqlite3.connect(board.path)
    other.execute(statement)
    other.commit()
    other.close()
    assert board.task(broken).id == broken


def test_a_run_whose_lease_is_a_word_is_not_taken_for_one_of_ours(board: Board, clock: FakeClock) -> None:
    broken, sound = (board.create_task(title="a task", assignee="worker") for _ in range(2))
    for task_id in (broken, sound):
        claim_one(board, task_id)
    spoil(board, broken, "claim_expires", "soon")
    assert [run.task_id for run in queries.held_runs(board.reader)] == [sound]


@pytest.mark.parametrize(
    ("stored", "shown"), [(5, 5), (1.5, 1), (float("inf"), None), ("soon", None), (b"5", None), (None, None)]
)
def test_what_is_only_looked_at_is_a_number_or_not_known(stored: object, shown: object) -> None:
    assert known({"created_at": stored}) == {"created_at": shown}


@pytest.mark.parametrize(("stored", "shown"), [("a", "a"), (b"a\xff", "a\ufffd"), (None, None), (7, 7)])
def test_bytes_are_shown_as_the_text_they_may_be(stored: object, shown: object) -> None:
    assert known({"title": stored}) == {"title": shown}


@pytest.mark.parametrize("column", ["launch_deadline", "worker_pid", "started_at"])
def test_a_value_beside_the_task_is_named_without_a_statement_for_the_task(column: str) -> None:
    sieve = Sieve()
    assert sieve.one(HeldRun, {"task_id": "t_1", "known_run_id": 1, column: "soon"}) is None
    (found,) = sieve.unreadable
    assert (found.task_id, found.column, found.value) == ("t_1", column, "'soon'")
    assert f"correct the value of {column}" in found.repair("/k.db")
