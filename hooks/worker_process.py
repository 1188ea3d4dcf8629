"""The built-in way to start a worker (under a supervisor) and to stop one that nobody supervises any more."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from typing import TYPE_CHECKING

import psutil

from hermes_kanban_plugin import identity, lanes, processes, worker_environment, worker_logs
from hermes_kanban_plugin.hookspecs import hookimpl
from hermes_kanban_plugin.identity import Verdict
from hermes_kanban_plugin.processes import Badge
from hermes_kanban_plugin.supervisor import launcher
from hermes_kanban_plugin.supervisor.order import Order

if TYPE_CHECKING:
    from collections.abc import Callable

    from hermes_kanban_plugin.dispatch.context import TickContext
    from hermes_kanban_plugin.identity import ProcessIdentity
    from hermes_kanban_plugin.models import HeldRun, Task, Workspace
    from hermes_kanban_plugin.store.leases import Lease

PROOF_SECONDS = 5.0


@hookimpl(trylast=True)
def kanban_spawn_worker(context: TickContext, task: Task, lease: Lease, workspace: Workspace) -> bool:
    """Start a supervisor for the claim; it accepts the claim and starts the worker of the task's lane."""
    location, settings = context.board.location, context.settings
    launch = lanes.launch_of(task, lease, workspace, settings.plugin)
    log = worker_logs.log_of(location.logs, task.id)
    worker_logs.rotate(log, settings.host.worker_log_rotate_bytes, settings.host.worker_log_backup_count)
    order = Order(
        root=str(location.root.absolute()),
        database=str(location.database.absolute()),
        lease=lease,
        argv=launch.argv,
        environment=worker_environment.build(os.environ, task, lease, workspace, location, launch.home),
        directory=str(workspace.path),
        log=str(log.absolute()),
        workspaces=str(location.workspaces.absolute()),
        completes=launch.completes,
        lease_seconds=settings.plugin.lease_seconds,
        grace_seconds=settings.plugin.terminate_grace_seconds,
        farewell_seconds=settings.plugin.farewell_seconds,
        terms=settings.failure_terms,
        max_runtime=task.max_runtime_seconds,
        heartbeat_limit=settings.plugin.heartbeat_limit_seconds,
        # A command need not beat: what the host says about agents that never did is not for it.
        stale_timeout=0 if launch.completes else settings.host.dispatch_stale_timeout_seconds,
    )
    context.runtime.launched.append(launcher.launch(order))
    return True


@hookimpl(trylast=True)
def kanban_terminate_worker(run: HeldRun, grace_seconds: float) -> bool:
    """Stop what is proven to belong to the run, and prove it gone; a process that cannot be proven is not touched."""
    lock = run.lock or ""
    if not run.supervised:
        return _stop_foreign(run.task_worker_pid, Badge(lock, str(run.run_id or "")), grace_seconds)
    if run.supervisor is not None and _is(run.supervisor, lock):
        # A living supervisor ends its worker's whole group itself, within the grace it was started with.
        supervisor = psutil.Process(run.supervisor.pid)
        _quietly(supervisor.terminate)
        _quietly(supervisor.resume)  # a frozen one must wake up to see the TERM
        _wait_until_gone(run.supervisor, lock, grace_seconds + PROOF_SECONDS)
    elif run.worker is not None and _is(run.worker, lock):
        _stop_tree(run.worker, grace_seconds)
    gone = processes.stop_all(Badge(lock, str(run.run_id or "")), grace_seconds)
    return gone and not _lives(run.supervisor, lock) and not _lives(run.worker, lock)


def _stop_foreign(pid: int | None, badge: Badge, grace_seconds: float) -> bool:
    """Stop a worker of the host's own dispatcher, known by a bare pid, if it carries the lock and id of this run."""
    seen = identity.sight(pid or 0)
    if pid and seen.exists and not seen.zombie:
        if not processes.wears(pid, badge):
            return False
        _stop_tree(identity.capture(pid), grace_seconds)
    gone = processes.stop_all(badge, grace_seconds)
    after = identity.sight(pid or 0)
    return gone and (after.exists is False or after.zombie)


def _stop_tree(leader: ProcessIdentity, grace_seconds: float) -> None:
    """End a worker without a supervisor, with its children: TERM, grace, KILL, proof."""
    try:
        root = psutil.Process(leader.pid)
        tree = [root, *root.children(recursive=True)]
    except psutil.NoSuchProcess:
        return
    for process in tree:
        _quietly(process.terminate)
        _quietly(process.resume)
    _, stubborn = psutil.wait_procs(tree, timeout=grace_seconds)
    for process in stubborn:
        _quietly(process.kill)
    psutil.wait_procs(stubborn, timeout=PROOF_SECONDS)


def _quietly(deed: Callable[[], None]) -> None:
    with suppress(psutil.Error):
        deed()


def _is(process: ProcessIdentity, lock: str) -> bool:
    return identity.judge(process, identity.here(), identity.sight(process.pid, lock)) is Verdict.ALIVE


def _lives(process: ProcessIdentity | None, lock: str) -> bool:
    """Say whether a process may still live; unknown counts as living."""
    if process is None:
        return False
    return identity.judge(process, identity.here(), identity.sight(process.pid, lock)) is not Verdict.DEAD


def _wait_until_gone(process: ProcessIdentity, lock: str, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while _lives(process, lock) and time.monotonic() < deadline:
        time.sleep(0.02)
