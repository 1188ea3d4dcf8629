"""A worker's post: a board, a run that holds a task, and this process in the place of its worker."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hermes_kanban_plugin import identity
from hermes_kanban_plugin.board import Board
from hermes_kanban_plugin.dispatch.ownership import AGENT_VARIABLE
from hermes_kanban_plugin.identity import ProcessIdentity
from hermes_kanban_plugin.store import leases, schema
from hermes_kanban_plugin.store.connection import create_file
from hermes_kanban_plugin.store.leases import Lease
from hermes_kanban_plugin.testing import FakeClock, claim_one, violations
from hermes_kanban_plugin.worker.assignment import Assignment


class Post:
    """One task in the hands of one run, as its worker and its dispatcher see it."""

    def __init__(self, board: Board, clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> None:
        self.board, self.clock, self._monkeypatch = board, clock, monkeypatch
        self._claims = 0
        self.lease = self.claim(board.create_task(title="work", assignee="worker"))

    def claim(self, task_id: str, lane: str = "hermes") -> Lease:
        self._claims += 1
        return claim_one(self.board, task_id, lane=lane, nonce=f"n{self._claims}")

    def accept(self, worker: ProcessIdentity | None = None, lease: Lease | None = None) -> None:
        """Record a worker for the run, this very process unless told."""
        me = identity.capture(os.getpid())
        expires = self.clock.now() + 60
        leases.accept(self.board.writer, lease or self.lease, me, worker or me, expires, self.clock.now())

    def sit(self, lease: Lease | None = None) -> None:
        """Give this process the environment of the run's worker."""
        lease = lease or self.lease
        values = {"TASK": lease.task_id, "RUN_ID": str(lease.run_id), "CLAIM_LOCK": lease.lock}
        for name, value in values.items():
            self._monkeypatch.setenv(f"HERMES_KANBAN_{name}", value)
        self._monkeypatch.setenv("HERMES_KANBAN_DB", self.board.path)
        self._monkeypatch.setenv(AGENT_VARIABLE, "")

    @property
    def assignment(self) -> Assignment:
        return Assignment(self.lease, self.board.path)

    def supersede(self) -> Lease:
        """Take the task away and give it to another run."""
        self.board.reclaim(self.board.task(self.lease.task_id), "too slow", "ann")
        return self.claim(self.lease.task_id)

    def task(self) -> dict[str, Any]:
        return self._row("SELECT * FROM tasks WHERE id = ?", self.lease.task_id)

    def run(self) -> dict[str, Any]:
        return self._row("SELECT * FROM task_runs WHERE id = ?", self.lease.run_id)

    def known(self) -> dict[str, Any]:
        return self._row("SELECT * FROM kp_runs WHERE run_id = ?", self.lease.run_id)

    def _row(self, query: str, value: object) -> dict[str, Any]:
        return dict(self.board.reader.execute(query, (value,)).fetchone())

    def events(self) -> list[str]:
        return [event.kind for event in self.board.events(self.lease.task_id)]


@pytest.fixture
def post(board: Board, clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> Iterator[Post]:
    made = Post(board, clock, monkeypatch)
    made.sit()
    yield made
    assert violations(board.path) == []


@pytest.fixture
def plain_board(tmp_path: Path) -> Path:
    """A board that we never wrote to, with one task that the host's own dispatcher claimed as ``vm:1``."""
    path = tmp_path / "plain.db"

    def build(writer: Any) -> None:
        schema.create(writer)
        writer.execute(
            "INSERT INTO tasks (id, title, status, created_at, workspace_kind, claim_lock, claim_expires, "
            "current_run_id) VALUES ('t_00000001', 'x', 'running', 1, 'scratch', 'vm:1', 2000000000, 1)"
        )
        writer.execute(
            "INSERT INTO task_runs (id, task_id, status, claim_lock, started_at, max_runtime_seconds) "
            "VALUES (1, 't_00000001', 'running', 'vm:1', 1000000, 600)"
        )

    assert create_file(str(path), build)
    return path
