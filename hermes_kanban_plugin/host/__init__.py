"""The host, as far as it is there: the only module that imports it, late and one feature at a time.

Every function has an answer without the host, so that the plugin runs alone (command lanes, tests, demo).
"""

from __future__ import annotations

import importlib
import importlib.util
import logging
import os
import re
import shutil
import sys
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from hermes_kanban_plugin import redaction
from hermes_kanban_plugin.locations import hermes_root

log = logging.getLogger(__name__)

FIRST_WITH_PLAIN_FLAG = (0, 16)
# The hosts that every part was tried with; docs/reference/hosts.md.
FIRST_TRIED, LAST_TRIED = (0, 13), (0, 19)


def is_installed() -> bool:
    """Say whether the host can be imported in this process."""
    return importlib.util.find_spec("hermes_cli") is not None


def is_tried(version: str) -> bool:
    """Say whether we were tried with a version of the host; one that cannot be read was not."""
    numbers = tuple(int(part) for part in re.findall(r"\d+", version)[:2])
    return FIRST_TRIED <= numbers <= LAST_TRIED


def tried_versions() -> str:
    """Return which versions we were tried with, for people."""
    return " to ".join(".".join(str(number) for number in one) for one in (FIRST_TRIED, LAST_TRIED))


def is_there() -> bool:
    """Say whether there is a host to run: named by ``HERMES_BIN``, on the PATH, or in this environment."""
    return bool(os.environ.get("HERMES_BIN", "").strip() or shutil.which("hermes")) or is_installed()


def can_decompose() -> bool:
    """Say whether the host has ``kanban decompose`` (since 0.15), as far as that is seen without importing it."""
    package = importlib.util.find_spec("hermes_cli")
    if package is None:
        return is_there()
    return any((Path(folder) / "kanban_decompose.py").exists() for folder in package.submodule_search_locations or ())


def command() -> list[str]:
    """Return how to start the host's program: ``HERMES_BIN``, else ``hermes`` on the PATH, else the module.

    Rule source: contract section 5.
    """
    wish = os.path.expanduser(os.environ.get("HERMES_BIN", "").strip())
    if os.path.dirname(wish):
        return [os.path.abspath(wish)]
    found = shutil.which(wish or "hermes")
    return [os.path.abspath(found)] if found else [sys.executable, "-m", "hermes_cli.main"]


@cache
def knows_plain_flag() -> bool:
    """Say whether the host's program takes ``--cli``: since 0.16; one whose version cannot be told is taken for new."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        major, minor = version("hermes-agent").split(".")[:2]
        return (int(major), int(minor)) >= FIRST_WITH_PLAIN_FLAG
    except (PackageNotFoundError, ValueError):
        return True


def profile_home(profile: str) -> Path | None:
    """Return the home of a profile, or None when it was never created; ``default`` lives in the root itself."""
    root = hermes_root()
    if profile == "default":
        return root
    if not profile or Path(profile).name != profile:
        return None  # "..", "a/b" and the like name folders, but no profiles
    folder = root / "profiles" / profile
    return folder if folder.is_dir() else None


def redact(text: str) -> str:
    """Return the text without secrets, by the host's rules where they are at hand and by ours in any case."""
    if "hermes_cli" in sys.modules or "agent" in sys.modules:
        try:
            text = importlib.import_module("agent.redact").redact_sensitive_text(text, force=True)
        except Exception as problem:  # noqa: BLE001 - our own patterns below still apply
            log.debug("the host's redaction is not available: %s", problem)
    return redaction.redact(text)


def active_profile() -> str:
    """Return the profile this process acts for: ``HERMES_PROFILE``, else the one its home belongs to."""
    named = os.environ.get("HERMES_PROFILE", "").strip()
    if named:
        return named
    home = Path(os.environ.get("HERMES_HOME", ""))
    return home.name if home.parent.name == "profiles" else "default"


def fire_lifecycle_hook(event: str, **fields: Any) -> None:
    """Tell the host's plugins about a change that is committed; only in a process where the host runs."""
    plugins = sys.modules.get("hermes_cli.plugins")
    if plugins is None:
        return
    try:
        plugins.invoke_hook(event, profile_name=active_profile(), **fields)
    except Exception as problem:  # noqa: BLE001 - an observer must not undo what is done
        log.warning("hook %s of the host failed: %s", event, problem)


class Judgement(NamedTuple):
    """What the host's judge says of a goal: its objection (None: none), and why it was not asked (None: it was)."""

    objection: str | None = None
    unasked: str | None = None


def judge_goal(goal: str, answer: str) -> Judgement:
    """Ask the host's judge whether a goal is reached; one that cannot be asked objects to nothing.

    Rule source: contract section 6 (judge rejection for goal-mode tasks, only when a judge is reachable).
    """
    tools = sys.modules.get("tools.kanban_tools")
    if tools is None:
        return Judgement(unasked="there is no judge in this process")
    try:
        if not tools._goal_judge_available():
            return Judgement(unasked="Hermes has no judge configured")
        verdict, reason, *more = tools.judge_goal(goal=goal, last_response=answer)
    except Exception as problem:  # noqa: BLE001 - a judge that cannot be asked must not hold finished work back
        log.warning("the goal judge could not be asked, completion is allowed: %s", problem)
        return Judgement(unasked=f"the judge could not be asked ({problem})")
    # Without an answer the host's judge says "continue" and sets its last flag, or "skipped": that is no objection.
    if verdict == "skipped" or (len(more) > 2 and bool(more[2])):
        return Judgement(unasked=f"the judge gave no answer ({reason})")
    return Judgement() if verdict == "done" else Judgement(objection=str(reason))


def kanban_tool_gate() -> bool:
    """Say whether this process may see the kanban tools (contract section 6, gating: *mode*)."""
    if os.environ.get("HERMES_KANBAN_TASK"):
        return True
    if not is_installed():
        return False
    try:
        config = importlib.import_module("hermes_cli.config").load_config()
    except Exception as problem:  # noqa: BLE001 - no readable configuration means no toolset
        log.debug("the host's configuration cannot be read: %s", problem)
        return False
    return "kanban" in (config.get("toolsets") or [])
