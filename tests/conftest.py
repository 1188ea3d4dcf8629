"""What every test gets: no inherited Hermes variables, a home of its own, and a guard around the temporary root."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlite_utils

for _name in [name for name in os.environ if name.startswith(("HERMES_", "_HERMES_"))]:
    del os.environ[_name]  # before anything of ours is imported: an inherited board must never be seen

from hermes_kanban_plugin.board import Board
from hermes_kanban_plugin.store import connection
from hermes_kanban_plugin.testing import FakeClock, make_board


def pytest_report_header() -> str:
    return f"SQLite {sqlite3.sqlite_version}, sqlite-utils {getattr(sqlite_utils, '__version__', '4')}"


@pytest.fixture(autouse=True, scope="session")
def guarded_boards(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Refuse to open any board outside the temporary root, whatever a test or the environment asks for."""
    connect = connection._connect
    root = tmp_path_factory.getbasetemp().resolve()

    def guarded(path: str, mode: str) -> sqlite3.Connection:
        if not Path(path).resolve().is_relative_to(root):
            raise AssertionError(f"a test tried to open {path}, which is outside {root}")
        return connect(path, mode)

    connection._connect = guarded
    yield
    connection._connect = connect


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give the test a Hermes home of its own and clear every Hermes variable."""
    for name in [name for name in os.environ if name.startswith(("HERMES_", "_HERMES_"))]:
        monkeypatch.delenv(name)
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
