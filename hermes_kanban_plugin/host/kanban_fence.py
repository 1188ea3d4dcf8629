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
        from hermes_kanban_plugin.worker import assignment  # late: most workers never use these tools

        assignment.prove(os.environ, os.getpid())
    except Exception as problem:  # noqa: BLE001 - isolation edge: the host runs the tool when this raises
        log.info("%s was refused: %s", tool_name, problem)
        return f"{tool_name}: {problem}"
    return None
