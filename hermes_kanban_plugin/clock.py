"""What time it is, as an object, so that tests can move it.

Standard library only: the supervisor uses this module too.
"""

from __future__ import annotations

import time


class Clock:
    """The machine's clock: ``now()`` for what is stored, ``monotonic()`` for how long something took."""

    def now(self) -> int:
        """Return the wall clock in whole epoch seconds, the unit of every time in the board."""
        return int(time.time())

    def monotonic(self) -> float:
        """Return seconds that never jump, for measuring and waiting."""
        return time.monotonic()
