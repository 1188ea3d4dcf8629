"""The built-in end: says what goes on without us. Workers are not touched: their supervisors outlive the dispatcher."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from hermes_kanban_plugin import locations
from hermes_kanban_plugin.dispatch.tick import running_on
from hermes_kanban_plugin.hookspecs import hookimpl
from hermes_kanban_plugin.logbook import entry

if TYPE_CHECKING:
    from hermes_kanban_plugin.runtime import Runtime

log = logging.getLogger(__name__)


@hookimpl(trylast=True)
def kanban_gateway_shutdown(runtime: Runtime, reason: str) -> None:
    """Log what is left running, and close the boards."""
    left = sum(running_on(runtime, locations.serving_boards(runtime.root)).values())
    words = f"stopped ({reason}): {left} worker(s) go on under their supervisors and are adopted at the next start"
    log.info(entry("stop", words, running=left))
    runtime.close()
