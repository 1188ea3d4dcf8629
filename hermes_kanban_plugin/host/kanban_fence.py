"""A fence around the host's other kanban tools that write: they carry no run and no lock of their own (contract W2).

Installed in every process that inherited a worker's environment. The host runs a tool when a callback of a plugin
raises, so everything that goes wrong here is a refusal. Rule source: live-host.md section 4.
"""

from __future__ import annotations

import json
import logging
import os
import threading
from functools import wraps
from typing import TYPE_CHECKING, Any

from hermes_kanban_plugin.host.patching import marked, original
from hermes_kanban_plugin.host.switches import switch
from hermes_kanban_plugin.imports import after_import

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType

log = logging.getLogger(__name__)

SWITCH = "fence_attachments"
_thread = threading.local()

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
        after_import("hermes_cli.kanban_db", "attachments", fence_attachments)
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
    if refusal is not None:
        return json.dumps({"error": refusal}, ensure_ascii=False)
    _thread.tool = tool_name
    try:
        return next_call(args)
    finally:
        _thread.tool = ""


def fence_attachments(module: ModuleType) -> None:
    """Have it asked again, right before it is written, whether an attachment may be: its download may take minutes.

    Args:
        module: the host's ``hermes_cli.kanban_db``; before 0.16 it stores attachments otherwise.
    """
    store = original(getattr(module, "store_attachment_bytes", None))
    if store is None or not switch(SWITCH):
        return

    @wraps(store)
    def store_attachment_bytes(*arguments: Any, **more: Any) -> Any:
        tool_name = getattr(_thread, "tool", "")
        refusal = objection(tool_name)
        if refusal is not None:
            raise ValueError(refusal.removeprefix(f"{tool_name}: "))  # the host's tools answer with that
        return store(*arguments, **more)

    module.store_attachment_bytes = marked(store_attachment_bytes, store)  # type: ignore[attr-defined]


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
