"""What a card says about when it is done: read from its body, tried in its workspace.

A line ``Check: file report.md`` asks for a file of the workspace, ``Check: tests`` for the command that the settings
have under that name. The board names checks and never carries a command: its text comes from anywhere (failure mode
M6). Rule source: failure mode D4.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

MAX_CHECKS = 20
TAIL_CHARACTERS = 400
# ``Check: x``, also as an item of a list, with or without a box to tick.
_LINE = re.compile(
    r"^[ \t]*(?:[-*+][ \t]+)?(?:\[[ xX]\][ \t]*)?check:[ \t]*(\S.*?)[ \t]*$", re.IGNORECASE | re.MULTILINE
)
_FILE = re.compile(r"file[ \t]+(\S.*)", re.IGNORECASE)


class Check(NamedTuple):
    """One declared check: a file of the workspace, or the name of a command in the settings."""

    name: str
    file: str | None = None


class Command(NamedTuple):
    """What the settings have for a name: an argument vector, and for how many seconds it may run."""

    argv: Sequence[str]
    seconds: float


class Shortfall(NamedTuple):
    """A check that did not pass, and what was seen."""

    check: str
    seen: str

    def __str__(self) -> str:
        return f"check {self.check!r}: {self.seen}"


def declared(body: str | None) -> list[Check]:
    """Return the checks that a card declares, each once, in order."""
    found = []
    for text in dict.fromkeys(_LINE.findall(body or "")):
        file = _FILE.fullmatch(text)
        found.append(Check(text, file[1].strip("`\"'") if file else None))
    return found[:MAX_CHECKS]


def unmet(
    checks: Sequence[Check], workspace: Path, commands: Mapping[str, Command], environment: Mapping[str, str]
) -> list[Shortfall]:
    """Try checks one after another and return those that did not pass.

    Args:
        checks: what a card declares.
        workspace: where its files are and its commands run.
        commands: the commands of the settings, by name.
        environment: what the commands get.
    """
    found = []
    for check in checks:
        seen = (
            _try_file(check.file, workspace)
            if check.file
            else _try_command(check.name, workspace, commands, environment)
        )
        if seen:
            found.append(Shortfall(check.name, seen))
    return found


def _try_file(name: str, workspace: Path) -> str:
    try:
        path = (workspace / Path(name).expanduser()).resolve()
        if not path.is_relative_to(workspace.resolve()):
            return "it is not in the task's workspace"
        return "" if path.is_file() else "there is no such file"
    except (OSError, ValueError, RuntimeError) as problem:  # a NUL in the name, no such user after ~
        return f"it cannot be looked at ({problem})"


def _try_command(name: str, workspace: Path, commands: Mapping[str, Command], environment: Mapping[str, str]) -> str:
    command = commands.get(name)
    if command is None:
        known = ", ".join(sorted(commands)) or "none"
        return f"the settings have no check of that name (they have: {known})"
    try:
        process = subprocess.Popen(
            list(command.argv),
            cwd=workspace,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    except OSError as problem:
        return f"its command cannot be started ({problem})"
    try:
        output, _ = process.communicate(timeout=command.seconds)
    except subprocess.TimeoutExpired:
        _end(process)
        return f"it was not done within {command.seconds:g} s"
    except BaseException:
        _end(process)
        raise
    return "" if process.returncode == 0 else f"its command ended with {process.returncode}: {_tail(output)}"


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a command with everything that it started in its group."""
    with suppress(ProcessLookupError, PermissionError, AttributeError):
        os.killpg(process.pid, signal.SIGKILL)
    process.kill()
    process.communicate()


def _tail(output: bytes) -> str:
    text = " ".join(output.decode(errors="replace").split())
    return f"… {text[-TAIL_CHARACTERS:]}" if len(text) > TAIL_CHARACTERS else text or "it printed nothing"
