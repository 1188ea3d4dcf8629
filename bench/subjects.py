"""Who is measured: the host's functions, ours, and the same rows written by bare SQLite (the floor)."""

from __future__ import annotations

import os
import socket
import sqlite3
from typing import TYPE_CHECKING, Any, Protocol

from hermes_kanban_plugin import identity
from hermes_kanban_plugin.board import Board, create_board
from hermes_kanban_plugin.clock import Clock
from hermes_kanban_plugin.dispatch.tick import tick
from hermes_kanban_plugin.manager import Manager
from hermes_kanban_plugin.runtime import Runtime
from hermes_kanban_plugin.store import leases
from hermes_kanban_plugin.store.leases import ClaimTerms, Lease
from hermes_kanban_plugin.store.outcomes import Handoff
from hermes_kanban_plugin.testing import place_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

DEAD_PID = 4_194_304


class Subject(Protocol):
    """Somebody who can do the measured work on a fresh board."""

    counting: bool
    statements: int

    def prepare(self, work: str, tasks: int) -> Callable[[], Any]:
        """Set the board up and return the work that is to be timed."""

    def close(self) -> None:
        """Let go of the board."""


class Ours:
    """The plugin's own store and tick."""

    def __init__(self, path: Path) -> None:
        self.path = path
        create_board(place_of(path))
        self.runtime = Runtime(path.parent, manager=Manager(discover=False))
        self.board = self.runtime.open(place_of(path))
        self.counting, self.statements = False, 0
        self.board.writer.set_trace_callback(self._count)

    def _count(self, _: str) -> None:
        self.statements += self.counting

    def prepare(self, work: str, tasks: int) -> Callable[[], Any]:
        """Set the board up and return the work that is to be timed."""
        if work == "open":
            return lambda: Board(place_of(self.path), Clock()).close()
        ids = [self.board.create_task(title="x", assignee="nobody") for _ in range(tasks)]
        if work == "claim":
            return lambda: self._claim(ids)
        claimed = self._claim(ids)
        if work == "heartbeat":
            return lambda: [self.board.heartbeat(lease, 60) for lease in claimed]
        if work == "complete":
            return lambda: [self.board.complete_run(lease, Handoff("done")) for lease in claimed]
        self._accept(claimed, alive=work == "idle")
        return lambda: tick(self.board, self.runtime)

    def _claim(self, ids: list[str]) -> list[Lease]:
        return self.board.claim(ids, ClaimTerms("host:1:n", self.board.clock.now() + 600, "command"))

    def _accept(self, claimed: list[Lease], *, alive: bool) -> None:
        process = identity.capture(os.getpid() if alive else DEAD_PID)
        now = self.board.clock.now()
        for lease in claimed:
            leases.accept(self.board.writer, lease, process, process, now + 600, now)

    def close(self) -> None:
        """Let go of the board."""
        self.runtime.close()


class Host:
    """The host's own functions, in this process."""

    def __init__(self, path: Path) -> None:
        from hermes_cli import kanban_db

        self.kanban: Any = kanban_db
        self.path = path
        self.connection = kanban_db.connect()
        self.counting, self.statements = False, 0
        self.connection.set_trace_callback(self._count)

    def _count(self, _: str) -> None:
        self.statements += self.counting

    def prepare(self, work: str, tasks: int) -> Callable[[], Any]:
        """Set the board up and return the work that is to be timed."""
        kanban, connection = self.kanban, self.connection
        if work == "open":
            return lambda: kanban.connect().close()
        ids = [kanban.create_task(connection, title="x", assignee="default") for _ in range(tasks)]
        if work == "claim":
            return lambda: [kanban.claim_task(connection, task_id) for task_id in ids]
        for task_id in ids:
            kanban.claim_task(connection, task_id)
        if work == "heartbeat":
            return lambda: self._beat(ids)
        if work == "complete":
            return lambda: [kanban.complete_task(connection, task_id, summary="done") for task_id in ids]
        pid = os.getpid() if work == "idle" else DEAD_PID
        lock = f"{socket.gethostname()}:1"
        connection.execute("UPDATE tasks SET worker_pid = ?, claim_lock = ?, started_at = 1", (pid, lock))
        connection.execute("UPDATE task_runs SET worker_pid = ?, claim_lock = ?", (pid, lock))
        return lambda: kanban.dispatch_once(connection, spawn_fn=lambda *_: None, max_in_progress=1)

    def _beat(self, task_ids: list[str]) -> None:
        for task_id in task_ids:
            self.kanban.heartbeat_claim(self.connection, task_id)
            self.kanban.heartbeat_worker(self.connection, task_id)

    def close(self) -> None:
        """Let go of the board."""
        self.connection.close()


class Floor:
    """Bare SQLite writing the same task, run and history rows, set by set where the work allows it."""

    def __init__(self, path: Path) -> None:
        create_board(place_of(path))
        self.path = path
        self.connection = sqlite3.connect(path, isolation_level=None)
        self.connection.execute("PRAGMA synchronous=FULL")
        self.counting, self.statements = False, 0
        self.connection.set_trace_callback(self._count)

    def _count(self, _: str) -> None:
        self.statements += self.counting

    def prepare(self, work: str, tasks: int) -> Callable[[], Any]:
        """Set the board up and return the work that is to be timed."""
        if work == "open":
            return lambda: sqlite3.connect(self.path).execute("SELECT count(*) FROM sqlite_master").connection.close()
        values = [(f"t_{number:08x}",) for number in range(tasks)]
        status = "ready" if work == "claim" else "running"
        self._all(f"INSERT INTO tasks (id, title, status, created_at) VALUES (?, 'x', '{status}', 1)", values)
        each = {
            "heartbeat": ("UPDATE tasks SET last_heartbeat_at = 1, claim_expires = 2 WHERE id = ?",),
            "complete": (
                "UPDATE tasks SET status = 'done' WHERE id = ?",
                "UPDATE task_runs SET ended_at = 1 WHERE task_id = ?",
                "INSERT INTO task_events (task_id, kind, created_at) VALUES (?, 'completed', 1)",
            ),
        }
        if work in each:
            return lambda: self._transactions(each[work], values)
        whole = {
            "claim": (
                "INSERT INTO task_runs (task_id, status, started_at) SELECT id, 'running', 1 FROM tasks",
                "UPDATE tasks SET status = 'running'",
                "INSERT INTO task_events (task_id, kind, created_at) SELECT id, 'claimed', 1 FROM tasks",
            ),
            "rescue": (
                "UPDATE tasks SET status = 'ready'",
                "UPDATE task_runs SET ended_at = 1",
                "INSERT INTO task_events (task_id, kind, created_at) SELECT id, 'reclaimed', 1 FROM tasks",
            ),
            "idle": ("SELECT count(*) FROM tasks WHERE status = 'running' AND claim_expires < 1",),
        }
        return lambda: self._transactions(whole[work], [()])

    def _transactions(self, statements: tuple[str, ...], values: Sequence[tuple[str, ...]]) -> None:
        for value in values:
            self.connection.execute("BEGIN IMMEDIATE")
            for statement in statements:
                self.connection.execute(statement, value)
            self.connection.execute("COMMIT")

    def _all(self, statement: str, values: list[tuple[str]]) -> None:
        self.connection.execute("BEGIN")
        self.connection.executemany(statement, values)
        self.connection.execute("COMMIT")

    def close(self) -> None:
        """Let go of the board."""
        self.connection.close()


SUBJECTS: dict[str, Callable[[Path], Subject]] = {"floor": Floor, "ours": Ours, "host": Host}
