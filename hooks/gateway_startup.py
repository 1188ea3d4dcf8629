"""The built-in start: every board is scanned for orphans before the first worker is started."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from hermes_kanban_plugin import locations
from hermes_kanban_plugin.dispatch.tick import tick_all
from hermes_kanban_plugin.hookspecs import hookimpl

if TYPE_CHECKING:
    from hermes_kanban_plugin.runtime import Runtime

log = logging.getLogger(__name__)


@hookimpl(trylast=True)
def kanban_gateway_startup(runtime: Runtime) -> None:
    """Scan all boards: living runs are adopted, dead ones rescued, illegal pairs closed; nothing is started yet."""
    for report in tick_all(runtime, locations.serving_boards(runtime.root), may_start=False):
        log.info(
            "start: board %s: %d running, %d rescued, %d repaired",
            report.board, report.running, len(report.rescued), len(report.repaired),
        )  # fmt: skip
