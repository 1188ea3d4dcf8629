"""A worker on the Codex runtime speaks through a tool server that Codex starts below it; nothing else there does."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from hermes_kanban_plugin import identity
from hermes_kanban_plugin.dispatch import tool_server
from hermes_kanban_plugin.dispatch.ownership import AGENT_VARIABLE

if TYPE_CHECKING:
    from tests.worker.conftest import Post

ROOT = Path(__file__).parents[2]
SERVER = "agent.transports.hermes_tools_mcp_server"
SPEAKS = """
import os, sys
from hermes_kanban_plugin.errors import NotTheOwner
from hermes_kanban_plugin.worker import assignment
try:
    assignment.prove(os.environ, os.getpid())
    print("allowed")
except NotTheOwner as refusal:
    print("refused")
"""
RUNS = "import subprocess, sys; subprocess.run([sys.executable, *sys.argv[1:]], check=True)"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Programs with the names of the host's and of Codex."""
    package = tmp_path / "agent" / "transports"
    package.mkdir(parents=True)
    for init in (tmp_path / "agent", package):
        (init / "__init__.py").touch()
    (package / "hermes_tools_mcp_server.py").write_text(SPEAKS)
    (tmp_path / "speaks.py").write_text(SPEAKS)
    for name in ("codex", "codex.js", "hermes"):
        (tmp_path / name).write_text(RUNS)
    return tmp_path


def said(folder: Path, *chain: str) -> str:
    """Start programs below each other, the first one as a child of this process, and return what the last one says."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(folder), str(ROOT)])}
    words = [sys.executable, *(str(folder / name) if name in os.listdir(folder) else name for name in chain)]
    done = subprocess.run(words, capture_output=True, text=True, check=True, env=environment, cwd=folder)
    return done.stdout.strip()


@pytest.mark.parametrize(
    ("chain", "answer"),
    [
        (["codex", "-m", SERVER], "allowed"),
        (["codex.js", "codex", "-m", SERVER], "allowed"),
        (["-m", SERVER], "allowed"),
        (["codex", "speaks.py"], "refused"),
        (["hermes", "codex", "-m", SERVER], "refused"),
        (["codex", "hermes", "-m", SERVER], "refused"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else value,
)
def test_only_the_agents_own_server_speaks(
    post: Post, folder: Path, monkeypatch: pytest.MonkeyPatch, chain: list[str], answer: str
) -> None:
    post.accept()
    monkeypatch.setenv(AGENT_VARIABLE, str(os.getpid()))
    assert said(folder, *chain) == answer


def test_below_a_recorded_wrapper_it_is_the_agents(post: Post, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    post.accept(identity.capture(os.getppid()))
    monkeypatch.setenv(AGENT_VARIABLE, str(os.getpid()))
    assert said(folder, "codex", "-m", SERVER) == "allowed"
    monkeypatch.setenv(AGENT_VARIABLE, "")
    assert said(folder, "codex", "-m", SERVER) == "refused"


def test_a_process_that_is_gone_serves_nobody() -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as gone:
        gone.wait()
    assert tool_server.serves(gone.pid, {os.getpid()}) is False
