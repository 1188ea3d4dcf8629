"""Being the child of a gateway (``dispatcher --until-eof``): ending with it, showing it that we work, never waiting."""

from __future__ import annotations

import os
import stat
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from hermes_kanban_plugin.gateway.dispatcher_process import FOLDER

if TYPE_CHECKING:
    from collections.abc import Callable

_INPUT, _OUTPUTS = 0, (1, 2)
PULSE_SECONDS = 5.0


def watch_input(when_over: Callable[[], None]) -> None:
    """Do something once, in a thread of its own, when standard input ends: its other end is closed by any death."""

    def watch() -> None:
        with suppress(OSError):
            while os.read(_INPUT, 4096):
                pass
        when_over()

    threading.Thread(target=watch, name="parent", daemon=True).start()


def never_wait_for_reader() -> None:
    """Have what we print dropped instead of waited for when a gateway that is frozen does not empty its pipes."""
    for descriptor in _OUTPUTS:
        with suppress(OSError):
            # A terminal or a file is shared with others, who would get the same treatment.
            if stat.S_ISFIFO(os.fstat(descriptor).st_mode):
                os.set_blocking(descriptor, False)


class Pulse:
    """A sign of life for the gateway that started us: an empty line now and then, whatever else there is to say."""

    def __init__(self) -> None:
        self._next = 0.0

    def beat(self) -> None:
        """Say that we are at work, if that was not said lately; never waits and never fails."""
        now = time.monotonic()
        if now < self._next:
            return
        self._next = now + PULSE_SECONDS
        with suppress(OSError, ValueError):  # a reader that is frozen or gone
            os.write(_OUTPUTS[0], b"\n")


def leave_path() -> None:
    """Take the folder of this package from the head of ``PYTHONPATH``: we found it, and workers must not see it."""
    first, _, rest = os.environ.get("PYTHONPATH", "").partition(os.pathsep)
    if first == FOLDER:
        os.environ["PYTHONPATH"] = rest
