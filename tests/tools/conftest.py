"""What the tool tests share: a board on a real file, and a seat from which tools are called as an agent calls them."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from hermes_kanban_plugin import toolkit
from hermes_kanban_plugin.board import Board, open_board
from hermes_kanban_plugin.manager import Manager
from hermes_kanban_plugin.store.leases import Lease
from hermes_kanban_plugin.testing import FakeClock, claim_one, violations


class Seat:
    """An agent's process: its environment, and the tools it has."""

    def __init__(self, board: Board, clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> None:
        self.board, self.clock, self._monkeypatch = board, clock, monkeypatch
        self.manager = Manager(discover=False)
        self._claims = 0

    def create(self, title: str = "count words", **fields: Any) -> str:
        return self.board.create_task(title=title, **{"assignee": "coder", **fields})

    def claim(self, task_id: str) -> Lease:
        """Claim a task without becoming its worker."""
        self._claims += 1
        return claim_one(self.board, task_id, nonce=f"n{self._claims}")

    def sit(self, lease: Lease) -> Lease:
        """Become the worker of a lease, as the dispatcher's environment makes one."""
        values = {"TASK": lease.task_id, "RUN_ID": str(lease.run_id), "CLAIM_LOCK": lease.lock}
        for name, value in values.items():
            self._monkeypatch.setenv(f"HERMES_KANBAN_{name}", value)
        self._monkeypatch.setenv("HERMES_PROFILE", "coder")
        return lease

    def stand_up(self) -> None:
        """Become somebody who is no worker."""
        for name in ("HERMES_KANBAN_TASK", "HERMES_KANBAN_RUN_ID", "HERMES_KANBAN_CLAIM_LOCK"):
            self._monkeypatch.delenv(name, raising=False)

    def work(self, **fields: Any) -> Lease:
        """Create a task, claim it and become its worker."""
        return self.sit(self.claim(self.create(**fields)))

    def call(self, tool: str, arguments: Any = None, /, **named: Any) -> dict[str, Any]:
        """Call a tool as the host does, and return its answer; whatever it answers is JSON."""
        found = toolkit.tools_of(self.manager)[tool]
        given = named if arguments is None else arguments
        answer: dict[str, Any] = json.loads(toolkit.call(found, self.manager, given))
        return answer

    def dump(self) -> str:
        """Return the whole database as text."""
        return "\n".join(self.board.reader.iterdump())

    def events(self, task_id: str) -> list[tuple[str, Any]]:
        return [(event.kind, event.payload) for event in self.board.events(task_id)]

    def last_event(self, task_id: str) -> tuple[str, Any]:
        return self.events(task_id)[-1]

    def workspace(self, task_id: str, **files: str) -> Path:
        """Give a task its scratch workspace, with files named by keyword (``_`` for the dot)."""
        folder = self.board.location.workspaces / task_id
        folder.mkdir(parents=True)
        for name, text in files.items():
            (folder / name.replace("_", ".")).write_text(text)
        self.board.writer.execute("UPDATE tasks SET workspace_path = ? WHERE id = ?", (str(folder), task_id))
        return folder


@pytest.fixture
def seat(board: Board, clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> Iterator[Seat]:
    monkeypatch.setattr(toolkit, "open_board", partial(open_board, clock=clock))
    yield Seat(board, clock, monkeypatch)
    assert violations(board.path) == []


@pytest.fixture
def refused(seat: Seat) -> Callable[..., str]:
    """Call a tool that must refuse: it answers one error with a remedy, and no byte of the board changes."""

    def check(tool: str, arguments: Any = None, /, **named: Any) -> str:
        before, files = seat.dump(), _files(seat.board.location.root)
        answer = seat.call(tool, arguments, **named)
        assert set(answer) == {"error"}
        assert "unexpectedly" not in answer["error"], "a refusal that nobody thought of"
        assert len(answer["error"]) < 1000
        assert seat.dump() == before
        assert _files(seat.board.location.root) == files
        return str(answer["error"])

    return check


def _files(root: Path) -> list[str]:
    """Return every file but SQLite's own."""
    found = [os.path.join(folder, name) for folder, _, files in os.walk(root) for name in files]
    return sorted(path for path in found if not path.endswith(("-wal", "-shm")))
