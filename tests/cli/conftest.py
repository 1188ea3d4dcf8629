"""The command as people run it: a real process for every call."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from hermes_kanban_plugin import open_board
from hermes_kanban_plugin.models import TERMINAL
from hermes_kanban_plugin.store.leases import ClaimTerms


class Answer(NamedTuple):
    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    def refused(self, status: int, *words: str) -> None:
        """Check that it was refused with this status, in one line on standard error that says these words."""
        assert self.status == status, self
        assert self.out == ""
        assert self.err.count("\n") == 1, self.err
        assert self.err.startswith("hermes-kanban: ")
        assert "Traceback" not in self.err
        for word in words:
            assert word in self.err


class Command:
    """Runs ``hermes-kanban``; ``environment`` is added to the test's own."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.board = home / "kanban.db"

    def argv(self, *words: str) -> list[str]:
        return [sys.executable, "-m", "hermes_kanban_plugin.cli.main", *words]

    def __call__(self, *words: str, **environment: str) -> Answer:
        done = subprocess.run(
            self.argv(*words),
            capture_output=True,
            text=True,
            env={**os.environ, **environment},
            timeout=60,
            check=False,
        )
        return Answer(done.returncode, done.stdout, done.stderr)

    def ok(self, *words: str, **environment: str) -> Answer:
        answer = self(*words, **environment)
        assert answer.status == 0, answer
        assert answer.err == ""
        return answer

    def create(self, title: str, *words: str) -> str:
        """Create a task with the command."""
        return str(self.ok("create", title, *words, "--json").json["id"])

    def add(self, title: str) -> str:
        """Add a task without the command, where it is not what is tested."""
        with open_board(create=True) as board:
            return board.create_task(title=title)

    def state(self, task_id: str) -> object:
        """Everything the board says about a task."""
        with open_board() as board:
            return board.task(task_id), board.runs(task_id), board.events(task_id)

    def configure(self, lanes: dict[str, list[str]], **kanban: object) -> None:
        entry = {"lanes": {name: {"command": command} for name, command in lanes.items()}}
        document = {"kanban": kanban, "plugins": {"entries": {"hermes-kanban": entry}}}
        (self.home / "config.yaml").write_text(json.dumps(document))


@pytest.fixture
def command(home: Path) -> Command:
    return Command(home)


@pytest.fixture
def worker(home: Path) -> Callable[[str], dict[str, str]]:
    """Claim a task and return the environment that a worker of this claim has."""

    def claimed(task_id: str) -> dict[str, str]:
        with open_board() as board:
            terms = ClaimTerms(f"host:1:{secrets.token_hex(4)}", board.clock.now() + 600, TERMINAL)
            (lease,) = board.claim([task_id], terms)
        return {
            "HERMES_KANBAN_TASK": task_id,
            "HERMES_KANBAN_RUN_ID": str(lease.run_id),
            "HERMES_KANBAN_CLAIM_LOCK": lease.lock,
            "HERMES_PROFILE": "coder",
        }

    return claimed
