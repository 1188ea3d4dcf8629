"""What every test gets: no inherited Hermes variables, a home of its own, and a guard around the temporary root."""

from __future__ import annotations

import json
import os
import secrets
import socket
import sqlite3
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import pytest
import sqlite_utils

for _name in [name for name in os.environ if name.startswith(("HERMES_", "_HERMES_"))]:
    del os.environ[_name]  # before anything of ours is imported: an inherited board must never be seen

from hermes_kanban_plugin.board import Board, create_board
from hermes_kanban_plugin.dispatch.tick import tick
from hermes_kanban_plugin.identity import sight
from hermes_kanban_plugin.manager import Manager
from hermes_kanban_plugin.models import HeldRun, Run, TickReport
from hermes_kanban_plugin.runtime import Runtime
from hermes_kanban_plugin.store import connection
from hermes_kanban_plugin.testing import FakeClock, make_board, place_of, violations

Found = TypeVar("Found")


def pytest_report_header() -> str:
    return f"SQLite {sqlite3.sqlite_version}, sqlite-utils {getattr(sqlite_utils, '__version__', '4')}"


@pytest.fixture(autouse=True, scope="session")
def guarded_boards(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Refuse to open any board outside the temporary root, whatever a test or the environment asks for."""
    connect = connection._connect
    root = tmp_path_factory.getbasetemp().resolve()

    def guarded(path: str, mode: str, busy: int | None = None) -> sqlite3.Connection:
        if not Path(path).resolve().is_relative_to(root):
            raise AssertionError(f"a test tried to open {path}, which is outside {root}")
        return connect(path, mode, busy)

    connection._connect = guarded
    yield
    connection._connect = connect


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give the test a Hermes home of its own and clear every Hermes variable."""
    for name in [name for name in os.environ if name.startswith(("HERMES_", "_HERMES_"))]:
        monkeypatch.delenv(name)
    monkeypatch.delenv("COLUMNS", raising=False)  # pytest-xdist names a width, and output is cut where one is named
    folder = tmp_path / "home"
    folder.mkdir()
    monkeypatch.setenv("HERMES_HOME", str(folder))
    monkeypatch.setenv("HOME", str(tmp_path))
    return folder


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def board(home: Path, clock: FakeClock) -> Iterator[Board]:
    """An empty default board in the test's home, with a clock that the test moves."""
    with make_board(home / "kanban.db", clock) as opened:
        yield opened


class Workshop:
    """A home with command lanes, served by this very process: real clock, real supervisors, real workers."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.database = home / "kanban.db"
        self._runtime: Runtime | None = None
        create_board(place_of(self.database))

    def configure(self, lanes: dict[str, str], kanban: dict[str, object] | None = None, **plugin: object) -> None:
        """Write the settings: lanes by name as shell lines, keys of the host's section, keys of ours."""
        commands = {name: {"command": ["sh", "-c", line]} for name, line in lanes.items()}
        entry = {"terminate_grace_seconds": 1, "farewell_seconds": 1, **plugin, "lanes": commands}
        document = {"kanban": kanban or {}, "plugins": {"entries": {"hermes-kanban": entry}}}
        (self.home / "config.yaml").write_text(json.dumps(document))

    @property
    def runtime(self) -> Runtime:
        if self._runtime is None:
            self._runtime = Runtime(self.home, manager=Manager(discover=False))
        return self._runtime

    @property
    def board(self) -> Board:
        return self.runtime.open(place_of(self.database))

    def tick(self, **how: object) -> TickReport:
        self.runtime.reload()
        return tick(self.board, self.runtime, **how)

    def restart(self) -> None:
        """Forget everything that a dispatcher knows besides the board, as its death would."""
        if self._runtime is not None:
            self._runtime.close()
            self._runtime = None

    def run(self, task_id: str) -> HeldRun:
        """Return the accepted run that holds a task, waiting for its worker to be started."""
        return wait_for(lambda: self._accepted(task_id), f"a worker for {task_id}")

    def _accepted(self, task_id: str) -> HeldRun | None:
        found = self.board.held_run(task_id)
        return found if found is not None and found.accepted_at else None

    def ended(self, run_id: int) -> Run:
        """Return a run after its supervisor wrote how it ended and that nothing of it is left."""
        ended = "SELECT task_id FROM kp_runs WHERE run_id = :run_id AND ended_at IS NOT NULL"
        row = wait_for(
            lambda: self.board.reader.execute(ended, {"run_id": run_id}).fetchone(), f"the end of run {run_id}"
        )
        return next(run for run in self.board.runs(row["task_id"]) if run.id == run_id)

    def settle(self, task_id: str, *statuses: str) -> str:
        """Tick until a task is in one of the columns, and return which."""

        def settled() -> str | None:
            self.tick()
            status = self.board.task(task_id).status
            return status if status in statuses else None

        return wait_for(settled, f"{task_id} to be {' or '.join(statuses)}")

    def close(self) -> None:
        """End every process that this workshop started, then let go of the board."""
        for launched in self.runtime.launched:
            if launched.poll() is None:
                launched._process.terminate()
        for launched in self.runtime.launched:
            launched._process.wait(timeout=30)
        self.restart()


def host_lock() -> str:
    """Return a lock as the host's dispatcher makes them, of this test alone: whatever carries it may be stopped."""
    return f"{socket.gethostname()}:{10**6 + secrets.randbelow(10**9)}"


def wait_for(look: Callable[[], Found | None], what: str, seconds: float = 30.0) -> Found:
    """Look until there is something to see."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found = look()
        if found:
            return found
        time.sleep(0.01)
    raise AssertionError(f"waited {seconds} s for {what}")


def lives(pid: int) -> bool:
    """Say whether a process lives; a zombie is dead."""
    seen = sight(pid)
    return bool(seen.exists) and not seen.zombie


@pytest.fixture
def workshop(home: Path) -> Iterator[Workshop]:
    shop = Workshop(home)
    shop.configure({})
    yield shop
    shop.close()
    assert violations(shop.database) == []
