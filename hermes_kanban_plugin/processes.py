"""The processes of a run, found by what they carry in their environment, and their end.

Claim lock and run id are inherited by every child, so they find what left the worker's process group too. Both are
asked for: our locks are unique per claim, but the host gives one lock to all workers of a dispatcher (contract W2).
"""

from __future__ import annotations

import time
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

import psutil

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

PROOF_SECONDS = 5.0
POLL_SECONDS = 0.02
# A process may be born behind the back of one look; two empty ones in a row are taken for proof.
EMPTY_LOOKS = 2


class Badge(NamedTuple):
    """What every process of one run carries: the claim lock and the run id, as text."""

    lock: str
    run_id: str


def by_badge() -> dict[Badge, list[psutil.Process]]:
    """Return the living processes of this system that belong to a run, by what they carry."""
    found: dict[Badge, list[psutil.Process]] = {}
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError, UnicodeDecodeError):
            environment = process.environ()
            badge = Badge(environment.get("HERMES_KANBAN_CLAIM_LOCK", ""), environment.get("HERMES_KANBAN_RUN_ID", ""))
            if all(badge) and process.status() != psutil.STATUS_ZOMBIE:
                found.setdefault(badge, []).append(process)
    return found


def wearers(badge: Badge) -> list[psutil.Process]:
    """Return the living processes of one run; a badge with an empty half belongs to nobody."""
    return by_badge().get(badge, []) if all(badge) else []


def wears(pid: int, badge: Badge) -> bool | None:
    """Say whether a process belongs to a run, or None when its environment cannot be read."""
    try:
        environment = psutil.Process(pid).environ()
    except psutil.NoSuchProcess:
        return False
    except (psutil.Error, OSError, UnicodeDecodeError):
        return None
    carried = Badge(environment.get("HERMES_KANBAN_CLAIM_LOCK", ""), environment.get("HERMES_KANBAN_RUN_ID", ""))
    return carried == badge


def _this_and_above() -> set[int]:
    """Return this process and its ancestors: somebody who was started by a worker must not end itself."""
    here = psutil.Process()
    with suppress(psutil.Error):
        return {here.pid, *(parent.pid for parent in here.parents())}
    return {here.pid}


def stop_all(badge: Badge, grace_seconds: float) -> bool:
    """End every process of a run: TERM, grace, KILL, proof; says whether none is left.

    Processes that appear meanwhile (children of children) are found by looking again.
    """
    deadline = time.monotonic() + grace_seconds
    asked: set[psutil.Process] = set()
    spared = _this_and_above()
    empty = 0
    while empty < EMPTY_LOOKS:
        left = [process for process in wearers(badge) if process.pid not in spared]
        empty = 0 if left else empty + 1
        late = time.monotonic() - deadline
        if left and late >= PROOF_SECONDS:
            return False
        _signal(left if late >= 0 else set(left) - asked, psutil.Process.kill if late >= 0 else _ask)
        asked.update(left)
        time.sleep(POLL_SECONDS if left else 0)
    return True


def _ask(process: psutil.Process) -> None:
    process.terminate()
    process.resume()  # a stopped process must wake up to see the TERM


def _signal(processes: Iterable[psutil.Process], deed: Callable[[psutil.Process], None]) -> None:
    for process in processes:
        with suppress(psutil.Error):
            deed(process)
