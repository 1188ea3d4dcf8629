"""Starting supervisors: one process per run, in a session of its own, that nobody has to wait for."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from hermes_kanban_plugin import testpoints
from hermes_kanban_plugin.errors import LaunchFailed

if TYPE_CHECKING:
    from hermes_kanban_plugin.supervisor.order import Order

ENTRY = Path(__file__).with_name("__main__.py")
# What a supervisor needs of its own environment; the worker's whole environment travels in the order.
_KEPT = ("PATH", "LANG", "LC_ALL", "TZ", "TMPDIR", "SYSTEMROOT", "HERMES_KANBAN_BUSY_TIMEOUT_MS", testpoints.VARIABLE)
log = logging.getLogger(__name__)


class Launched:
    """A supervisor that was started; ``failed`` tells when it ended without having accepted its claim."""

    def __init__(self, order: Order, process: subprocess.Popen[bytes]) -> None:
        self.lease = order.lease
        self.database = order.database
        self._process = process

    @property
    def pid(self) -> int:
        """The supervisor's process id."""
        return self._process.pid

    def poll(self) -> int | None:
        """Return the supervisor's exit status and bury it, or None while it lives."""
        return self._process.poll()


def launch(order: Order) -> Launched:
    """Start the supervisor of one claim and hand it its order; does not wait for it to accept.

    Raises:
        LaunchFailed: the process could not be started.
    """
    environment = {name: os.environ[name] for name in _KEPT if name in os.environ}
    # The second proof of its identity, and what its processes are found by (identity.py, processes.py).
    environment["HERMES_KANBAN_CLAIM_LOCK"] = order.lease.lock
    environment["HERMES_KANBAN_RUN_ID"] = str(order.lease.run_id)
    try:
        Path(order.log).parent.mkdir(parents=True, exist_ok=True)
        with open(order.log, "ab") as stream:
            process = subprocess.Popen(
                [sys.executable, "-I", "-S", str(ENTRY)],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=stream,
                env=environment,
                cwd="/" if os.name == "posix" else None,
                start_new_session=True,
            )
        assert process.stdin is not None
        # One that is gone before it read its order is found, with its exit status, by whoever buries it.
        with suppress(BrokenPipeError), process.stdin as pipe:
            pipe.write(order.to_json().encode())
    except OSError as problem:
        raise LaunchFailed(f"the supervisor of {order.lease.task_id} could not be started: {problem}") from problem
    log.debug("supervisor %s started for run %s", process.pid, order.lease.run_id)
    return Launched(order, process)
