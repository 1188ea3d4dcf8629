"""What the tests of the store share: a desk to lay tasks out on, and real processes of other programs."""

from __future__ import annotations

import json
import os
import re
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from hermes_kanban_plugin.board import Board
from hermes_kanban_plugin.store.leases import Lease
from hermes_kanban_plugin.testing import claim_one

CHILDREN = Path(__file__).parent / "children"
FIXTURE_BOARDS = Path(__file__).parents[1] / "fixtures" / "boards"


def plain_connect(path: Path | str) -> sqlite3.Connection:
    """Connect as any other program would, with none of our care."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.row_factory = sqlite3.Row
    return connection


def dump_of(path: Path | str) -> str:
    """Return everything that a board holds, as text; counters that never counted are left out."""
    unused = re.compile(r'INSERT INTO "sqlite_sequence" VALUES\(.*,0\);')
    with closing(plain_connect(path)) as connection:
        return "\n".join(line for line in connection.iterdump() if not unused.fullmatch(line))


class Desk:
    """A board with raw eyes: rows as they are in the file, and tasks put where a test wants them."""

    def __init__(self, board: Board) -> None:
        self.board = board
        self._claims = 0

    @property
    def now(self) -> int:
        return self.board.clock.now()

    @property
    def writer(self) -> sqlite3.Connection:
        return self.board.writer

    def create(self, title: str = "a task", **fields: Any) -> str:
        return self.board.create_task(title=title, **({"assignee": "worker"} | fields))

    def claim(self, task_id: str, seconds: int = 60, lane: str = "command") -> Lease:
        self._claims += 1
        return claim_one(self.board, task_id, seconds=seconds, lane=lane, nonce=f"nonce{self._claims}")

    def claimed(self, **fields: Any) -> Lease:
        return self.claim(self.create(**fields))

    def put(self, task_id: str, **columns: Any) -> None:
        """Write columns of a task as another program would: past every rule of ours."""
        changes = ", ".join(f"{name} = :{name}" for name in columns)
        self.execute(f"UPDATE tasks SET {changes} WHERE id = :task_id", task_id=task_id, **columns)

    def execute(self, sql: str, **values: Any) -> None:
        with closing(plain_connect(self.board.path)) as other:
            other.execute(sql, values)

    def rows(self, sql: str, **values: Any) -> list[dict[str, Any]]:
        return [dict(row) for row in self.board.reader.execute(sql, values)]

    def row(self, task_id: str) -> dict[str, Any]:
        (found,) = self.rows("SELECT * FROM tasks WHERE id = :id", id=task_id)
        return found

    def columns(self, task_id: str, *names: str) -> tuple[Any, ...]:
        row = self.row(task_id)
        return tuple(row[name] for name in names)

    def run(self, run_id: int) -> dict[str, Any]:
        (found,) = self.rows("SELECT * FROM task_runs WHERE id = :id", id=run_id)
        return found

    def runs(self, task_id: str) -> list[dict[str, Any]]:
        return self.rows("SELECT * FROM task_runs WHERE task_id = :id ORDER BY id", id=task_id)

    def known_run(self, run_id: int) -> dict[str, Any]:
        (found,) = self.rows("SELECT * FROM kp_runs WHERE run_id = :id", id=run_id)
        return found

    def events(self, task_id: str) -> list[tuple[str, Any, int | None]]:
        sql = "SELECT kind, payload, run_id FROM task_events WHERE task_id = :id ORDER BY id"
        return [
            (row["kind"], json.loads(row["payload"]) if row["payload"] else None, row["run_id"])
            for row in self.rows(sql, id=task_id)
        ]

    def kinds(self, task_id: str) -> list[str]:
        return [kind for kind, _, _ in self.events(task_id)]

    def last_event(self, task_id: str) -> tuple[str, Any, int | None]:
        return self.events(task_id)[-1]

    def dump(self) -> str:
        return dump_of(self.board.path)


@pytest.fixture
def desk(board: Board) -> Desk:
    return Desk(board)


@pytest.fixture
def plain() -> Callable[[Path | str], sqlite3.Connection]:
    return plain_connect


@pytest.fixture
def dump() -> Callable[[Path | str], str]:
    return dump_of


@pytest.fixture
def spawn() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start a script of ``children/`` in a process of its own, with pipes; all are gone after the test."""
    started: list[subprocess.Popen[str]] = []

    def start(script: str, *arguments: object) -> subprocess.Popen[str]:
        command = [sys.executable, str(CHILDREN / script), *map(str, arguments)]
        child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        started.append(child)
        return child

    yield start
    for child in started:
        child.kill()
        child.communicate()


@pytest.fixture
def host(tmp_path: Path) -> Callable[..., str]:
    """Run Python text against the real host, in a process and a Hermes home of its own; returns what it printed."""

    def run(text: str, *arguments: object) -> str:
        home = tmp_path / "host-home"
        home.mkdir(exist_ok=True)
        environment = {name: value for name, value in os.environ.items() if not name.startswith("HERMES_")}
        command = [sys.executable, "-I", "-c", text, *map(str, arguments)]
        env = environment | {"HERMES_HOME": str(home), "HOME": str(home)}
        done = subprocess.run(command, env=env, cwd=home, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


@pytest.fixture
def old_boards() -> Path:
    """The folder of the boards that real host versions made; copy them, never open them."""
    return FIXTURE_BOARDS


@pytest.fixture
def deprived() -> Callable[[], Any]:
    """Obey file permissions even as root, within a ``with``: the kernel's override is put down and taken up again."""
    return _without_override


@contextmanager
def _without_override() -> Iterator[None]:
    if os.geteuid() != 0:
        yield
        return
    if sys.platform != "linux":
        pytest.skip("root can read and write everything here")
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)  # version 3 of the call, this thread
    powers = (ctypes.c_uint32 * 6)()
    assert libc.capget(header, powers) == 0
    held = powers[0]
    powers[0] = held & ~0b110  # CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH, effective set only
    assert libc.capset(header, powers) == 0
    try:
        yield
    finally:
        powers[0] = held
        assert libc.capset(header, powers) == 0
