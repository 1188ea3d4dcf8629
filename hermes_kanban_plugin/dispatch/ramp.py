"""After a crash of the dispatcher, and on a board that it never served, workers start gently: 1, 2, 4 … per second.

Whatever brought it down (memory, load) would otherwise be repeated at once, and a backlog that nobody remembers would
start as one. No I/O; time is an argument.
"""

from __future__ import annotations

STEP_SECONDS = 1.0
STEPS = 8


class Ramp:
    """How many workers may be started now, seconds on a monotonic clock."""

    def __init__(self, now: float) -> None:
        self._start = now
        self._used = 0

    def slots(self, now: float) -> int | None:
        """Return how many workers may be started now, or None when the ramp is over and only the caps count."""
        step = int((now - self._start) / STEP_SECONDS)
        if step >= STEPS:
            return None
        allowed: int = 2 ** (step + 1) - 1
        return max(0, allowed - self._used)

    def note(self, started: int) -> None:
        """Count workers that were started."""
        self._used += started
