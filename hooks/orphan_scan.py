"""The built-in orphan scan: looks at the runs that hold a task, and takes back what is proven gone."""

from __future__ import annotations

import logging
from functools import partial
from typing import TYPE_CHECKING

from hermes_kanban_plugin import processes
from hermes_kanban_plugin.causes import Cause
from hermes_kanban_plugin.dispatch import examination, reaper
from hermes_kanban_plugin.dispatch.context import Phase
from hermes_kanban_plugin.dispatch.reaper import Action, Deed, Orphan
from hermes_kanban_plugin.errors import CallerMistake
from hermes_kanban_plugin.hookspecs import hookimpl
from hermes_kanban_plugin.identity import Verdict
from hermes_kanban_plugin.logbook import entry
from hermes_kanban_plugin.models import Rescued
from hermes_kanban_plugin.processes import Badge
from hermes_kanban_plugin.store import orphans, outcomes, queries

if TYPE_CHECKING:
    from hermes_kanban_plugin.dispatch.context import TickContext
    from hermes_kanban_plugin.models import HeldRun

log = logging.getLogger(__name__)


@hookimpl(trylast=True)
def kanban_tick(context: TickContext, phase: Phase) -> None:
    """Collect verdicts in VERIFY; act on them in RESCUE."""
    if phase is Phase.VERIFY:
        verify(context)
    elif phase is Phase.RESCUE:
        suspects = _suspects(context)
        _begin_stops(context, suspects)
        rescue(context, suspects)
        bury_lingering(context)
        repair(context)


@hookimpl(trylast=True)
def kanban_orphan_decide(orphan: Orphan, now: int) -> Action:
    """Decide by the built-in rule."""
    return reaper.decide(orphan, now)


# --- verdicts ------------------------------------------------------------------------------------------------------


def verify(context: TickContext) -> None:
    """Look at every run that holds a task, or only at those that no watch vouches for; then watch the living ones."""
    board, watch, writer = context.board, context.runtime.watch, context.board.writer
    if watch is None or context.full:
        runs = queries.held_runs(writer)
    else:
        runs = queries.unwatched_runs(writer, watch.newest(board.path), context.now)
        for run_id in watch.unseen(board.path, {run.run_id or 0 for run in runs}):
            runs += queries.run_that_holds(writer, run_id)
    manager = context.runtime.manager
    context.orphans = [examination.examine(manager, run) for run in runs if _may_touch(context, run)]
    lingering = [run for run in queries.lingering_runs(writer) if _may_touch(context, run)]
    context.lingering = [examination.examine(manager, run) for run in lingering]
    if watch is not None:
        if context.full:
            watch.keep_only(board.path, queries.held_ids(writer))
        watch.observe(
            board.path, context.orphans, lambda orphan: examination.judge(manager, orphan.run, orphan.run.supervisor)
        )


# --- decisions and deeds -------------------------------------------------------------------------------------------


def _suspects(context: TickContext) -> list[tuple[Orphan, Action]]:
    """Return the runs that something has to be done about; what is in doubt only when two sweeps agree."""
    decided = [(orphan, _decide(context, orphan)) for orphan in context.orphans]
    return [
        (orphan, action) for orphan, action in decided if action.deed is not Deed.KEEP and _is_sure(context, orphan)
    ]


def _is_sure(context: TickContext, orphan: Orphan) -> bool:
    patience = orphan.patience(context.settings.plugin.lease_seconds)
    return patience == 0 or orphans.confirm(context.board.writer, orphan.run, context.now, patience)


def _decide(context: TickContext, orphan: Orphan) -> Action:
    try:
        action = context.runtime.manager.ask("kanban_orphan_decide", orphan=orphan, now=context.now)
        if not isinstance(action, Action):
            raise TypeError(f"{action!r} is no Action")
    except Exception as problem:  # noqa: BLE001 - isolation edge: the built-in rule decides instead
        context.runtime.manager.report("kanban_orphan_decide", problem)
        return reaper.decide(orphan, context.now)
    return action


def _begin_stops(context: TickContext, suspects: list[tuple[Orphan, Action]]) -> None:
    """Start to stop, side by side, whatever still lives of the runs that are to be taken back.

    Their leaders may be dead and children live on; they are found by what they carry.
    """
    plugin = context.settings.plugin
    patience = int(plugin.farewell_seconds + plugin.terminate_grace_seconds) + reaper.CLOCK_MARGIN_SECONDS
    overdue = [orphan.run for orphan in context.lingering if reaper.overstays(orphan, context.now, patience)]
    left_alone = [orphan.run for orphan in context.lingering if orphan.supervisor is Verdict.DEAD]
    if context.dry_run or not (suspects or overdue or left_alone):
        return
    living = processes.by_badge()
    certain = overdue + [orphan.run for orphan, action in suspects if action.deed is Deed.STOP]
    leftovers = [run for run in [orphan.run for orphan, _ in suspects] + left_alone if _badge(run) in living]
    for run in certain + leftovers:
        context.runtime.stops.begin(_key(context, run), partial(_terminate, context, run))
    if context.runtime.watch is None:
        context.runtime.stops.wait()


def _terminate(context: TickContext, run: HeldRun) -> bool:
    grace = context.settings.plugin.terminate_grace_seconds
    return bool(context.runtime.manager.ask("kanban_terminate_worker", run=run, grace_seconds=grace))


def rescue(context: TickContext, suspects: list[tuple[Orphan, Action]]) -> None:
    """Take back every task whose run is gone: those without a counted failure in one transaction."""
    quiet: list[orphans.Rescue] = []
    for orphan, action in suspects:
        if not _is_stopped(context, orphan.run):
            continue  # still under way, or it could not be proven gone: the lease stays
        if action.deed is Deed.COUNT and action.outcome == "reclaimed":
            action = action._replace(outcome="crashed")  # what a plugin counts without a word of its own
        if action.outcome != "reclaimed":
            _book(context, orphan.run, action)
        else:
            quiet.append(orphans.Rescue(orphan.run, "reclaimed", action.reason, str(orphan.supervisor), context.actor))
    for saved in orphans.rescue(context.board.writer, quiet, context.now):
        context.rescued.append(_rescued(saved.run, saved.outcome, saved.reason))


def bury_lingering(context: TickContext) -> None:
    """Note which closed runs have nothing left, so that their tasks may start again."""
    lease = context.settings.plugin.lease_seconds
    gone = [
        orphan.run.run_id or 0
        for orphan in context.lingering
        if _is_stopped(context, orphan.run, nothing_begun=reaper.has_gone(orphan, context.now, lease))
    ]
    orphans.mark_ended(context.board.writer, gone, context.now)


def repair(context: TickContext) -> None:
    """Close the pairs of task and run that may not exist."""
    for found in orphans.repair(context.board.writer, context.now, context.may_touch, context.actor):
        note = Rescued(task_id=found.task_id, run_id=found.run_id, outcome="repaired", reason=found.problem)
        context.repaired.append(note)


def _is_stopped(context: TickContext, run: HeldRun, *, nothing_begun: bool = True) -> bool:
    """Say whether nothing of a run lives; ``nothing_begun`` answers for runs that nobody had to stop."""
    key = _key(context, run)
    if not context.runtime.stops.under_way(key):
        return nothing_begun
    return context.runtime.stops.result(key) is True


def _book(context: TickContext, run: HeldRun, action: Action) -> None:
    """Book the end of a worker that we did not supervise, as the host would: as a failure if its cause is one."""
    payload = {"pid": run.task_worker_pid, "claimer": run.lock, **({"actor": context.actor} if context.actor else {})}
    cause, writer, terms = Cause.of_outcome(action.outcome), context.board.writer, context.settings.failure_terms
    try:
        if cause.counts:
            failure = outcomes.Failure(cause, action.reason, payload, terms)
            outcomes.fail(writer, run.lease, failure, context.now)
        else:
            outcomes.release(writer, run.lease, cause, action.reason, payload, context.now, terms)
    except CallerMistake as mistake:
        log.info(entry("book_failed", str(mistake), board=context.board.slug, task=run.task_id, run=run.run_id))
        return
    context.rescued.append(_rescued(run, action.outcome, action.reason))


def _may_touch(context: TickContext, run: HeldRun) -> bool:
    return context.may_touch(run.task_id, run.run_id)


def _badge(run: HeldRun) -> Badge:
    return Badge(run.lock or "", str(run.run_id or ""))


def _key(context: TickContext, run: HeldRun) -> tuple[str, int]:
    return context.board.path, run.run_id or 0


def _rescued(run: HeldRun, outcome: str, reason: str) -> Rescued:
    return Rescued(task_id=run.task_id, run_id=run.run_id, outcome=outcome, reason=reason)
