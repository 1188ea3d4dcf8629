"""The built-in orphan scan: looks at every run that holds a task, and takes back what is proven gone."""

from __future__ import annotations

import logging
import socket
from typing import TYPE_CHECKING

from hermes_kanban_plugin import identity
from hermes_kanban_plugin.dispatch import reaper
from hermes_kanban_plugin.dispatch.context import Phase
from hermes_kanban_plugin.dispatch.reaper import Action, Deed, Orphan
from hermes_kanban_plugin.errors import CallerMistake
from hermes_kanban_plugin.hookspecs import hookimpl
from hermes_kanban_plugin.identity import ProcessIdentity, Verdict
from hermes_kanban_plugin.models import Rescued
from hermes_kanban_plugin.store import orphans, outcomes, queries

if TYPE_CHECKING:
    from hermes_kanban_plugin.dispatch.context import TickContext
    from hermes_kanban_plugin.models import HeldRun

log = logging.getLogger(__name__)


@hookimpl(trylast=True)
def kanban_tick(context: TickContext, phase: Phase) -> None:
    """Collect verdicts in VERIFY; act on them in RESCUE."""
    if phase is Phase.VERIFY:
        context.orphans = [_examine(context, run) for run in queries.held_runs(context.board.writer)]
        context.lingering = [_examine(context, run) for run in queries.lingering_runs(context.board.writer)]
    elif phase is Phase.RESCUE:
        rescue(context)
        bury_lingering(context)
        repair(context)


@hookimpl(trylast=True)
def kanban_orphan_decide(orphan: Orphan, now: int) -> Action:
    """Decide by the built-in rule."""
    return reaper.decide(orphan, now)


def rescue(context: TickContext) -> None:
    """Take back every task whose run is gone: those without a counted failure in one transaction."""
    quiet: list[orphans.Rescue] = []
    for orphan in context.orphans:
        action = _decide(context, orphan)
        if action.deed is Deed.KEEP or (action.deed is Deed.STOP and not _stop(context, orphan.run)):
            continue
        if action.deed is Deed.COUNT:
            _count(context, orphan.run, action.reason)
        else:
            quiet.append(orphans.Rescue(orphan.run, "reclaimed", action.reason, str(orphan.supervisor)))
    for saved in orphans.rescue(context.board.writer, quiet, context.now):
        context.rescued.append(_rescued(saved.run, saved.outcome, saved.reason))


def bury_lingering(context: TickContext) -> None:
    """Stop workers whose run is closed and whose supervisor died; note which closed runs have nothing left."""
    gone = []
    for orphan in context.lingering:
        abandoned = orphan.supervisor is Verdict.DEAD and orphan.worker is Verdict.ALIVE
        stopped = abandoned and _stop(context, orphan.run)
        if stopped or reaper.has_gone(orphan, context.now, context.settings.plugin.lease_seconds):
            gone.append(orphan.run.run_id or 0)
    orphans.mark_ended(context.board.writer, gone, context.now)


def repair(context: TickContext) -> None:
    """Close the pairs of task and run that may not exist."""
    for found in orphans.repair(context.board.writer, context.now):
        note = Rescued(task_id=found.task_id, run_id=found.run_id, outcome="repaired", reason=found.problem)
        context.repaired.append(note)


def _decide(context: TickContext, orphan: Orphan) -> Action:
    try:
        action: Action = context.runtime.manager.ask("kanban_orphan_decide", orphan=orphan, now=context.now)
    except Exception as problem:  # noqa: BLE001 - isolation edge: the built-in rule decides instead
        context.runtime.manager.report("kanban_orphan_decide", problem)
        return reaper.decide(orphan, context.now)
    return action


def _examine(context: TickContext, run: HeldRun) -> Orphan:
    if not run.supervised:
        return Orphan(run, Verdict.UNKNOWN, _judge_bare_pid(run))
    return Orphan(run, _judge(context, run, run.supervisor), _judge(context, run, run.worker))


def _judge(context: TickContext, run: HeldRun, process: ProcessIdentity | None) -> Verdict:
    if process is None:
        return Verdict.UNKNOWN
    try:
        ask = context.runtime.manager.ask
        verdict: Verdict = ask("kanban_worker_alive", run=run, process=process, lock=run.lock or "")
    except Exception as problem:  # noqa: BLE001 - isolation edge: what cannot be judged is unknown
        context.runtime.manager.report("kanban_worker_alive", problem)
        return Verdict.UNKNOWN
    return verdict


def _judge_bare_pid(run: HeldRun) -> Verdict:
    """Judge a worker of the host's own dispatcher as well as the facts allow: local by host name, and a bare pid."""
    pid, lock = run.task_worker_pid, run.lock or ""
    if not pid or not lock.startswith(f"{socket.gethostname()}:"):
        return Verdict.UNKNOWN
    seen = identity.sight(pid, lock)
    if seen.exists is False or seen.zombie:
        return Verdict.DEAD
    return Verdict.ALIVE if seen.exists and seen.carries_lock is not False else Verdict.UNKNOWN


def _stop(context: TickContext, run: HeldRun) -> bool:
    if context.dry_run:
        return True
    try:
        grace = context.settings.plugin.terminate_grace_seconds
        stopped = context.runtime.manager.ask("kanban_terminate_worker", run=run, grace_seconds=grace)
    except Exception as problem:  # noqa: BLE001 - isolation edge: not stopped keeps the lease
        context.runtime.manager.report("kanban_terminate_worker", problem)
        return False
    return bool(stopped)


def _count(context: TickContext, run: HeldRun, reason: str) -> None:
    """Book a crash of a worker that we did not supervise, as the host would."""
    payload = {"pid": run.task_worker_pid, "claimer": run.lock}
    failure = outcomes.Failure("crashed", reason, "crashed", payload, context.settings.host.failure_limit)
    try:
        outcomes.fail(context.board.writer, run.lease, failure, context.now)
    except CallerMistake as mistake:
        log.info("a crash was not booked: %s", mistake)
        return
    context.rescued.append(_rescued(run, "crashed", reason))


def _rescued(run: HeldRun, outcome: str, reason: str) -> Rescued:
    return Rescued(task_id=run.task_id, run_id=run.run_id, outcome=outcome, reason=reason)
