"""Named places at which a test may kill or freeze a process; they do nothing unless a test asked for it.

``HERMES_KANBAN_TEST_POINT=NAME=kill@FLAG`` (or ``stop``) makes the first process that reaches the place kill (or
stop) itself, once: the file FLAG says that it happened. Standard library only: the supervisor uses this module too.
"""

from __future__ import annotations

import os
import signal

VARIABLE = "HERMES_KANBAN_TEST_POINT"
_ARMED = os.environ.get(VARIABLE)


def reach(name: str) -> None:
    """Say that a place was reached."""
    if _ARMED is None:
        return
    wanted, _, how = _ARMED.partition("=")
    action, _, flag = how.partition("@")
    if wanted == name and _first(flag):
        os.kill(os.getpid(), signal.SIGKILL if action == "kill" else signal.SIGSTOP)


def _first(flag: str) -> bool:
    """Say whether nobody was here before, across all processes."""
    try:
        os.close(os.open(flag, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
    except FileExistsError:
        return False
    return True
