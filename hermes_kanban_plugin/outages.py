"""Outages: several tasks that fail the same way are one fault of something else, not each task's own.

Pure, standard library only: the supervisor uses this module too. While an outage lasts its failures are not counted
and its tasks wait; one of them probes now and then. Rule source: failure modes F6, F9.
"""

from __future__ import annotations

import re
from enum import StrEnum
from typing import NamedTuple

from hermes_kanban_plugin.causes import Cause

# Different tasks that fail the same way within this time are one outage.
WINDOW_SECONDS = 300
FIRST_PROBE_SECONDS = 60
LONGEST_PROBE_SECONDS = 1800
# A probe that lives this long, and longer than what failed before it, shows that the outage is over.
PROOF_SECONDS = 120
# After it the waiting tasks come back one by one, so far apart, but all of them within this time.
RETURN_STEP_SECONDS = 10
RETURN_SECONDS = 300
MAX_SIGNATURE = 300
MAX_LINE = 1000  # what comes behind it would not be seen, and a line of digits takes its length squared to read

_VOLATILE = (
    (re.compile(r"\bt_[a-f0-9]{8,}\b"), "<task>"),
    (re.compile(r"\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b"), "#"),
    (re.compile(r"\b0x[0-9a-f]+\b"), "#"),
    (re.compile(r"\b(?=[a-f]*\d)[0-9a-f]{8,}\b"), "#"),
    (re.compile(r"\d+(?:[:.,\-/]\d+)+"), "#"),  # times, dates, addresses, fractions
    (re.compile(r"\b\d+\s?(?:ms|s|sec|secs|seconds?|min|minutes?)\b"), "# s"),
    (re.compile(r"\d{4,}"), "#"),  # exit statuses, signals and HTTP statuses are shorter and stay
)


# A line that says what went wrong, and the lines with which a Hermes worker closes its output whatever happened.
_TROUBLE = re.compile(
    r"error|exception|fail|refused|denied|unauthori[sz]ed|forbidden|unavailable|overloaded|timed? ?out|quota|"
    r"rate.?limit",
    re.IGNORECASE,
)
_CLOSING = re.compile(
    r"\W*(?:resume this session|hermes .*--resume|(?:session|title|duration|messages):)", re.IGNORECASE
)


class Fate(StrEnum):
    """What the run that probes an outage says about it."""

    UNDECIDED = "undecided"
    HEALED = "healed"
    FAILED = "failed"
    LOST = "lost"


class Probe(NamedTuple):
    """The probing run as it is: its cause and whether it failed like the others (once it ended), and its age."""

    ended: bool
    cause: str | None
    same_signature: bool
    age_seconds: int


def signature(cause: Cause, error: str, last_output: str | None) -> str | None:
    """Return what a failure has in common with others of its kind, or None when it can be nobody's fault but its own.

    Ids, times and other numbers that differ from run to run are left out. What a worker printed counts where the exit
    status says nothing about the reason: the last line that tells of trouble, else the last one. A worker that ends
    without a final call has forgotten it, unless it tells of trouble.

    Args:
        cause: why the attempt failed.
        error: the sentence on the run.
        last_output: the last lines of the log, or None.
    """
    if cause not in (Cause.CRASHED, Cause.TIMED_OUT, Cause.SPAWN_FAILED, Cause.PROTOCOL_VIOLATION):
        return None
    parts = [_general(error)]
    if cause in (Cause.CRASHED, Cause.PROTOCOL_VIOLATION):
        lines, trouble = _telling_lines(last_output), last_trouble(last_output)
        if cause is Cause.PROTOCOL_VIOLATION and trouble is None:
            return None
        parts += [_general(line[:MAX_LINE]) for line in ([trouble] if trouble is not None else lines[-1:])]
    return f"{cause.value}: {' | '.join(parts)}"[:MAX_SIGNATURE]


def last_trouble(output: str | None) -> str | None:
    """Return the last line of a worker's output that tells of trouble, or None."""
    return next((line for line in reversed(_telling_lines(output)) if _TROUBLE.search(line)), None)


def _telling_lines(output: str | None) -> list[str]:
    return [line for line in (output or "").splitlines() if re.search(r"\w", line) and not _CLOSING.match(line)]


def _general(text: str) -> str:
    words = " ".join(text.lower().split())
    for pattern, replacement in _VOLATILE:
        words = pattern.sub(replacement, words)
    return words


def probe_wait(failed_probes: int) -> int:
    """Return how many seconds after the beginning or a failed probe the next one is due: 1, 2, 4 … 30 minutes."""
    return int(min(FIRST_PROBE_SECONDS * 2 ** min(failed_probes, 20), LONGEST_PROBE_SECONDS))


def proof_after(longest_life: int) -> int:
    """Return how long a probe must live to show that the outage is over, seconds.

    Args:
        longest_life: how long the longest of the failed runs lived, seconds. A run that hangs for an hour before it
            fails proves nothing by living for two minutes.
    """
    return max(PROOF_SECONDS, 2 * longest_life)


def fate(probe: Probe, longest_life: int) -> Fate:
    """Decide what a probe says: the outage is over, goes on, or the probe was lost and says nothing."""
    if not probe.ended:
        return Fate.HEALED if probe.age_seconds >= proof_after(longest_life) else Fate.UNDECIDED
    if probe.cause in (Cause.COMPLETED, Cause.BLOCKED):
        return Fate.HEALED
    return Fate.FAILED if probe.same_signature else Fate.LOST


def return_wait(place: int, waiting: int) -> int:
    """Return how many seconds after the end of an outage a task may start.

    Args:
        place: the task's place among those that waited, the best one is 0.
        waiting: how many waited.
    """
    return int(place * min(RETURN_STEP_SECONDS, RETURN_SECONDS / max(waiting, 1)))
