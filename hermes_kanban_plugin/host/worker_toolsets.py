"""The toolsets that the host would pin for the workers of a profile, asked of the host in a process of its own.

The answer depends on the plugins of third parties, whose code does not run here (host/toolset_probe.py). One question
is about all profiles, and it is asked again only when a configuration or a plugin folder has changed.
"""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import time
from typing import TYPE_CHECKING

from hermes_kanban_plugin import host
from hermes_kanban_plugin.locations import hermes_root

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

log = logging.getLogger(__name__)

ANSWER_SECONDS = 20.0
# After a question without an answer, whose reason may pass.
RETRY_SECONDS = 60.0
# Of a worker from whose terminal a dispatcher was started; the program that is asked is none.
_NOT_INHERITED = ("HERMES_KANBAN_TASK", "HERMES_KANBAN_RUN_ID", "HERMES_KANBAN_CLAIM_LOCK", "HERMES_PROFILE")
_PROGRAM = "hermes_kanban_plugin.host.toolset_probe"

Answers = dict[str, list[str]]
Stamp = tuple[tuple[str, int, int], ...]


class Known:
    """What was answered last, and of which state of the files."""

    def __init__(
        self,
        ask: Callable[[dict[str, Path]], Answers | None] | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._ask = ask or _ask
        self._monotonic = monotonic
        self._stamp: Stamp | None = None
        self._answers: Answers = {}
        self._until = 0.0

    def of_profile(self, profile: str) -> list[str]:
        """Return the toolsets of a profile's workers; none when that cannot be known."""
        if host.profile_home(profile) is None or not host.is_installed():
            return []
        homes = _homes()
        stamp, now = _stamp_of(homes), self._monotonic()
        if stamp != self._stamp or now >= self._until:
            answers = self._ask(homes)
            self._stamp, self._answers = stamp, answers or {}
            self._until = now + RETRY_SECONDS if answers is None else float("inf")
        return list(self._answers.get(profile, ()))


def _homes() -> dict[str, Path]:
    root = hermes_root()
    folder = root / "profiles"
    try:
        names = sorted(entry.name for entry in os.scandir(folder) if entry.is_dir())
    except OSError:
        names = []
    return {"default": root, **{name: folder / name for name in names}}


def _stamp_of(homes: dict[str, Path]) -> Stamp:
    """Return what tells one state of everything that the answer depends on from another."""
    managed = os.environ.get("HERMES_MANAGED_DIR", "").strip() or "/etc/hermes"
    paths = [f"{home}/{name}" for home in (managed, *homes.values()) for name in ("config.yaml", "plugins")]
    found = []
    for path in paths:
        try:
            facts = os.stat(path)
            found.append((path, facts.st_mtime_ns, facts.st_size))
        except OSError:
            found.append((path, 0, 0))
    return tuple(found)


def _ask(homes: dict[str, Path]) -> Answers | None:
    environment = {name: value for name, value in os.environ.items() if name not in _NOT_INHERITED}
    command = [sys.executable, "-P", "-m", _PROGRAM, *(f"{name}={home}" for name, home in homes.items())]
    try:
        done = subprocess.run(
            command, env=environment | {"HERMES_HOME": str(hermes_root())}, stdin=subprocess.DEVNULL,
            capture_output=True, text=True, timeout=ANSWER_SECONDS, check=True,
        )  # fmt: skip
        answers: Answers = json.loads(done.stdout)
    except (OSError, subprocess.SubprocessError, ValueError) as problem:
        said = str(getattr(problem, "stderr", None) or "").strip().rpartition("\n")[2]
        log.warning("the toolsets of workers are not known, they use their own: %s %s", problem, said)
        return None
    return answers


_known = Known()


def of_profile(profile: str) -> list[str]:
    """Return the toolsets that the host would pin for a worker of a profile; none when that cannot be known.

    Args:
        profile: its name; ``default`` is the root itself.
    """
    return _known.of_profile(profile)
