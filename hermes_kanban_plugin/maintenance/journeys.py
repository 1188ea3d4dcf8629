"""The way of a card over the board, read back from its history: which column from when to when, and each round.

Pure: rows in, stays and rounds out. Rule source: contract section 3 (which event puts a task where).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable

FINISHED = ("done", "archived")
# Where an event puts a task, whatever it was in before; a status in its payload wins.
_PUTS = {
    "created": "ready",
    "claim_rejected": "todo",
    "claimed": "running",
    "completed": "done",
    "blocked": "blocked",
    "gave_up": "blocked",
    "block_loop_detected": "triage",
    "dependency_wait": "todo",
    "unblocked": "ready",
    "promoted": "ready",
    "promoted_manual": "ready",
    "scheduled": "scheduled",
    "specified": "todo",
    "decomposed": "todo",
    "archived": "archived",
    "status": "todo",
}
# What ends a run gives the task back to the column it was taken from, if it runs.
_GIVES_BACK = frozenset(
    {"reclaimed", "stale", "crashed", "protocol_violation", "rate_limited", "timed_out", "spawn_failed"}
)
# Kinds that a journey is made of; all others leave a task where it is.
KINDS = (*_PUTS, *sorted(_GIVES_BACK), "linked")


class Step(NamedTuple):
    """One row of a task's history: kind, decoded payload, epoch second."""

    kind: str
    payload: Any
    at: int


class Stay(NamedTuple):
    """A time in one column; ``until`` is None while it lasts."""

    column: str
    since: int
    until: int | None

    def seconds_within(self, begin: int, end: int) -> int:
        """Return how many seconds of it lie between two moments."""
        until = end if self.until is None else self.until
        return max(0, min(until, end) - max(self.since, begin))


class Round(NamedTuple):
    """One way from open to done: when it was opened, first started on (None: never) and done, epoch seconds."""

    opened: int
    started: int | None
    done: int


class Journey(NamedTuple):
    """Where a card was, in order, and how often it got to the end."""

    stays: list[Stay]
    rounds: list[Round]

    @property
    def current(self) -> Stay:
        """Where it is now."""
        return self.stays[-1]


class _Walker:
    """Goes through a history once."""

    def __init__(self, created_at: int) -> None:
        self.column = ""
        self.since = self.opened = created_at
        self.started: int | None = None
        self.source = "ready"
        self.doubt: int | None = None
        self.stays: list[Stay] = []
        self.rounds: list[Round] = []

    def take(self, step: Step) -> None:
        """Go one step."""
        if step.kind == "linked":
            # A waiting child may have gone back to todo; what comes next tells.
            self.doubt = step.at if self.column == "ready" else None
            return
        if step.kind in ("promoted", "claim_rejected") and self.doubt is not None:
            self.go("todo", self.doubt)
        self.doubt = None
        if step.kind in _GIVES_BACK:
            if self.column == "running":
                self.go(self.source, step.at)
            return
        column = _PUTS[step.kind]
        if isinstance(step.payload, dict) and step.kind in ("created", "status", "unblocked"):
            column = str(step.payload.get("status") or column)
        if step.kind == "claimed":
            named = step.payload.get("source_status") if isinstance(step.payload, dict) else None
            self.source = str(named or "ready")
            self.started = step.at if self.started is None else self.started
        self.go(column, step.at)

    def go(self, column: str, at: int) -> None:
        """Move to a column."""
        if column == self.column:
            return
        if self.column:
            self.stays.append(Stay(self.column, self.since, max(self.since, at)))
        if self.column in FINISHED and column not in FINISHED:
            self.opened, self.started = at, None
        if column == "done":
            self.rounds.append(Round(self.opened, self.started, at))
        self.column, self.since = column, max(self.since, at)


def read(steps: Iterable[Step], created_at: int, status: str) -> Journey:
    """Return the journey of a task.

    Args:
        steps: its history, oldest first; kinds that are not in ``KINDS`` are passed over.
        created_at: when it was created, epoch seconds.
        status: where it is now by its row, which wins over its history.
    """
    walker = _Walker(created_at)
    last = created_at
    for step in steps:
        if step.kind in KINDS:
            walker.take(step)
            last = step.at
    if walker.column != status:
        walker.go(status, walker.doubt or last)
    return Journey([*walker.stays, Stay(walker.column, walker.since, None)], walker.rounds)
