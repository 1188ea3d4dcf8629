"""Subagents that a worker delegated to: they work in its process and with its environment, and do not end its run.

A subagent's session is known by its id from its start on. That one comes to its end is known to the thread it ends in.
"""

from __future__ import annotations

import os
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

# What ends a run. A sign of life or a comment of a subagent is welcome.
ENDING_TOOLS = ("kanban_block", "kanban_complete")

_sessions: set[str] = set()
_thread = threading.local()


def note(session_id: str) -> None:
    """Take note of a subagent's session."""
    if session_id:
        _sessions.add(session_id)


def refusal(tool_name: str, session_id: str) -> str | None:
    """Return why a tool is not for the session that calls it, or None.

    Args:
        tool_name: the tool.
        session_id: of the agent that calls it, empty when the host does not say.
    """
    if tool_name not in ENDING_TOOLS or session_id not in _sessions or not os.environ.get("HERMES_KANBAN_TASK"):
        return None
    return (
        f"{tool_name} was refused: a subagent cannot end the task of the agent that delegated to it; nothing was "
        "changed. Answer with what you found; that agent calls the tool itself"
    )


@contextmanager
def ending(depth: int) -> Iterator[None]:
    """Say that an agent of this thread comes to its end.

    Args:
        depth: how many agents stand above it; 0 is the worker itself.
    """
    before = is_ending()
    _thread.ending = depth > 0
    try:
        yield
    finally:
        _thread.ending = before


def is_ending() -> bool:
    """Say whether what this thread books now is the end of a subagent."""
    return getattr(_thread, "ending", False)
