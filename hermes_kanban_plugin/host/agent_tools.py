"""Our agent tools in the place of the host's: same name, schema and gate, because they are taken from the host's entry.

They are registered right after the host registered its own (before, the host's would win; contract section 7), and what
they need is loaded by the first call. Rule source: live-host.md section 4.
"""

from __future__ import annotations

import inspect
import json
import logging
from functools import cache, partial
from typing import TYPE_CHECKING, Any

from hermes_kanban_plugin.imports import after_import
from hermes_kanban_plugin.worker import subagents

if TYPE_CHECKING:
    from types import ModuleType

    from hermes_kanban_plugin.toolkit import Tool

log = logging.getLogger(__name__)

NAMES = ("kanban_heartbeat", "kanban_block", "kanban_complete")
TOOLSET = "kanban"
_PERMISSION = "plugins.entries.hermes-kanban.allow_tool_override"


def install(ctx: Any) -> None:
    """Replace the host's tools as soon as it has them; does nothing in a process that never loads them.

    Args:
        ctx: the host's plugin context.
    """
    after_import("tools.kanban_tools", "agent tools", partial(replace_tools, ctx))


def replace_tools(ctx: Any, module: ModuleType) -> None:
    """Register our tools over the host's, and those that third-party plugins bring.

    Args:
        ctx: the host's plugin context.
        module: the host's kanban tools; its registry has them.

    Raises:
        AttributeError: this host keeps its tools otherwise.
    """
    tools = {name: _as_the_host(module.registry, name) for name in NAMES} | _of_third_parties()
    for name, registration in tools.items():
        if registration is None:
            log.warning("%s of hermes-kanban is not registered, because this host has no such tool", name)
            continue
        try:
            _register(ctx, name, registration)
        except Exception as problem:  # noqa: BLE001 - isolation edge: the host's own tool stays, the others go on
            # The host's own class; the name is all that older hosts and ours have in common.
            if type(problem).__name__ == "PluginToolOverrideError" or isinstance(problem, PermissionError):
                log.warning(
                    "the host's own kanban tools stay, unfenced: %s is not set to true for this profile. Set it with: "
                    "hermes-kanban setup (%s)", _PERMISSION, problem,
                )  # fmt: skip
                return
            log.warning("%s of hermes-kanban is not registered, the host's own one stays: %s", name, problem)


def _register(ctx: Any, name: str, registration: dict[str, Any]) -> None:
    """Hand one tool to the host, as far as its version asks; before 0.14 it knows no ``override`` and needs none."""
    known = inspect.signature(ctx.register_tool).parameters
    takes_all = any(one.kind is one.VAR_KEYWORD for one in known.values())
    asked = {key: value for key, value in {**registration, "override": True}.items() if takes_all or key in known}
    ctx.register_tool(name=name, toolset=TOOLSET, **asked)


def _as_the_host(registry: Any, name: str) -> dict[str, Any] | None:
    """Return what the host registered under a name, with our handler; None when it has no such tool."""
    entry = registry.get_entry(name) if hasattr(registry, "get_entry") else registry._tools.get(name)
    if entry is None:
        return None
    return {
        "schema": entry.schema,
        "handler": partial(_answer, name),
        "check_fn": entry.check_fn,
        "description": getattr(entry, "description", ""),
        "emoji": getattr(entry, "emoji", ""),
    }


def _answer(name: str, arguments: Any, *, session_id: Any = "", **_: Any) -> str:
    """Run a tool for the host; other keywords are its own business. Never raises: the answer is JSON in any case."""
    refusal = subagents.refusal(name, str(session_id))
    if refusal is not None:
        return json.dumps({"error": refusal})
    try:
        from hermes_kanban_plugin import toolkit

        return toolkit.answer(name, arguments)
    except Exception as problem:  # a missing dependency is an answer to the model, and a trace in the log
        log.exception("%s could not be loaded", name)
        said = f"{name} is not available ({problem}); nothing was changed. See: hermes-kanban doctor"
        return json.dumps({"error": said})


# --- third parties: nothing of this is loaded where there are none -------------------------------------------------


def _of_third_parties() -> dict[str, dict[str, Any] | None]:
    """Return the tools that third-party plugins add or put in the place of ours."""
    try:
        if not _has_third_parties():
            return {}
        from hermes_kanban_plugin import toolkit

        found = toolkit.process_tools().values()
        theirs = [tool for tool in found if tool.name not in NAMES or tool is not toolkit.built_in(tool.name)]
    except Exception as problem:  # noqa: BLE001 - isolation edge: somebody else's plugin must not keep our tools out
        log.warning("the tools of third-party plugins are left out: %s", problem)
        return {}
    return {tool.name: registration for tool in theirs if (registration := _as_registered(tool)) is not None}


@cache
def _has_third_parties() -> bool:
    from importlib.metadata import entry_points

    return bool(entry_points(group="hermes_kanban"))


def _as_registered(tool: Tool) -> dict[str, Any] | None:
    try:
        schema = tool.schema()
    except Exception as problem:  # noqa: BLE001 - isolation edge: one broken tool must not keep the others out
        log.warning("%s of a third-party plugin is left out: %s", tool.name, problem)
        return None
    handler = partial(_answer, tool.name)
    words = {"description": tool.description, "emoji": tool.emoji}
    return {"schema": schema, "handler": handler, "check_fn": _gate, **words}


def _gate() -> bool:
    from hermes_kanban_plugin import host

    return host.kanban_tool_gate()
