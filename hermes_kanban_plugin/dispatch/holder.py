"""Which process is recorded for a run, seen from the process that calls: the I/O around the ownership rule.

Rule source: dispatch/ownership.py.
"""

from __future__ import annotations

import socket
from contextlib import suppress
from typing import TYPE_CHECKING

from hermes_kanban_plugin import identity
from hermes_kanban_plugin.dispatch import tool_server
from hermes_kanban_plugin.dispatch.ownership import ALLOW, NOBODY, PROCESS, TREE, Holder, Vote, process_vote
from hermes_kanban_plugin.identity import Place, ProcessIdentity, Verdict
from hermes_kanban_plugin.store import statements
from hermes_kanban_plugin.store.connection import columns_of

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable

    from hermes_kanban_plugin.dispatch.ownership import Caller
    from hermes_kanban_plugin.store.leases import Lease

# Its program is not an agent: it calls our command as its child.
COMMAND_LANE = "command"


def vote_on_process(connection: sqlite3.Connection, caller: Caller, mode: Callable[[], str]) -> Vote:
    """Return the vote on whether a worker's process may speak for its run.

    Args:
        connection: a reader or writer of the board.
        caller: a worker whose environment is well-formed.
        mode: asked for the setting ``ownership`` only when it matters.
    """
    lane, holder = recorded(connection, caller.lease)
    if holder.pid is None or (holder.pid == caller.pid and holder.verdict is Verdict.ALIVE):
        return ALLOW
    above = ancestors() if holder.verdict is Verdict.ALIVE else set()
    vote = process_vote(caller, holder, above, TREE if lane == COMMAND_LANE else PROCESS)
    if vote.allowed or lane == COMMAND_LANE:
        return vote
    if tool_server.serves(caller.pid, _agents(caller, holder.pid)) or mode() == TREE:
        return process_vote(caller, holder, above, TREE)
    return vote


def _agents(caller: Caller, recorded: int) -> set[int]:
    """Return the pids that may be the worker's agent: the recorded one, and the one that took its seat."""
    return {recorded, *([int(caller.agent)] if caller.agent.isdecimal() else [])}


def recorded(connection: sqlite3.Connection, lease: Lease) -> tuple[str | None, Holder]:
    """Return the lane of a run and the worker that is recorded for it, as it is seen from here."""
    if columns_of(connection, "kp_runs"):
        row = connection.execute(statements.SELECT_HOLDER, lease._asdict()).fetchone()
        if row is not None:
            return row["lane"], _known(row, lease.lock)
    return None, _foreign(connection, lease)


def _known(row: sqlite3.Row, lock: str) -> Holder:
    if not row["worker_pid"]:
        return NOBODY
    place = Place(row["host_id"], row["boot_id"], row["pid_namespace"])
    process = ProcessIdentity(*place, row["worker_pid"], row["worker_started"])
    verdict = identity.judge(process, identity.here(), identity.sight(process.pid, lock))
    return Holder(process.pid, verdict)


def _foreign(connection: sqlite3.Connection, lease: Lease) -> Holder:
    """Judge the bare pid that the host's dispatcher wrote.

    It writes it after the worker was started, and unconditionally (contract W30): one that is dead, or that belongs to
    somebody else, was left there by an earlier run.
    """
    row = connection.execute(statements.SELECT_CURRENT, lease._asdict()).fetchone()
    pid = row["worker_pid"] if row is not None else None
    if not pid:
        return NOBODY
    if not lease.lock.startswith(f"{socket.gethostname()}:"):
        return Holder(pid, Verdict.UNKNOWN)
    seen = identity.sight(pid, lease.lock)
    if not seen.exists or seen.zombie or seen.carries_lock is False:
        return NOBODY
    return Holder(pid, Verdict.ALIVE)


def ancestors() -> set[int]:
    """Return the pids above this process, and the leader of its session, below which it was started."""
    import os

    import psutil  # late: most calls come from the recorded process itself

    above: set[int] = set()
    with suppress(psutil.Error):
        above |= {parent.pid for parent in psutil.Process().parents()}
    with suppress(OSError, AttributeError):
        above.add(os.getsid(0))
    return above - {0}  # what stands outside this pid namespace; nobody in here has that pid
