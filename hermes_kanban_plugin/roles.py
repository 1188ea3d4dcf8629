"""What a Hermes process is for, as far as it can be known when the host registers us: a pure function.

Rule source: the host's ways of starting itself (contract section 7, "which process loads plugins").
"""

from __future__ import annotations

import re
from enum import StrEnum
from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_GATEWAY_VERBS = ("run", "restart", "start")
_GATEWAY_PROGRAMS = ("gateway/run.py", "gateway\\run.py", "gateway/__main__.py")

_OF_WORKERS = ("HERMES_KANBAN_TASK", "HERMES_KANBAN_RUN_ID", "HERMES_KANBAN_CLAIM_LOCK")
_PROMPT = re.compile(r"(?:--q\w*=|-q)?\s*work kanban task (t_\w+)")


class Role(StrEnum):
    """A kind of process."""

    WORKER = "worker"
    GATEWAY = "gateway"
    DASHBOARD = "dashboard"
    CHAT = "chat"
    OTHER = "other"


def role_of(environment: Mapping[str, str], arguments: Sequence[str]) -> Role:
    """Return what a process is for.

    A worker is told by its prompt *and* by a variable of its own: what a worker starts inherits the variables alone.
    One of them is enough, so that a worker whose environment is garbage is taken for one, and ended by its guard.

    Args:
        environment: the process's variables.
        arguments: its argument vector, program first.
    """
    words = [word for word in arguments[1:] if not word.startswith("-")]
    if told_task(arguments) and any(environment.get(name, "").strip() for name in _OF_WORKERS):
        return Role.WORKER
    if _is_gateway(arguments, words):
        return Role.GATEWAY
    if "dashboard" in words[:3] or "serve" in words[:1]:
        return Role.DASHBOARD
    return Role.CHAT if not words or "chat" in words else Role.OTHER


def told_task(arguments: Sequence[str]) -> str:
    """Return the task that a worker's prompt tells it to work on, or an empty text when there is no such prompt.

    Args:
        arguments: an argument vector; the prompt may stand alone or behind its flag in the same word.
    """
    found = (_PROMPT.match(word) for word in arguments[1:])
    return next((match[1] for match in found if match is not None), "")


def _is_gateway(arguments: Sequence[str], words: Sequence[str]) -> bool:
    if arguments and arguments[0].endswith(_GATEWAY_PROGRAMS):
        return True
    return any(word == "gateway" and verb in _GATEWAY_VERBS for word, verb in pairwise(words))
