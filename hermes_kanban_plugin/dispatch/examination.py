"""Looking at the processes of a run: recorded facts in, verdicts out, asked of the plugins."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

from hermes_kanban_plugin import identity, processes
from hermes_kanban_plugin.dispatch.reaper import Orphan
from hermes_kanban_plugin.identity import Verdict
from hermes_kanban_plugin.processes import Badge

if TYPE_CHECKING:
    from hermes_kanban_plugin.identity import ProcessIdentity
    from hermes_kanban_plugin.manager import Manager
    from hermes_kanban_plugin.models import HeldRun


def examine(manager: Manager, run: HeldRun) -> Orphan:
    """Return a run with the verdicts on its supervisor and its worker."""
    if not run.supervised:
        return Orphan(run, Verdict.UNKNOWN, _judge_bare_pid(run))
    return Orphan(run, judge(manager, run, run.supervisor), judge(manager, run, run.worker))


def judge(manager: Manager, run: HeldRun, process: ProcessIdentity | None) -> Verdict:
    """Return the plugins' verdict on one process of a run; what cannot be judged is unknown."""
    if process is None:
        return Verdict.UNKNOWN
    try:
        return Verdict(manager.ask("kanban_worker_alive", run=run, process=process, lock=run.lock or ""))
    except Exception as problem:  # noqa: BLE001 - isolation edge: what cannot be judged is unknown
        manager.report("kanban_worker_alive", problem)
        return Verdict.UNKNOWN


def _judge_bare_pid(run: HeldRun) -> Verdict:
    """Judge a worker of the host's own dispatcher as well as the facts allow: local by host name, and a bare pid."""
    pid, lock = run.task_worker_pid, run.lock or ""
    if not pid or not lock.startswith(f"{socket.gethostname()}:"):
        return Verdict.UNKNOWN
    seen = identity.sight(pid)
    if seen.exists is False or seen.zombie:
        return Verdict.DEAD
    # The host gives one lock to all its workers, so only lock and run id together say that it is this one (W2, W3).
    badge = Badge(lock, str(run.run_id or ""))
    return Verdict.ALIVE if processes.wears(pid, badge) is not False else Verdict.UNKNOWN
