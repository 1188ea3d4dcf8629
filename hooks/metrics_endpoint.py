"""The built-in Prometheus endpoint: it listens while the setting ``metrics_port`` names a port."""

from __future__ import annotations

from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from hermes_kanban_plugin.dispatch.context import Phase
from hermes_kanban_plugin.hookspecs import hookimpl

if TYPE_CHECKING:
    from hermes_kanban_plugin.board import Board
    from hermes_kanban_plugin.dispatch.context import TickContext
    from hermes_kanban_plugin.maintenance.metrics import Endpoint
    from hermes_kanban_plugin.models import Event
    from hermes_kanban_plugin.runtime import Runtime

_endpoints: WeakKeyDictionary[Runtime, Endpoint] = WeakKeyDictionary()


@hookimpl(trylast=True)
def kanban_gateway_startup(runtime: Runtime) -> None:
    """Have an endpoint from now on; it listens as soon as a port is set."""
    from hermes_kanban_plugin.maintenance.metrics import Endpoint  # late: only who dispatches needs it

    _endpoints[runtime] = Endpoint(runtime.root)
    _endpoints[runtime].listen(runtime.settings.plugin.metrics_port)


@hookimpl(trylast=True)
def kanban_gateway_shutdown(runtime: Runtime) -> None:
    """Listen no more."""
    endpoint = _endpoints.pop(runtime, None)
    if endpoint is not None:
        endpoint.close()


@hookimpl(trylast=True)
def kanban_tick(context: TickContext, phase: Phase) -> None:
    """Count the tick, and follow the setting."""
    endpoint = _endpoints.get(context.runtime) if phase is Phase.REPORT else None
    if endpoint is not None:
        endpoint.listen(context.settings.plugin.metrics_port)
        endpoint.note_tick(context.board.slug)


@hookimpl(trylast=True)
def kanban_task_event(event: Event, board: Board) -> None:
    """Count what happened."""
    for endpoint in _endpoints.values():
        endpoint.note_event(board.slug, event.kind)
