"""Ending what a worker left behind: the rest of its process group, and children that left it.

Children are known by the claim lock and run id that they carry in their environment (Linux), and are signalled
through a descriptor that cannot come to mean another process. Standard library only: the supervisor uses this module.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from hermes_kanban_plugin.store.leases import Lease
    from hermes_kanban_plugin.supervisor.worker import Worker

POLL_SECONDS = 0.02
# After KILL: longer than any process needs that may be killed at all.
PROOF_SECONDS = 5.0
# A process may be born behind the back of one look; two empty ones in a row are taken for proof.
EMPTY_LOOKS = 2


def end_leftovers(worker: Worker, lease: Lease, grace_seconds: float, meanwhile: Callable[[], None]) -> list[int]:
    """End everything that is left of a worker that ended and was not buried yet: TERM, grace, KILL, proof.

    ``meanwhile`` is called at each look, so that the lease does not end before the end of a long grace.

    Returns:
        what would not end, which belongs to another user or waits in the kernel; as a rule nothing.
    """
    deadline = time.monotonic() + grace_seconds
    asked: set[int] = set()
    empty = 0
    while empty < EMPTY_LOOKS:
        left = group_members(worker.pid) + children_elsewhere(worker.pid, lease)
        empty = 0 if left else empty + 1
        late = time.monotonic() >= deadline
        for pid in left:
            if late or pid not in asked:
                asked.add(pid)
                _signal(pid, signal.SIGKILL if late else signal.SIGTERM, _belongs(worker.pid, lease))
        meanwhile()
        if left and time.monotonic() >= deadline + PROOF_SECONDS:
            return left
        time.sleep(POLL_SECONDS if left else 0)
    return []


def group_members(group: int) -> list[int]:
    """Return the living processes of a process group (zombies are dead)."""
    if sys.platform != "linux":
        return _group_members_ps(group)
    return [pid for pid in _pids() if _group_of(pid) == group]


def children_elsewhere(group: int, lease: Lease) -> list[int]:
    """Return the living processes of a run that are not in its worker's group, without this one."""
    if sys.platform != "linux":
        return []
    return [
        pid for pid in _pids() if pid != os.getpid() and _carries(pid, lease) and _group_of(pid) not in (group, None)
    ]


def _belongs(group: int, lease: Lease) -> Callable[[int], bool]:
    return lambda pid: _group_of(pid) == group or _carries(pid, lease)


def _signal(pid: int, number: int, belongs: Callable[[int], bool]) -> None:
    """Signal a process that was just seen to belong to the run, and wake it if it is stopped."""
    if sys.platform != "linux":
        with suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)
            os.kill(pid, signal.SIGCONT)
        return
    with suppress(OSError):
        descriptor = os.pidfd_open(pid)
        try:
            if belongs(pid):  # only now is it sure that the descriptor means this process
                signal.pidfd_send_signal(descriptor, number)
                signal.pidfd_send_signal(descriptor, signal.SIGCONT)
        finally:
            os.close(descriptor)


def _pids() -> Iterator[int]:
    return (int(name) for name in os.listdir("/proc") if name.isdigit())


def _group_of(pid: int) -> int | None:
    """Return the process group of a living process, or None for one that is gone or a zombie."""
    with suppress(OSError), open(f"/proc/{pid}/stat", "rb") as stream:
        state, _, group = stream.read().rpartition(b")")[2].split()[:3]
        return None if state in (b"Z", b"X") else int(group)
    return None


def _carries(pid: int, lease: Lease) -> bool:
    wanted = {f"HERMES_KANBAN_CLAIM_LOCK={lease.lock}".encode(), f"HERMES_KANBAN_RUN_ID={lease.run_id}".encode()}
    with suppress(OSError), open(f"/proc/{pid}/environ", "rb") as stream:
        return wanted <= set(stream.read().split(b"\0"))
    return False


def _group_members_ps(group: int) -> list[int]:
    from subprocess import run  # late: Linux never needs it

    done = run(["ps", "-axo", "pid=,pgid=,state="], capture_output=True, text=True, check=False)
    rows = [line.split() for line in done.stdout.splitlines()]
    return [int(pid) for pid, found, state in rows if int(found) == group and state[:1] != "Z"]
