"""Taking back, at once and for a person, every task whose run is proven gone: the rescue of a tick and nothing else."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NamedTuple

from hermes_kanban_plugin import locations, locks
from hermes_kanban_plugin.dispatch import reaper
from hermes_kanban_plugin.dispatch.context import Phase, TickContext
from hermes_kanban_plugin.dispatch.reaper import Deed
from hermes_kanban_plugin.dispatch.tick import run_phases
from hermes_kanban_plugin.errors import BoardBusy
from hermes_kanban_plugin.models import Rescued
from hermes_kanban_plugin.store import dispatchers
from hermes_kanban_plugin.store.connection import translating

if TYPE_CHECKING:
    from collections.abc import Collection

    from hermes_kanban_plugin.board import Board
    from hermes_kanban_plugin.runtime import Runtime

_PHASES = (Phase.REAP, Phase.VERIFY, Phase.RESCUE)
# A tick of somebody else takes a moment; a host's tick that stops stubborn workers takes seconds.
WAIT_SECONDS = 20.0
POLL_SECONDS = 0.05


class Sweep(NamedTuple):
    """What was taken back or repaired, and which runs are in doubt: those need a second look later.

    ``columns`` is where each task that was taken from its run is now: a failure too many gives it up.
    """

    taken: list[Rescued]
    doubtful: list[Rescued]
    columns: dict[str, str]


def take_back(
    board: Board,
    runtime: Runtime,
    actor: str,
    *,
    dry_run: bool = False,
    only: Collection[tuple[str, int]] | None = None,
) -> Sweep:
    """Take back what a sweep would take back now, and name the person in the history.

    Args:
        board: the board.
        runtime: the calling process.
        actor: for whom it is done.
        dry_run: do it on a copy in memory, stop nothing, and only say what would happen.
        only: task and run (0: none) of what may be taken back, because it was shown; None for all that is found.

    Raises:
        BoardBusy: somebody else ticks the board all the time.
        BoardUnusable: the board cannot be read or written.
    """
    if dry_run:
        copy = board.rehearsal()
        try:
            return _sweep(TickContext(runtime, copy, dry_run=True, actor=actor, only=only))
        finally:
            copy.close()
    deadline = time.monotonic() + WAIT_SECONDS
    while True:
        with locks.trying(locations.tick_lock(board.location.database)) as alone:
            # The dispatcher of ours that serves the board keeps the lock; beside it, each deed is a compare-and-set.
            if alone or dispatchers.serving(board.reader, board.clock.now()) is not None:
                with translating(board.path):
                    return _sweep(TickContext(runtime, board, actor=actor, only=only))
        if time.monotonic() > deadline:
            raise BoardBusy(board.slug, int(WAIT_SECONDS))
        time.sleep(POLL_SECONDS)


def _sweep(context: TickContext) -> Sweep:
    report = run_phases(context, _PHASES)
    taken = [*report.rescued, *report.repaired]
    known = {one.task_id for one in taken}
    doubtful = []
    for orphan in context.orphans:
        action = reaper.decide(orphan, context.now)
        if action.deed is not Deed.KEEP and orphan.run.task_id not in known:
            doubtful.append(
                Rescued(task_id=orphan.run.task_id, run_id=orphan.run.run_id, outcome="doubtful", reason=action.reason)
            )
    columns = {one.task_id: _column_of(context.board, one.task_id) for one in report.rescued}
    return Sweep(taken, doubtful, columns)


def _column_of(board: Board, task_id: str) -> str:
    row = board.writer.execute("SELECT status FROM tasks WHERE id = :task_id", {"task_id": task_id}).fetchone()
    return str(row["status"]) if row else ""
