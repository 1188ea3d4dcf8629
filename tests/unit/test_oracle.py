"""The oracle: a healthy board breaks no promise, and each promise that is broken by hand is reported."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys

import pytest

from hermes_kanban_plugin import identity
from hermes_kanban_plugin.board import Board
from hermes_kanban_plugin.store import leases
from hermes_kanban_plugin.store.outcomes import Handoff
from hermes_kanban_plugin.testing import FakeClock, claim_one, violations


@pytest.fixture
def running(board: Board) -> str:
    """A board with one task in each stage of life, and the id of the one that runs."""
    board.create_task(title="waits")
    done = board.create_task(title="done")
    board.complete_run(claim_one(board, done, nonce="n1"), Handoff(summary="ok"))
    gate = board.create_task(title="gate")
    board.block(gate, "look", "needs_input", "me")
    opened = board.create_task(title="opened again")
    board.block(opened, "look", "needs_input", "me")
    board.unblock(opened, "me")
    claim_one(board, opened, nonce="n2")
    task_id = board.create_task(title="runs")
    claim_one(board, task_id, nonce="n3")
    return task_id


def by_hand(board: Board, sql: str, *values: object) -> None:
    """Change the file behind everybody's back."""
    stranger = sqlite3.connect(board.path)
    with stranger:
        stranger.execute(sql, values)
    stranger.close()


def status_id(board: Board, title: str) -> str:
    return next(task.id for task in board.tasks() if task.title == title)


def test_a_healthy_board(board: Board, running: str) -> None:
    assert board.task(running).status == "running"
    assert violations(board.path) == []


def test_an_empty_board(board: Board) -> None:
    assert violations(board.path) == []


def test_a_running_task_without_a_run(board: Board, running: str) -> None:
    by_hand(board, "UPDATE task_runs SET ended_at = started_at, status = 'x' WHERE task_id = ?", running)
    assert f"{running} is running with 0 open run(s)" in violations(board.path)


def test_a_task_that_waits_with_an_open_run(board: Board, running: str) -> None:
    by_hand(board, "UPDATE tasks SET status = 'ready', claim_lock = NULL, current_run_id = NULL WHERE id = ?", running)
    found = violations(board.path)
    assert f"{running} is ready with 1 open run(s)" in found
    assert any("is open beside the task" in text for text in found)


def test_two_open_runs(board: Board, running: str) -> None:
    by_hand(board, "INSERT INTO task_runs (task_id, status, started_at) VALUES (?, 'running', 1)", running)
    assert f"{running} has 2 open runs" in violations(board.path)


def test_a_claim_on_a_task_that_does_not_run(board: Board, running: str) -> None:
    waits = status_id(board, "waits")
    by_hand(board, "UPDATE tasks SET claim_lock = 'host:1:x' WHERE id = ?", waits)
    assert violations(board.path) == [f"{waits} is ready and carries a claim"]


def test_runs_that_overlapped(board: Board, running: str) -> None:
    done = status_id(board, "done")
    by_hand(
        board,
        "INSERT INTO task_runs (task_id, status, started_at, ended_at)"
        " SELECT task_id, 'done', started_at - 5, ended_at FROM task_runs WHERE task_id = ?",
        done,
    )
    by_hand(board, "UPDATE task_runs SET ended_at = started_at + 9 WHERE task_id = ?", done)
    assert any("overlap" in text and done in text for text in violations(board.path))


@pytest.mark.parametrize("kind", ["promoted", "claimed"])
@pytest.mark.parametrize("title", ["done", "gate"])
def test_a_machine_that_reopened_what_was_closed(board: Board, running: str, title: str, kind: str) -> None:
    task_id = status_id(board, title)
    by_hand(board, "INSERT INTO task_events (task_id, kind, created_at) VALUES (?, ?, 1)", task_id, kind)
    assert len(violations(board.path)) == 1
    assert f"{task_id} was {kind} after it was" in violations(board.path)[0]


def test_two_workers_that_live_on_one_task(board: Board, clock: FakeClock) -> None:
    task_id = board.create_task(title="twice")
    first, second = (subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) for _ in "12")
    try:
        me = identity.capture(os.getpid())
        lease = claim_one(board, task_id)
        leases.accept(board.writer, lease, me, identity.capture(first.pid), clock.now() + 60, clock.now())
        assert violations(board.path) == []
        columns = (
            "task_id, lane, source_status, claimed_at, launch_deadline, accepted_at, host_id, boot_id, pid_namespace"
        )
        by_hand(
            board,
            f"INSERT INTO kp_runs (run_id, worker_pid, worker_started, {columns})"
            f" SELECT run_id + 1, ?, ?, {columns} FROM kp_runs",
            second.pid,
            identity.capture(second.pid).started,
        )
        assert f"{task_id} has 2 living workers" in violations(board.path)
        second.communicate()
        assert not [text for text in violations(board.path) if "living" in text]
    finally:
        first.communicate()
        second.communicate()


def test_a_damaged_file(board: Board, running: str) -> None:
    """An index that lost its rows; written through SQLite, so that no lock of anybody is dropped."""
    stranger = sqlite3.connect(board.path)
    stranger.execute("PRAGMA writable_schema = ON")
    with stranger:
        stranger.execute("CREATE INDEX kp_broken ON tasks (title)")
        root = stranger.execute("SELECT rootpage FROM sqlite_master WHERE name = 'kp_broken'").fetchone()[0]
        other = stranger.execute("SELECT rootpage FROM sqlite_master WHERE name = 'task_links'").fetchone()[0]
        assert root != other
        stranger.execute("UPDATE sqlite_master SET sql = 'CREATE INDEX kp_broken ON tasks (status)'"
                         " WHERE name = 'kp_broken'")  # fmt: skip
    stranger.close()
    assert any("damaged" in text for text in violations(board.path))
