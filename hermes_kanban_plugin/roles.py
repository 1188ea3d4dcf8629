"""What a Hermes process is for, as far as it can be known when the host registers us: a pure function.

Rule source: the host's ways of starting itself (contract section 7, "which process loads plugins").
"""

from __future__ import annotations

from enum import StrEnum
from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_GATEWAY_VERBS = ("run", "restart", "start")
_GATEWAY_PROGRAMS = ("gateway/run.py", "gateway\\run.py", "gateway/__main__.py")


class Role(StrEnum):
    """A kind of process."""

    WORKER = "worker"
    GATEWAY = "gateway"
    DASHBOARD = "dashboard"
    CHAT = "chat"
    OTHER = "other"


def role_of(environment: Mapping[str, str], arguments: Sequence[str]) -> Role:
    """Return what a process is for.

    A worker is told by its task *and* by its prompt: whatever a worker starts inherits the variable alone.

    Args:
        environment: the process's variables.
        arguments: its argument vector, program first.
    """
    words = [word for word in arguments[1:] if not word.startswith("-")]
    task_id = environment.get("HERMES_KANBAN_TASK", "").strip()
    if task_id and f"work kanban task {task_id}" in (word.strip() for word in arguments):
        return Role.WORKER
    if _is_gateway(arguments, words):
        return Role.GATEWAY
    if "dashboard" in words[:3] or "serve" in words[:1]:
        return Role.DASHBOARD
    return Role.CHAT if not words or "chat" in words else Role.OTHER


def _is_gateway(arguments: Sequence[str], words: Sequence[str]) -> bool:
    if arguments and arguments[0].endswith(_GATEWAY_PROGRAMS):
        return True
    return any(word == "gateway" and verb in _GATEWAY_VERBS for word, verb in pairwise(words))
