"""Processes of the real host and of ours around one board, each with a home of its own and nothing inherited."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import psutil
import pytest

ACTOR = Path(__file__).with_name("actor.py")
HOST = "from hermes_cli import kanban_db as kb; conn = kb.connect()"
OURS = "from hermes_kanban_plugin import open_board; from hermes_kanban_plugin.store.leases import ClaimTerms"
LIMIT = 60


class ActorFailed(Exception):
    """The process raised; the text is its traceback."""


class Actor:
    """A living process that evaluates what it is told (actor.py)."""

    def __init__(self, environment: dict[str, str], home: Path, preamble: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, str(ACTOR)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            env=environment, cwd=home, text=True,
        )  # fmt: skip
        self.ask(preamble)

    def tell(self, source: str) -> None:
        """Hand a piece of work over without waiting for it."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(source) + "\n")
        self._process.stdin.flush()

    def answer(self) -> Any:
        """Wait for the answer to the oldest piece of work."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise ActorFailed(f"the process ended with status {self._process.wait(LIMIT)}")
        answer = json.loads(line)
        if "error" in answer:
            raise ActorFailed(answer["error"])
        return answer["value"]

    def ask(self, source: str) -> Any:
        self.tell(source)
        return self.answer()

    def leave(self) -> None:
        """End the process as a program ends: its connections are closed on the way out."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with self._process.stdin, self._process.stdout:
            pass
        self._process.wait(LIMIT)

    def kill(self) -> None:
        """End the process as a crash does: nothing is closed in an orderly way."""
        self._process.kill()
        self._process.communicate()

    def __enter__(self) -> Actor:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            try:
                self.leave()
            except BaseException:
                self._process.kill()
                self._process.wait(LIMIT)
                raise


class House:
    """A Hermes home with one board, and everything that can be done to it from outside."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.home = folder / "home"
        self.home.mkdir(parents=True)
        self.database = self.home / "kanban.db"
        self.stack = stack
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("HERMES", "_HERMES"))}
        self.environment = kept | {
            "HOME": str(folder),
            "HERMES_HOME": str(self.home),
            "HERMES_MANAGED_DIR": str(folder / "managed"),
            "HERMES_DISABLE_LAZY_INSTALLS": "1",
        }

    def configure(self, **lanes: list[str]) -> None:
        """Let assignees stand for commands."""
        entry = {"lanes": {name: {"command": command} for name, command in lanes.items()}, "lease_seconds": 60}
        document = {"plugins": {"entries": {"hermes-kanban": entry}}}
        (self.home / "config.yaml").write_text(json.dumps(document), encoding="utf-8")  # JSON is YAML

    def host(self, preamble: str = HOST) -> Actor:
        """Start a process of the real host, by default with a connection ``conn`` and its module as ``kb``."""
        return self.stack.enter_context(Actor(self.environment, self.home, preamble))

    def ours(self) -> Actor:
        return self.stack.enter_context(Actor(self.environment, self.home, OURS))

    def hermes(self, *arguments: str) -> str:
        """Run ``hermes kanban …`` as a process; returns its output."""
        return self.run([sys.executable, "-m", "hermes_cli.main", "kanban", *arguments])

    def hermes_kanban(self, *arguments: str, **environment: str) -> str:
        """Run our own command as a process; returns its output."""
        return self.run([sys.executable, "-m", "hermes_kanban_plugin.cli.main", *arguments], **environment)

    def run(self, command: list[str], **environment: str) -> str:
        done = subprocess.run(
            command, env=self.environment | environment, cwd=self.home, capture_output=True, text=True, timeout=LIMIT,
            check=False,
        )  # fmt: skip
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
        assert "Traceback" not in done.stderr, done.stderr
        return done.stdout

    def start(self, command: list[str]) -> subprocess.Popen[bytes]:
        """Start a process that stays; it is killed at the latest when the test is over."""
        quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        process = subprocess.Popen(command, env=self.environment, cwd=self.home, **quiet)
        self.stack.callback(process.wait)
        self.stack.callback(process.kill)
        return process

    def rows(self, query: str) -> list[dict[str, Any]]:
        """Read the board with nothing but SQLite, in a connection that can change nothing."""
        with closing(sqlite3.connect(f"file:{self.database}?mode=ro", uri=True)) as connection:
            connection.row_factory = sqlite3.Row
            return [dict(row) for row in connection.execute(query)]

    def titles(self) -> set[str]:
        return {row["title"] for row in self.rows("SELECT title FROM tasks")}

    def integrity(self) -> str:
        return str(self.rows("PRAGMA integrity_check")[0]["integrity_check"])

    def wait_until(self, condition: Callable[[], bool], what: str) -> None:
        """Wait for something that happens by itself; fails only when it does not happen at all."""
        deadline = time.monotonic() + LIMIT
        while not condition():
            assert time.monotonic() < deadline, f"it never happened: {what}"
            time.sleep(0.02)

    def guarded_by(self, pid: int) -> bool:
        """Say whether a process holds the board's shared lock: SQLite opens the -shm file only once it has it."""
        return f"{self.database}-shm" in {opened.path for opened in psutil.Process(pid).open_files()}


@pytest.fixture(scope="module")
def shared_house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """One house for all tests of a module."""
    with ExitStack() as stack:
        yield House(tmp_path_factory.mktemp("shared"), stack)


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    """A house for one test."""
    with ExitStack() as stack:
        yield House(tmp_path / "house", stack)
