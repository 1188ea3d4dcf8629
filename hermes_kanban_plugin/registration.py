"""The door through which the host loads us: ``register(ctx)``, in every Hermes process, quick and repeatable."""

from __future__ import annotations

import logging
from functools import cache, partial
from typing import TYPE_CHECKING, Any

log = logging.getLogger(__name__)

if TYPE_CHECKING:
    from collections.abc import Callable

    from hermes_kanban_plugin.toolkit import Tool


def register(ctx: Any) -> None:
    """Register the agent tools with the host; never raises, because that would take the host's tools away too.

    Args:
        ctx: the host's plugin context (contract section 7).
    """
    try:
        _register_tools(ctx)
    except Exception as problem:  # noqa: BLE001 - isolation edge: the host must work on without us
        log.warning("hermes-kanban is not active, the host's own kanban tools stay: %s", problem)


def _register_tools(ctx: Any) -> None:
    from hermes_kanban_plugin import toolkit

    _import_host_tools()
    for tool in toolkit.tools_of(_manager()).values():
        ctx.register_tool(
            name=tool.name,
            toolset=toolkit.TOOLSET,
            schema=tool.schema(),
            handler=_handler(tool),
            check_fn=_gate,
            description=tool.description,
            emoji=tool.emoji,
            override=True,
        )


@cache
def _manager() -> Any:
    """Return this process's plugins; made once, however often the host registers us."""
    from hermes_kanban_plugin.manager import Manager

    return Manager()


def _handler(tool: Tool) -> Callable[..., str]:
    from hermes_kanban_plugin import toolkit

    return partial(_call, partial(toolkit.call, tool, _manager()))


def _call(run: Callable[[Any], str], args: Any, **_: Any) -> str:
    """Adapt the host's calling convention (arguments, and keywords that are its own business)."""
    return run(args)


def _gate() -> bool:
    from hermes_kanban_plugin import host

    return host.kanban_tool_gate()


def _import_host_tools() -> None:
    """Let the host register its own tools first, so that ours replace them and not the other way round."""
    from importlib import import_module

    import_module("tools.kanban_tools")
