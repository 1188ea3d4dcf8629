"""Processes of a run that would not end: they are told to people and waited for, so that nothing starts beside them.

Most belong to another user, whom this one may not signal. Standard library only: the supervisor uses this module.
"""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

from hermes_kanban_plugin import identity
from hermes_kanban_plugin.identity import Verdict
from hermes_kanban_plugin.store import journal
from hermes_kanban_plugin.store.transaction import immediate
from hermes_kanban_plugin.supervisor import sweep

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Sequence

    from hermes_kanban_plugin.store.leases import Lease

EVENT = "stop_failed"
LOOK_SECONDS = 1.0


def tell(connection: sqlite3.Connection, lease: Lease, pids: Sequence[int], now: int) -> None:
    """Write into the task's history, once for a run, which of its processes would not end.

    Raises:
        sqlite3.Error: the board could not be written.
    """
    with immediate(connection):
        if not journal.happened(connection, lease.task_id, EVENT, lease.run_id):
            journal.append(connection, lease.task_id, "stop_failed", {"pids": list(pids)}, now, lease.run_id)


def wait_until_gone(pids: Sequence[int], lease: Lease) -> None:
    """Wait until nothing of a run lives any more; nothing is signalled, because the worker's group may be buried.

    Args:
        pids: what would not end.
        lease: of the run, whose other processes carry it.
    """
    print(f"{lease.task_id}, run {lease.run_id}: these would not end: {[*pids]}; waiting for them", file=sys.stderr)
    known = [identity.capture(pid) for pid in pids]
    while any(_lives(one) for one in known) or sweep.children_elsewhere(0, lease):
        time.sleep(LOOK_SECONDS)


def _lives(process: identity.ProcessIdentity) -> bool:
    return identity.judge(process, identity.here(), identity.sight(process.pid)) is Verdict.ALIVE
