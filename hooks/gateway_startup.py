"""The built-in start: every board is scanned for orphans before the first worker is started."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from hermes_kanban_plugin import locations
from hermes_kanban_plugin.dispatch.tick import tick_all
from hermes_kanban_plugin.hookspecs import hookimpl
from hermes_kanban_plugin.logbook import entry

if TYPE_CHECKING:
    from hermes_kanban_plugin.runtime import Runtime

log = logging.getLogger(__name__)


@hookimpl(trylast=True)
def kanban_gateway_startup(runtime: Runtime) -> None:
    """Scan all boards: living runs are adopted, dead ones rescued, illegal pairs closed; nothing is started yet."""
    for report in tick_all(runtime, locations.serving_boards(runtime.root), may_start=False):
        counts = {"running": report.running, "rescued": len(report.rescued), "repaired": len(report.repaired)}
        log.info(entry("start", board=report.board, **counts))
