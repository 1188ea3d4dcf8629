"""What the hook tests share: a serving process in miniature, with the built-in plugins and a clock that is moved."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from hermes_kanban_plugin import hookimpl, identity
from hermes_kanban_plugin.board import Board, create_board
from hermes_kanban_plugin.dispatch.tick import tick
from hermes_kanban_plugin.manager import Manager
from hermes_kanban_plugin.models import TickReport
from hermes_kanban_plugin.runtime import Runtime
from hermes_kanban_plugin.store import leases
from hermes_kanban_plugin.store.leases import Lease
from hermes_kanban_plugin.testing import FakeClock, claim_one, place_of, violations

# Linux keeps every process id below 4194304, so no process can ever have this one.
DEAD_PID = 4_194_304


class Service:
    """A dispatcher's runtime over one board; nothing is started unless a test's plugin or lane does it."""

    def __init__(self, home: Path, clock: FakeClock) -> None:
        create_board(place_of(home / "kanban.db"))
        self.home, self.clock = home, clock
        self.runtime = Runtime(home, clock, Manager(discover=False))
        self._claims = 0

    @property
    def manager(self) -> Manager:
        return self.runtime.manager

    @property
    def board(self) -> Board:
        return self.runtime.open(place_of(self.home / "kanban.db"))

    def plug(self, name: str = "mine", /, **hooks: Callable[..., Any]) -> Any:
        """Register a plugin made of functions named after hooks; returns the plugin."""
        plugin = type(name, (), {hook: staticmethod(hookimpl(function)) for hook, function in hooks.items()})()
        self.manager.register(plugin, name)
        return plugin

    def tick(self, **how: Any) -> TickReport:
        return tick(self.board, self.runtime, **how)

    def create(self, title: str = "count words", **fields: Any) -> str:
        return self.board.create_task(title=title, **{"assignee": "coder", **fields})

    def hold(self, task_id: str, *, supervisor: int = DEAD_PID, worker: int = DEAD_PID, seconds: int = 60) -> Lease:
        """Claim a task and accept the claim for two processes, given by pid."""
        self._claims += 1
        lease = claim_one(self.board, task_id, seconds=seconds, nonce=f"n{self._claims}")
        who = (self._identity(pid) for pid in (supervisor, worker))
        now = self.clock.now()
        leases.accept(self.board.writer, lease, *who, now + seconds, now)
        return lease

    @staticmethod
    def _identity(pid: int) -> identity.ProcessIdentity:
        if pid == DEAD_PID:
            return identity.ProcessIdentity(*identity.here(), pid, 1.0)
        return identity.capture(pid)


@pytest.fixture
def service(home: Path, clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> Iterator[Service]:
    monkeypatch.setenv("HERMES_KANBAN_PLUGIN_LANES", json.dumps({"coder": {"command": ["true"]}}))
    monkeypatch.setenv("HERMES_KANBAN_PLUGIN_TERMINATE_GRACE_SECONDS", "2")
    served = Service(home, clock)
    yield served
    assert served.runtime.launched == [], "a test without a process fixture started one"
    served.runtime.close()
    assert violations(home / "kanban.db") == []


@pytest.fixture
def sleeper() -> Iterator[Callable[[str], subprocess.Popen[bytes]]]:
    """Start real processes that would sleep long, each with a claim's lock in its environment."""
    started: list[subprocess.Popen[bytes]] = []

    def start(lock: str) -> subprocess.Popen[bytes]:
        environment = {"PATH": os.defpath, "HERMES_KANBAN_CLAIM_LOCK": lock}
        process = subprocess.Popen(["sleep", "300"], env=environment)
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()
