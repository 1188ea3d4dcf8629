"""The built-in outage watch: finds out what the probes say, and names the next ones before anything is started."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from hermes_kanban_plugin import lanes
from hermes_kanban_plugin.dispatch.context import Phase
from hermes_kanban_plugin.hookspecs import hookimpl
from hermes_kanban_plugin.logbook import entry
from hermes_kanban_plugin.outages import Fate
from hermes_kanban_plugin.store import outages

if TYPE_CHECKING:
    from hermes_kanban_plugin.dispatch.context import TickContext
    from hermes_kanban_plugin.store.outages import Waiting

log = logging.getLogger(__name__)


@hookimpl(trylast=True)
def kanban_tick(context: TickContext, phase: Phase) -> None:
    """Look after the outages in PROMOTE, the last phase before DISPATCH."""
    if phase is Phase.PROMOTE:
        look_after(context)


def look_after(context: TickContext) -> None:
    """Close the outages that are over, and name the task that probes for each of the others when it is due."""
    writer, slug = context.board.writer, context.board.slug
    for settled in outages.settle(writer, context.now):
        end = "is over" if settled.fate is Fate.HEALED else "goes on"
        what = f"outage {settled.outage.id} ({settled.outage.signature}) {end}: {settled.reason}"
        if not context.dry_run:
            log.warning(entry("outage", what, board=slug))
    if context.may_start:
        for task_id in outages.choose_probes(writer, lambda one: _may_start(context, one), context.now):
            log.debug(entry("probe", "it tries whether an outage is over", board=slug, task=task_id))


def _may_start(context: TickContext, waiting: Waiting) -> bool:
    assignee = waiting.assignee or context.settings.host.default_assignee.strip().lower()
    return bool(assignee) and lanes.lane_of(assignee, context.settings.plugin) is not None
