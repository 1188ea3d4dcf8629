"""Statements of a diagnosis read every board: with our tables, without them, and of hosts that lack columns."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from hermes_kanban_plugin.board import Board
from hermes_kanban_plugin.store import failure_tables, survey
from hermes_kanban_plugin.store.connection import columns_of, open_reader
from hermes_kanban_plugin.store.schema import wrap
from hermes_kanban_plugin.store.standins import NAMED, Pane
from hermes_kanban_plugin.store.survey import Survey

BARE = "CREATE TABLE tasks (id TEXT PRIMARY KEY, title TEXT, status TEXT, priority INTEGER, created_at INTEGER, {more})"


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    """A board of a time before anybody counted anything: one table, two tasks."""
    path = tmp_path / "bare.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as board:
        board.execute(BARE.format(more="assignee TEXT, claim_lock TEXT, claim_expires INTEGER, spawn_failures INTEGER"))
        board.execute(
            "INSERT INTO tasks (id, title, status, created_at, spawn_failures) VALUES ('a', 'A', 'ready', 1, 4)"
        )
        board.execute("INSERT INTO tasks (id, title, status, created_at) VALUES ('b', 'B', 'running', 1)")
    return path


def test_what_is_named_is_what_a_board_has(board: Board) -> None:
    if not columns_of(board.writer, "kp_outages"):
        failure_tables.create(wrap(board.writer))
    for table, columns in NAMED.items():
        assert set(columns) <= columns_of(board.writer, table), table
    assert Pane(board.reader).rows("SELECT 1 AS one") == [{"one": 1}]


def test_a_missing_column_reads_as_what_the_host_would_add(bare: Path) -> None:
    with closing(open_reader(str(bare))) as reader:
        rows = Pane(reader).rows("SELECT * FROM tasks ORDER BY id")
    assert [row["consecutive_failures"] for row in rows] == [4, 0]
    assert [row["block_recurrences"] for row in rows] == [0, 0]
    assert [row["block_kind"] for row in rows] == [None, None]


def test_every_look_at_a_bare_board_has_an_answer(bare: Path) -> None:
    with closing(open_reader(str(bare))) as reader:
        before = bare.read_bytes()
        with Survey.begin(reader) as seen:
            assert {row["id"] for row in seen.cases(10, 10)[0]} == {"a"}
            assert seen.one("b", 10)[0]["open_parents"] == 0
            assert seen.counts() == {"ready": 1, "running": 1}
            assert [row["id"] for row in seen.runless(10)] == ["b"]
            assert seen.held(10)[0]["known_run_id"] is None
            assert seen.running_by_assignee() == {"": 1}
            empty = (
                seen.lingering(10), seen.stray_locks(10), seen.stray_runs(10), seen.gate_events(0, 10),
                seen.outages(10), seen.flags(10), seen.newest_events(10), seen.starts("a", 10), seen.graph(10)[0],
                seen.neighbourhood("a", 10)[0],
            )  # fmt: skip
            assert [list(rows) for rows in empty] == [[]] * len(empty)
            assert seen.tasks_after(0) == 2
        assert not reader.in_transaction
    assert bare.read_bytes() == before


def test_one_look_is_one_moment(board: Board) -> None:
    first = board.create_task(title="first")
    with Survey.begin(board.reader) as seen:
        assert seen.counts() == {"ready": 1}
        board.create_task(title="second")
        assert seen.counts() == {"ready": 1}
        assert [row["id"] for row in seen.waiting(0, 10)] == [first]
    with Survey.begin(board.reader) as seen:
        assert seen.counts() == {"ready": 2}


def test_a_look_joins_the_transaction_that_is_open(board: Board) -> None:
    board.writer.execute("BEGIN IMMEDIATE")
    with Survey.begin(board.writer) as seen:
        assert seen.counts() == {}
    assert board.writer.in_transaction
    board.writer.execute("ROLLBACK")


def test_lists_are_bounded_best_first(board: Board) -> None:
    ids = [board.create_task(title="t", priority=number) for number in range(5)]
    with Survey.begin(board.reader) as seen:
        assert [row["id"] for row in seen.waiting(0, 2)] == [ids[4], ids[3]]


def test_each_kind_of_event_is_known_once() -> None:
    assert len(set(survey.TURNS)) == len(survey.TURNS)
    assert set(survey.CLOSING + survey.OPENING) <= set(survey.TURNS)
