"""Waking up the moment something happens: the worker ended, or somebody told the supervisor to stop.

Standard library only: the supervisor uses this module (POSIX).
"""

from __future__ import annotations

import os
import select
import signal


class Alarm:
    """Turns SIGCHLD and SIGTERM into the end of a wait; made once, in the main thread."""

    def __init__(self) -> None:
        self.told_to_stop = False
        self._ear, self._mouth = os.pipe()
        for descriptor in (self._ear, self._mouth):
            os.set_blocking(descriptor, False)
        signal.set_wakeup_fd(self._mouth, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, self._ring)
        signal.signal(signal.SIGTERM, self._ring)

    def wait(self, seconds: float) -> None:
        """Sleep until a signal arrives, or for a number of seconds."""
        if select.select([self._ear], [], [], seconds)[0]:
            os.read(self._ear, 4096)

    def _ring(self, number: int, frame: object) -> None:
        if number == signal.SIGTERM:
            self.told_to_stop = True
