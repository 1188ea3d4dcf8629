"""The built-in daily clean-up: with the setting ``keep_days`` the dispatcher does once a day what ``gc`` does."""

from __future__ import annotations

import logging
import sqlite3
import threading
from typing import TYPE_CHECKING

from hermes_kanban_plugin.dispatch.context import Phase
from hermes_kanban_plugin.errors import KanbanError
from hermes_kanban_plugin.hookspecs import hookimpl
from hermes_kanban_plugin.logbook import entry
from hermes_kanban_plugin.store import flags

if TYPE_CHECKING:
    from hermes_kanban_plugin.clock import Clock
    from hermes_kanban_plugin.dispatch.context import TickContext
    from hermes_kanban_plugin.locations import BoardLocation

log = logging.getLogger(__name__)

DAY = 86_400
CLEANED = "cleaned"


@hookimpl(trylast=True)
def kanban_tick(context: TickContext, phase: Phase) -> None:
    """Once a day, begin to clean the board up beside the tick, which waits for nothing."""
    days = context.settings.plugin.keep_days
    if phase is not Phase.REPORT or not days or not context.full or context.dry_run or context.runtime.watch is None:
        return
    last = flags.find(context.board.writer, CLEANED)
    if last is not None and last.since <= context.now < last.since + DAY:
        return
    # Noted first: one that fails is tried again tomorrow and not at every tick.
    flags.put(context.board.writer, CLEANED, str(days), "dispatcher", context.now)
    given = (context.board.location, context.board.clock, days)
    threading.Thread(target=_clean, args=given, name="upkeep", daemon=True).start()


def _clean(location: BoardLocation, clock: Clock, days: int) -> None:
    from hermes_kanban_plugin.board import Board
    from hermes_kanban_plugin.maintenance.retention import Policy, clean

    try:
        with Board(location, clock) as board:
            done = clean(board, Policy(days, days, days))
    except (KanbanError, sqlite3.Error, OSError) as problem:
        log.warning(entry("clean_failed", str(problem), board=location.slug))
    else:
        log.info(entry("clean", board=location.slug, removed=done.items))
