"""When a worker that lives is taken for wedged: pure, what its supervisor saw in, a verdict out.

Only the supervisor's own steady clock counts: what it saw change, and how long ago. So neither a clock that jumps nor a
machine that slept makes a worker stale. Standard library only: the supervisor uses this module. Rule source: contract
section 3 (stale detection), W17.
"""

from __future__ import annotations

from typing import NamedTuple

# The host's own limit for a run that is older than its dispatch_stale_timeout_seconds (contract section 3).
HOST_SILENCE_SECONDS = 3600


class Pulse(NamedTuple):
    """The last heartbeat that was seen in this run (epoch seconds, None before the first), and when (monotonic)."""

    beat_at: int | None
    seen_at: float

    def look(self, beat_at: int | None, now: float) -> Pulse:
        """Return the pulse after another look at the board, at a monotonic time."""
        return self if beat_at == self.beat_at else Pulse(beat_at, now)

    def silence(self, now: float) -> float:
        """Return for how many seconds nothing was heard, at a monotonic time."""
        return now - self.seen_at


class Limits(NamedTuple):
    """Both in seconds, 0 for none: our ``heartbeat_limit_seconds``, the host's ``dispatch_stale_timeout_seconds``."""

    heartbeat: int
    host_timeout: int


def is_stale(pulse: Pulse, limits: Limits, started: float, now: float) -> bool:
    """Say whether a living worker has been silent for too long.

    By our limit only one that has beaten in this run can be. By the host's rule also one that never did, once the run
    is old enough.

    Args:
        pulse: what was heard of it.
        limits: how long it may be silent.
        started: when it was started, monotonic seconds.
        now: monotonic seconds.
    """
    silence = pulse.silence(now)
    if pulse.beat_at is not None and limits.heartbeat and silence >= limits.heartbeat:
        return True
    old = limits.host_timeout > 0 and now - started >= limits.host_timeout
    return old and (pulse.beat_at is None or silence >= HOST_SILENCE_SECONDS)
