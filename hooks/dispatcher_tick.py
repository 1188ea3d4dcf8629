"""The built-in tick: runs each phase by telling every plugin, promotes, claims, starts, tells the news."""

from __future__ import annotations

import errno
import logging
from contextlib import suppress
from typing import TYPE_CHECKING

from hermes_kanban_plugin import testpoints, workspaces
from hermes_kanban_plugin.causes import Cause
from hermes_kanban_plugin.dispatch import preflight
from hermes_kanban_plugin.dispatch.context import Phase
from hermes_kanban_plugin.errors import CallerMistake, LaunchFailed
from hermes_kanban_plugin.hookspecs import hookimpl
from hermes_kanban_plugin.logbook import entry
from hermes_kanban_plugin.models import Skipped, Started
from hermes_kanban_plugin.rules import EXIT_TRY_LATER
from hermes_kanban_plugin.store import failures, journal, outcomes, queries, statements, timers
from hermes_kanban_plugin.store.leases import ClaimTerms, Lease
from hermes_kanban_plugin.store.transaction import immediate

if TYPE_CHECKING:
    import sqlite3

    from hermes_kanban_plugin.dispatch.admission import Admitted
    from hermes_kanban_plugin.dispatch.context import TickContext
    from hermes_kanban_plugin.models import Task

log = logging.getLogger(__name__)
TOLD = "kanban_task_event"
NEWS_BATCH = 500
CHANGED = "the plugin was upgraded or removed before the worker was started"


@hookimpl(trylast=True)
def kanban_run_phase(context: TickContext, phase: Phase) -> bool:
    """Run a phase by telling every plugin about it."""
    context.runtime.manager.tell("kanban_tick", context=context, phase=phase)
    return True


@hookimpl(trylast=True)
def kanban_tick(context: TickContext, phase: Phase) -> None:
    """Do what belongs to no other built-in plugin: bury, promote, dispatch, report."""
    if phase is Phase.REAP and not context.dry_run:
        publish_terms(context)
        bury_supervisors(context)
    elif phase is Phase.PROMOTE:
        context.promoted += timers.wake(context.board.writer, context.now)
        context.promoted += context.board.promote()
    elif phase is Phase.DISPATCH and context.may_start and not context.runtime.stopping.is_set():
        dispatch(context)
    elif phase is Phase.REPORT and not context.dry_run:
        context.board.tidy()
        tell_news(context)


def publish_terms(context: TickContext) -> None:
    """Tell the supervisors of this board what failures cost, when the settings or the board say something else."""
    known, terms, board = context.runtime.published_terms, context.settings.failure_terms, context.board
    if context.may_start and (context.full or known.get(board.path) != terms):
        failures.publish_terms(board.writer, terms, context.now)
        known[board.path] = terms


def bury_supervisors(context: TickContext) -> None:
    """Collect this board's supervisors that ended, and settle at once the launches that never got to work."""
    database, living = str(context.board.location.database.absolute()), []
    for launched in context.runtime.launched:
        status = launched.poll() if launched.database == database else None
        if status is None:
            living.append(launched)
        elif status != 0:
            _settle_launch(context, launched.lease, status)
    context.runtime.launched[:] = living


def _settle_launch(context: TickContext, lease: Lease, status: int) -> None:
    """Book the end of a supervisor that had not accepted its claim; one that had is the orphan scan's business.

    One that was killed is no fault of the task (DESIGN.md section 1, promise 6); one that gave up is a failed launch.
    """
    accepted = "SELECT 1 FROM kp_runs WHERE run_id = :run_id AND accepted_at IS NOT NULL"
    with immediate(context.board.writer) as writer:
        if writer.execute(accepted, {"run_id": lease.run_id}).fetchone():
            return
        if not context.runtime.has_own_program():
            _release_launch(context, lease, CHANGED, waits=False)
            return
        if status > 0 and status != EXIT_TRY_LATER:
            _fail_launch(context, lease, f"the supervisor ended with status {status}; see the task's log")
            return
        how = "could not use the board or get a process" if status > 0 else f"was killed by signal {-status}"
        _release_launch(context, lease, f"the supervisor {how} before it accepted the claim")


def _is_scarcity(problem: BaseException) -> bool:
    """Say whether a launch failed because the machine is out of descriptors, processes or memory."""
    cause = problem if isinstance(problem, OSError) else problem.__cause__
    return isinstance(cause, OSError) and cause.errno in (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN)


def _release_launch(context: TickContext, lease: Lease, reason: str, *, waits: bool = True) -> None:
    """Give a task back whose launch came to nothing through no fault of its own.

    If that happens again and again the next launch waits, unless nothing was wrong (``waits``).
    """
    with immediate(context.board.writer) as writer:
        ids = lease.task_id, lease.run_id
        retry_at = failures.launch_again_at(writer, *ids, context.now) if waits else None
        said = {"retry_at": retry_at} if retry_at else {}
        with suppress(CallerMistake):
            outcomes.release(writer, lease, Cause.INFRASTRUCTURE, reason, said, context.now)
            if retry_at:
                failures.put_off(writer, *ids, retry_at)
        writer.execute(statements.MARK_ENDED, {"run_id": lease.run_id, "now": context.now})


def dispatch(context: TickContext) -> None:
    """Claim the best tasks that the caps allow, in one transaction per lane, and start their workers."""
    candidates = _without_held(context, _candidates(context))
    running = dict(context.elsewhere)
    for assignee, count in queries.running_by_assignee(context.board.writer).items():
        running[assignee] = running.get(assignee, 0) + count
    chosen = preflight.choose(context, candidates, running)
    _assign_defaults(context, chosen)
    leases = _claim(context, chosen)
    testpoints.reach("dispatcher.after_claim")
    for admitted in chosen:
        lease = leases.get(admitted.task.id)
        if lease is not None and context.runtime.stopping.is_set():
            _release_launch(context, lease, "the dispatcher was stopped before it started the worker", waits=False)
        elif lease is not None and not context.runtime.has_own_program():
            _release_launch(context, lease, CHANGED, waits=False)
        elif lease is not None:
            _start(context, admitted, lease)
            testpoints.reach("dispatcher.after_launch")


def _candidates(context: TickContext) -> list[Task]:
    plugin = context.settings.plugin
    bounds = plugin.rate_limit_cooldown_seconds, plugin.max_starts_per_hour
    return queries.candidates(context.board.writer, context.now, *bounds)


def _without_held(context: TickContext, tasks: list[Task]) -> list[Task]:
    free = []
    for task in tasks:
        held = context.runtime.manager.tell("kanban_before_dispatch", task=task, board=context.board)
        if held:
            context.skipped.append(Skipped(task_id=task.id, reason=f"held by {held[0][0]}: {held[0][1]}"))
        else:
            free.append(task)
    return free


def _assign_defaults(context: TickContext, chosen: list[Admitted]) -> None:
    """Write the default assignee on the tasks that have none, so that the board says who works on them."""
    unassigned = [admitted for admitted in chosen if admitted.assigned_by_default]
    if not unassigned:
        return
    with immediate(context.board.writer) as writer:
        for task, assignee, _, _ in unassigned:
            values = {"task_id": task.id, "assignee": assignee, "status": task.status}
            if writer.execute(statements.ASSIGN_DEFAULT, values).fetchone():
                payload = {"assignee": assignee, "source": "kanban.default_assignee"}
                journal.append(writer, task.id, "assigned", payload, context.now)


def _claim(context: TickContext, chosen: list[Admitted]) -> dict[str, Lease]:
    plugin, found = context.settings.plugin, {}
    expires = context.now + min(plugin.launch_seconds, plugin.lease_seconds)
    for lane, source in sorted({(admitted.lane, admitted.task.status) for admitted in chosen}):
        ids = [admitted.task.id for admitted in chosen if (admitted.lane, admitted.task.status) == (lane, source)]
        terms = ClaimTerms(context.runtime.lock_prefix(), expires, lane, source)
        found.update({lease.task_id: lease for lease in context.board.claim(ids, terms)})
    return found


def _start(context: TickContext, admitted: Admitted, lease: Lease) -> None:
    task = admitted.task.model_copy(update={"assignee": admitted.assignee})
    try:
        path = "" if context.dry_run else _launch(context, task, lease)
    except Exception as problem:  # noqa: BLE001 - isolation edge: whatever a spawner raises is this task's failure alone
        if _is_scarcity(problem):
            _release_launch(context, lease, f"the machine is short of resources: {problem}")
        else:
            _fail_launch(context, lease, str(problem) or type(problem).__name__)
        context.failed.append(Skipped(task_id=task.id, reason=str(problem)))
        return
    started = Started(
        task_id=task.id,
        run_id=None if context.dry_run else lease.run_id,
        assignee=task.assignee,
        lane=admitted.lane,
        workspace=path,
        review=task.status == "review",
    )
    context.started.append(started)


def _launch(context: TickContext, task: Task, lease: Lease) -> str:
    workspace = workspaces.prepare(task, context.board.location)
    with immediate(context.board.writer) as writer:
        values = {**lease._asdict(), "path": str(workspace.path), "branch": workspace.branch}
        if writer.execute(statements.SET_WORKSPACE, values).fetchone() is None:
            raise LaunchFailed("the claim was taken back before the worker was started")
    ask = context.runtime.manager.ask
    if not ask("kanban_spawn_worker", context=context, task=task, lease=lease, workspace=workspace):
        raise LaunchFailed("no plugin started the worker")
    return str(workspace.path)


def _fail_launch(context: TickContext, lease: Lease, error: str) -> None:
    """Book a failed launch on the task, unless the run is not current any more."""
    terms = context.settings.failure_terms
    failure = outcomes.Failure(Cause.SPAWN_FAILED, error, {"error": error[:500]}, terms)
    with immediate(context.board.writer) as writer:
        try:
            outcomes.fail(writer, lease, failure, context.now)
        except CallerMistake as mistake:
            log.info(entry("book_failed", str(mistake), board=context.board.slug, task=lease.task_id, run=lease.run_id))
        writer.execute(statements.MARK_ENDED, {"run_id": lease.run_id, "now": context.now})


def tell_news(context: TickContext) -> None:
    """Tell every plugin what happened since the last time: at least once, in order, after the commit."""
    writer = context.board.writer
    row = writer.execute("SELECT event_id FROM kp_cursors WHERE name = :name", {"name": TOLD}).fetchone()
    if row is None:
        # The first dispatcher on a board starts with what happens from now on.
        row = writer.execute("SELECT COALESCE(max(id), 0) AS event_id FROM task_events").fetchone()
        _move_cursor(writer, row["event_id"])
        return
    news = queries.list_events(writer, after=row["event_id"], limit=NEWS_BATCH)
    for event in news:
        context.runtime.manager.tell(TOLD, event=event, board=context.board)
    if news:
        _move_cursor(writer, news[-1].id)


def _move_cursor(writer: sqlite3.Connection, event_id: int) -> None:
    move = """
        INSERT INTO kp_cursors (name, event_id) VALUES (:name, :event_id)
        ON CONFLICT (name) DO UPDATE SET event_id = excluded.event_id WHERE kp_cursors.event_id < excluded.event_id"""
    with immediate(writer):
        writer.execute(move, {"name": TOLD, "event_id": event_id})
