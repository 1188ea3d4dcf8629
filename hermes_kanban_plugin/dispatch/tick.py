"""One tick: the phases in their order, on one board or on all of a home."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING

from pydantic import ValidationError

from hermes_kanban_plugin import lanes
from hermes_kanban_plugin.dispatch.context import Phase, TickContext
from hermes_kanban_plugin.errors import KanbanError
from hermes_kanban_plugin.models import TickReport
from hermes_kanban_plugin.store import queries
from hermes_kanban_plugin.store.connection import translating

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from hermes_kanban_plugin.board import Board
    from hermes_kanban_plugin.locations import BoardLocation
    from hermes_kanban_plugin.runtime import Runtime


def tick_all(
    runtime: Runtime,
    boards: Sequence[BoardLocation],
    *,
    may_start: bool = True,
    slots: int | None = None,
    full: bool = True,
    counted: Sequence[BoardLocation] = (),
) -> list[TickReport]:
    """Tick every board once; one that gives trouble is closed, named in the log, and tried again next time.

    Args:
        runtime: the serving process.
        boards: which boards, in this order.
        may_start: False for a scan that rescues and starts nothing.
        slots: how many workers may be started in all, or None for no bound but the caps.
        full: look at every run, also at those whose supervisor is being watched.
        counted: boards whose running tasks count for the caps although they are not ticked.
    """
    reports = []
    everywhere = {location.database: location for location in (*boards, *counted)}
    for location in boards:
        try:
            board = runtime.open(location)
            others = [other for database, other in everywhere.items() if database != location.database]
            elsewhere = running_on(runtime, others)
            report = tick(board, runtime, elsewhere=elsewhere, may_start=may_start, slots=slots, full=full)
        except (KanbanError, ValidationError, sqlite3.Error) as problem:
            runtime.complain("tick_failed", problem, location.slug)
            runtime.forget(location.database)
            continue
        runtime.settle("tick_failed", location.slug)
        if slots is not None:
            slots = max(0, slots - len(report.started))
        reports.append(report)
    return reports


def tick(
    board: Board,
    runtime: Runtime,
    *,
    elsewhere: dict[str, int] | None = None,
    may_start: bool = True,
    slots: int | None = None,
    full: bool = True,
) -> TickReport:
    """Tick one board under its tick lock, which the host's own dispatch honours too.

    Returns:
        What was done; ``locked_out`` when somebody else is ticking this board right now.

    Raises:
        BoardUnusable: the board cannot be read or written.
    """
    with runtime.ticking(board.location.database) as alone:
        if not alone:
            return TickReport(board=board.slug, locked_out=True)
        context = TickContext(runtime, board, elsewhere=elsewhere, may_start=may_start, slots=slots, full=full)
        with translating(board.path):
            return run_phases(context)


def rehearse(
    board: Board, runtime: Runtime, elsewhere: dict[str, int] | None = None, *, may_start: bool = True
) -> TickReport:
    """Return what a tick would do, by doing it on a copy in memory that starts and stops nothing."""
    copy = board.rehearsal()
    try:
        return run_phases(TickContext(runtime, copy, elsewhere=elsewhere, may_start=may_start, dry_run=True))
    finally:
        copy.close()


def run_phases(context: TickContext, phases: Iterable[Phase] = Phase) -> TickReport:
    """Run all phases, or some, in order; one that fails is reported and the next one runs."""
    for phase in phases:
        try:
            context.runtime.manager.ask("kanban_run_phase", context=context, phase=phase)
        except sqlite3.Error:
            raise
        except Exception as problem:  # noqa: BLE001 - isolation edge: a plugin's wrapper must not stop the tick
            context.runtime.manager.report(f"kanban_run_phase({phase})", problem)
    return context.report()


def startable(runtime: Runtime, board: Board) -> int:
    """Count the tasks of a board that a worker could be started for now, if there were no caps."""
    settings = runtime.settings
    bounds = settings.plugin.rate_limit_cooldown_seconds, settings.plugin.max_starts_per_hour
    found = queries.candidates(board.reader, runtime.clock.now(), *bounds)
    named = (task.assignee or settings.host.default_assignee.strip().lower() for task in found)
    return sum(1 for name in named if name and lanes.lane_of(name, settings.plugin) is not None)


def running_on(runtime: Runtime, boards: Sequence[BoardLocation]) -> dict[str, int]:
    """Count the running tasks of each assignee over some boards; one that cannot be read counts nothing."""
    counts: dict[str, int] = {}
    for location in boards:
        try:
            found = queries.running_by_assignee(runtime.open(location).reader)
        except (KanbanError, ValidationError, sqlite3.Error) as problem:
            runtime.complain("count_failed", problem, location.slug)
            continue
        for assignee, running in found.items():
            counts[assignee] = counts.get(assignee, 0) + running
    return counts
