"""Being the child of a gateway (``dispatcher --until-eof``): ending with it, and never waiting for it."""

from __future__ import annotations

import os
import stat
import threading
from contextlib import suppress
from typing import TYPE_CHECKING

from hermes_kanban_plugin.gateway.dispatcher_process import FOLDER

if TYPE_CHECKING:
    from collections.abc import Callable

_INPUT, _OUTPUTS = 0, (1, 2)


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


def leave_path() -> None:
    """Take the folder of this package from the head of ``PYTHONPATH``: we found it, and workers must not see it."""
    first, _, rest = os.environ.get("PYTHONPATH", "").partition(os.pathsep)
    if first == FOLDER:
        os.environ["PYTHONPATH"] = rest
