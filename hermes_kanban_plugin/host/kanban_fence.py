"""A fence around the host's other kanban tools that write: they carry no run and no lock of their own (contract W2).

Installed in every process that inherited a worker's environment. The host runs a tool when a callback of a plugin
raises, so everything that goes wrong here is a refusal. Rule source: live-host.md section 4.
"""

from __future__ import annotations

import json
import logging
import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

log = logging.getLogger(__name__)

# Our own three are fenced by themselves; the others only read.
FENCED = frozenset(
    ("kanban_comment", "kanban_create", "kanban_link", "kanban_attach", "kanban_attach_url", "kanban_unblock")
)


def install(ctx: Any) -> None:
    """Put the fence up where a worker's environment is: as middleware, on older hosts as a hook.

    Args:
        ctx: the host's plugin context.
    """
    if not os.environ.get("HERMES_KANBAN_TASK", "").strip():
        return
    if hasattr(ctx, "register_middleware"):
        ctx.register_middleware("tool_execution", run_fenced)
    else:
        ctx.register_hook("pre_tool_call", object_to)


def run_fenced(*, tool_name: str = "", args: Any = None, next_call: Callable[[Any], Any], **_: Any) -> Any:
    """Run a tool unless the fence objects; then the answer is its objection, as the host's tools answer.

    Args:
        tool_name: the tool.
        args: what the model gave it.
        next_call: runs it.
    """
    refusal = objection(tool_name)
    return next_call(args) if refusal is None else json.dumps({"error": refusal}, ensure_ascii=False)


def object_to(*, tool_name: str = "", **_: Any) -> dict[str, str] | None:
    """Return the host's word for "do not run this tool", or None; for hosts without middleware.

    Args:
        tool_name: the tool.
    """
    refusal = objection(tool_name)
    return None if refusal is None else {"action": "block", "message": refusal}


def objection(tool_name: str) -> str | None:
    """Return why this process may not use a tool now, or None; never raises."""
    if tool_name not in FENCED:
        return None
    try:
        _check()
    except Exception as problem:  # noqa: BLE001 - isolation edge: the host runs the tool when this raises
        log.info("%s was refused: %s", tool_name, problem)
        return f"{tool_name}: {problem}"
    return None


def _check() -> None:
    """Do nothing if this process is the worker of the run that holds its task now.

    Raises:
        KanbanError: it is not, or that cannot be found out.
        sqlite3.Error: the board cannot be read.
    """
    from hermes_kanban_plugin import locations
    from hermes_kanban_plugin.dispatch import holder
    from hermes_kanban_plugin.dispatch.ownership import caller_of
    from hermes_kanban_plugin.errors import NotTheOwner
    from hermes_kanban_plugin.store import leases
    from hermes_kanban_plugin.store.connection import open_reader, translating

    caller = caller_of(os.environ, os.getpid())
    lease, database = caller.lease, str(locations.locate().database)
    reader = open_reader(database)
    try:
        with translating(database):
            leases.current(reader, lease)
            vote = holder.vote_on_process(reader, caller, _ownership)
    finally:
        reader.close()
    if not vote.allowed:
        raise NotTheOwner(vote.reason)


def _ownership() -> str:
    from hermes_kanban_plugin import configuration, locations

    return configuration.load_or_default(locations.kanban_root()).plugin.ownership
