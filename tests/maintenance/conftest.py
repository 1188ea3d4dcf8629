"""A desk for keeping boards: a board whose history can be written as if it were long ago."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from hermes_kanban_plugin.board import Board
from hermes_kanban_plugin.manager import Manager
from hermes_kanban_plugin.store.leases import Lease
from hermes_kanban_plugin.store.outcomes import Handoff
from hermes_kanban_plugin.testing import FakeClock, claim_one, make_board

DAY = 86_400


class Keeper:
    """A board, its clock, and raw eyes on the file."""

    def __init__(self, board: Board, clock: FakeClock) -> None:
        self.board = board
        self.clock = clock
        self._claims = 0

    @property
    def now(self) -> int:
        return self.clock.now()

    def create(self, title: str = "a task", **fields: Any) -> str:
        return self.board.create_task(title=title, **({"assignee": "worker"} | fields))

    def claim(self, task_id: str, seconds: int = 60) -> Lease:
        self._claims += 1
        return claim_one(self.board, task_id, seconds=seconds, nonce=f"nonce{self._claims}")

    def finish(self, task_id: str) -> Lease:
        """Have a task done by a worker whose processes are gone."""
        lease = self.claim(task_id)
        self.board.complete_run(lease, Handoff(summary="done"))
        self.execute("UPDATE kp_runs SET ended_at = ? WHERE run_id = ?", self.now, lease.run_id)
        return lease

    def execute(self, sql: str, *values: object) -> None:
        with closing(sqlite3.connect(self.board.path, isolation_level=None)) as other:
            other.execute(sql, values)

    def event(self, task_id: str, kind: str, payload: object = None, run_id: int | None = None, ago: int = 0) -> None:
        sql = "INSERT INTO task_events (task_id, run_id, kind, payload, created_at) VALUES (?, ?, ?, ?, ?)"
        text = json.dumps(payload) if payload is not None else None
        self.execute(sql, task_id, run_id, kind, text, self.now - ago)

    def rows(self, sql: str, *values: object) -> list[tuple[Any, ...]]:
        return [tuple(row) for row in self.board.reader.execute(sql, values)]

    def kinds(self, task_id: str) -> list[str]:
        return [kind for (kind,) in self.rows("SELECT kind FROM task_events WHERE task_id = ? ORDER BY id", task_id)]

    def everything(self) -> str:
        with closing(sqlite3.connect(self.board.path)) as other:
            return "\n".join(other.iterdump())

    def log(self, name: str, text: str = "said something\n", ago: int = 0) -> Path:
        """Write a worker log as if it were written some seconds ago."""
        import os

        path = self.board.location.logs / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        os.utime(path, (self.now - ago, self.now - ago))
        return path


@pytest.fixture
def keeper(board: Board, clock: FakeClock) -> Keeper:
    return Keeper(board, clock)


@pytest.fixture
def another(home: Path, clock: FakeClock) -> Iterator[Callable[[str], Keeper]]:
    """Make a board in a home of its own."""
    opened: list[Board] = []

    def make(name: str) -> Keeper:
        folder = home.parent / name
        folder.mkdir()
        opened.append(make_board(folder / "kanban.db", clock))
        return Keeper(opened[-1], clock)

    yield make
    for one in opened:
        one.close()


@pytest.fixture
def manager() -> Manager:
    return Manager(discover=False)
