"""The door through which the host loads us: ``register(ctx)``, in every Hermes process, quick and repeatable."""

from __future__ import annotations

import logging
from functools import cache, partial
from typing import TYPE_CHECKING, Any

log = logging.getLogger(__name__)

if TYPE_CHECKING:
    from collections.abc import Callable

    from hermes_kanban_plugin.settings import Settings
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
        try:
            _register_tool(ctx, tool)
        except Exception as problem:  # noqa: BLE001 - isolation edge: one tool must not keep the others out
            log.warning("%s of hermes-kanban is not registered, the host's own one stays: %s", tool.name, problem)


def _register_tool(ctx: Any, tool: Tool) -> None:
    from hermes_kanban_plugin import toolkit

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
    """Return this process's plugins; made once, however often the host registers us.

    The settings are read only for third-party plugins (which of them are blocked, and ``kanban_configure``), because
    parsing a configuration is most of what a Hermes process would pay for us at its start.
    """
    from hermes_kanban_plugin.manager import Manager, third_parties

    if not third_parties():
        return Manager(discover=False)
    found = _settings()
    manager = Manager(found.plugin.block_plugins)
    manager.configure(found)
    return manager


def _settings() -> Settings:
    """Return the settings, or the defaults: fenced tools with an unread setting beat the host's tools without us."""
    from hermes_kanban_plugin import locations, settings
    from hermes_kanban_plugin.errors import InvalidSettings

    try:
        return settings.load(locations.kanban_root())
    except InvalidSettings as problem:
        log.warning("hermes-kanban goes on with default settings: %s", problem)
        return settings.Settings()


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
