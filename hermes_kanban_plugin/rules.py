"""The decisions of the task life as pure functions: facts in, verdict out.

Standard library only: the supervisor uses this module too.
"""

from __future__ import annotations

import re
from enum import StrEnum
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

BLOCK_KINDS = ("dependency", "needs_input", "capability", "transient")
GOAL_MODE_BLOCK_KINDS = ("dependency", "needs_input")
BLOCK_RECURRENCE_LIMIT = 2
# Exit status with which a worker says "not now" (EX_TEMPFAIL; contract section 3, rate limit).
EXIT_TRY_LATER = 75

_TASK_REFERENCE = re.compile(r"\bt_[a-f0-9]{8,}\b")


# What a gate says in the metadata of its completion, under ``verdict``, when what it looked at is not good enough.
NEGATIVE_VERDICTS = frozenset(
    {"fail", "failed", "failure", "reject", "rejected", "refused", "no", "no_go", "negative", "changes_requested"}
)


class Status(StrEnum):
    """The columns of the board (contract section 3)."""

    TRIAGE = "triage"
    TODO = "todo"
    SCHEDULED = "scheduled"
    READY = "ready"
    RUNNING = "running"
    BLOCKED = "blocked"
    REVIEW = "review"
    DONE = "done"
    ARCHIVED = "archived"


class BlockRoute(NamedTuple):
    """Where a blocked task goes: its new status, its recurrence count and the event that says so."""

    status: str
    recurrences: int
    event: str


def route_block(kind: str | None, last_kind: str | None, recurrences: int, *, open_parents: bool) -> BlockRoute:
    """Decide where a block leads (contract section 3, block kinds).

    A dependency block waits in ``todo`` for its parents. Without an open parent there is nothing that could wake it,
    and ``todo`` would start it again at once for ever (contract W10), so it goes to a person like any other block.

    Args:
        kind: one of ``BLOCK_KINDS`` or None.
        last_kind: the kind of the task's previous block; it survives an unblock.
        recurrences: how often in a row the task was blocked for ``last_kind``.
        open_parents: whether a parent of the task is unfinished.
    """
    if kind == "dependency" and open_parents:
        return BlockRoute("todo", recurrences, "dependency_wait")
    # The first block of a task also "repeats" the missing kind, with a count of 0, as the host counts it.
    count = recurrences + 1 if kind == last_kind else 1
    if count >= BLOCK_RECURRENCE_LIMIT:
        return BlockRoute("triage", count, "block_loop_detected")
    return BlockRoute("blocked", count, "blocked")


def negative_verdict(metadata: Mapping[str, Any] | None) -> str | None:
    """Return the verdict of a completion if it is a negative one, as it was written (failure mode J4)."""
    verdict = (metadata or {}).get("verdict")
    if verdict is False:
        return "false"
    word = re.sub(r"[\s-]+", "_", verdict.strip().lower()) if isinstance(verdict, str) else ""
    return str(verdict).strip() if word in NEGATIVE_VERDICTS else None


def first_line(text: str | None, length: int) -> str | None:
    """Return the first line of a text, cut to a number of characters, or None when there is none."""
    stripped = (text or "").strip()
    return stripped.splitlines()[0][:length] if stripped else None


def task_references(text: str) -> list[str]:
    """Return the task ids that a text names, each once, in order."""
    return list(dict.fromkeys(_TASK_REFERENCE.findall(text)))
