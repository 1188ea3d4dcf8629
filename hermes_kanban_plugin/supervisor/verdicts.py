"""What the end of a worker means for its task: pure, facts in, decision out.

Standard library only: the supervisor uses this module. Rule source: contract sections 3 and 5, W7, W29.
"""

from __future__ import annotations

import signal
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple

from hermes_kanban_plugin.causes import Cause
from hermes_kanban_plugin.rules import EXIT_TRY_LATER

if TYPE_CHECKING:
    from hermes_kanban_plugin.quota import Refusal
    from hermes_kanban_plugin.supervisor.worker import Ending


class Stop(StrEnum):
    """Why the supervisor ended its worker itself."""

    NONE = "none"
    INTERRUPTED = "interrupted"
    OVERDUE = "overdue"
    STALE = "stale"
    LEASE_LOST = "lease_lost"


class Decision(NamedTuple):
    """What to write: why the attempt ended, the sentence for people, and until when a provider refuses (epoch)."""

    cause: Cause
    error: str = ""
    retry_at: int | None = None


# Whoever sends one of these to the worker alone means the same: a shutdown, not a fault of the task (W29).
_INTERRUPTIONS = {signal.SIGTERM: "SIGTERM", signal.SIGHUP: "SIGHUP", signal.SIGINT: "SIGINT"}


def decide(
    ending: Ending,
    stop: Stop,
    *,
    completes: bool,
    runtime: float,
    limit: int | None,
    silence: float = 0.0,
    refusal: Refusal | None = None,
) -> Decision:
    """Decide what the end of a worker that said nothing itself means.

    Args:
        ending: exit code or signal.
        stop: whether the supervisor stopped it, and why.
        completes: whether exit status 0 means done (command lanes).
        runtime: how long it ran, seconds.
        limit: the attempt's limit, seconds, or None.
        silence: for how long nothing was heard of it, seconds.
        refusal: the provider's, if its last words tell of one.
    """
    if stop is Stop.INTERRUPTED:
        return Decision(Cause.INTERRUPTED, "interrupted by SIGTERM")
    if stop is Stop.NONE and ending.exit_signal in _INTERRUPTIONS:
        how = f"interrupted by {_INTERRUPTIONS[signal.Signals(ending.exit_signal)]}"
        return Decision(Cause.INTERRUPTED, how)
    if stop is Stop.LEASE_LOST:
        return Decision(Cause.INFRASTRUCTURE, "stopped: the lease was lost or could not be renewed")
    if stop is Stop.OVERDUE:
        return Decision(Cause.TIMED_OUT, f"ran {runtime:.0f} s, longer than its limit of {limit} s")
    if stop is Stop.STALE:
        return Decision(Cause.HEARTBEAT_STALE, f"stopped: no sign of life for {silence:.0f} s")
    if ending.exit_code == EXIT_TRY_LATER:
        return Decision(Cause.RATE_LIMITED, f"exit status {EXIT_TRY_LATER}: try again later")
    if ending.exit_code == 0:
        return Decision(Cause.COMPLETED) if completes else _decide_silence(refusal)
    if ending.exit_signal:
        return Decision(Cause.CRASHED, f"the worker was killed by signal {ending.exit_signal}")
    return Decision(Cause.CRASHED, f"the worker ended with exit status {ending.exit_code}")


def _decide_silence(refusal: Refusal | None) -> Decision:
    """Decide what status 0 means of an agent that called neither tool: Hermes ends so whatever its provider did."""
    if refusal is not None:
        return Decision(Cause.RATE_LIMITED, f"its provider refused: {refusal.error}", refusal.retry_at)
    error = "the worker ended with status 0 without calling kanban_complete or kanban_block"
    return Decision(Cause.PROTOCOL_VIOLATION, error)
