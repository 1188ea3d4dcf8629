"""The words for how an attempt ends: one cause each, and what the host's columns and history say for it.

Standard library only: the supervisor uses this module too. Rule source: contract section 3 (outcomes, events).
"""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple


class Cause(StrEnum):
    """Why an attempt ended; stored in ``kp_runs.cause``."""

    COMPLETED = "completed"
    BLOCKED = "blocked"
    CRASHED = "crashed"
    TIMED_OUT = "timed_out"
    BUDGET_EXHAUSTED = "budget_exhausted"
    SPAWN_FAILED = "spawn_failed"
    PROTOCOL_VIOLATION = "protocol_violation"
    RATE_LIMITED = "rate_limited"
    INTERRUPTED = "interrupted"
    INFRASTRUCTURE = "infrastructure"
    HEARTBEAT_STALE = "heartbeat_stale"
    SUPERSEDED = "superseded"

    @property
    def counts(self) -> bool:
        """Whether an attempt that ends so is the task's failure."""
        return self in _COUNTED

    @property
    def words(self) -> HostWords:
        """What the host calls it."""
        return _HOST_WORDS.get(self) or HostWords(self.value, self.value)

    @classmethod
    def of_outcome(cls, outcome: str) -> Cause:
        """Return what an outcome in the host's words stands for when nobody says more; an unknown one is a crash."""
        return next((cause for cause in cls if cause.words.outcome == outcome), cls.CRASHED)


class HostWords(NamedTuple):
    """The outcome of the run and the kind of the history row, in the host's vocabulary."""

    outcome: str
    event: str


_COUNTED = frozenset(
    {Cause.CRASHED, Cause.TIMED_OUT, Cause.BUDGET_EXHAUSTED, Cause.SPAWN_FAILED, Cause.PROTOCOL_VIOLATION}
)
# Where the host has one word for several causes; all others are called the same.
_HOST_WORDS = {
    Cause.BUDGET_EXHAUSTED: HostWords("timed_out", "timed_out"),
    Cause.PROTOCOL_VIOLATION: HostWords("crashed", "protocol_violation"),
    Cause.INTERRUPTED: HostWords("reclaimed", "reclaimed"),
    Cause.INFRASTRUCTURE: HostWords("reclaimed", "reclaimed"),
    Cause.HEARTBEAT_STALE: HostWords("stale", "stale"),
    Cause.SUPERSEDED: HostWords("reclaimed", "reclaimed"),
}
