"""What the end of a worker means for its task: pure, facts in, decision out.

Standard library only: the supervisor uses this module. Rule source: contract sections 3 and 5, W7, W29.
"""

from __future__ import annotations

import signal
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple

from hermes_kanban_plugin.rules import EXIT_TRY_LATER

if TYPE_CHECKING:
    from hermes_kanban_plugin.supervisor.worker import Ending


class Cause(StrEnum):
    """Why the supervisor ended its worker itself."""

    NONE = "none"
    INTERRUPTED = "interrupted"
    OVERDUE = "overdue"
    STALE = "stale"
    LEASE_LOST = "lease_lost"


class Decision(NamedTuple):
    """What to write: ``kind`` is complete, release or fail; the rest are the words for the board."""

    kind: str
    outcome: str
    event: str
    error: str


# Whoever sends one of these to the worker alone means the same: a shutdown, not a fault of the task (W29).
_INTERRUPTIONS = {signal.SIGTERM: "SIGTERM", signal.SIGHUP: "SIGHUP", signal.SIGINT: "SIGINT"}


def decide(
    ending: Ending, cause: Cause, *, completes: bool, runtime: float, limit: int | None, silence: float = 0.0
) -> Decision:
    """Decide what the end of a worker that said nothing itself means.

    Args:
        ending: exit code or signal.
        cause: whether the supervisor stopped it, and why.
        completes: whether exit status 0 means done (command lanes).
        runtime: how long it ran, seconds.
        limit: the attempt's limit, seconds, or None.
        silence: for how long nothing was heard of it, seconds.
    """
    if cause is Cause.INTERRUPTED:
        return Decision("release", "reclaimed", "reclaimed", "interrupted by SIGTERM")
    if cause is Cause.NONE and ending.exit_signal in _INTERRUPTIONS:
        how = f"interrupted by {_INTERRUPTIONS[signal.Signals(ending.exit_signal)]}"
        return Decision("release", "reclaimed", "reclaimed", how)
    if cause is Cause.LEASE_LOST:
        return Decision("release", "reclaimed", "reclaimed", "stopped: the lease was lost or could not be renewed")
    if cause is Cause.OVERDUE:
        return Decision("fail", "timed_out", "timed_out", f"ran {runtime:.0f} s, longer than its limit of {limit} s")
    if cause is Cause.STALE:
        return Decision("release", "stale", "stale", f"stopped: no sign of life for {silence:.0f} s")
    if ending.exit_code == EXIT_TRY_LATER:
        return Decision("release", "rate_limited", "rate_limited", f"exit status {EXIT_TRY_LATER}: try again later")
    if ending.exit_code == 0:
        if completes:
            return Decision("complete", "completed", "completed", "")
        error = "the worker ended with status 0 without calling kanban_complete or kanban_block"
        return Decision("fail", "crashed", "protocol_violation", error)
    if ending.exit_signal:
        return Decision("fail", "crashed", "crashed", f"the worker was killed by signal {ending.exit_signal}")
    return Decision("fail", "crashed", "crashed", f"the worker ended with exit status {ending.exit_code}")
