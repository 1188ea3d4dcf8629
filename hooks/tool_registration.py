"""The built-in agent tools: kanban_heartbeat, kanban_block, kanban_complete."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from hermes_kanban_plugin.hookspecs import hookimpl

if TYPE_CHECKING:
    from collections.abc import Callable

    from hermes_kanban_plugin.toolkit import Tool

NAMES = ("kanban_heartbeat", "kanban_block", "kanban_complete")


@hookimpl(trylast=True)
def kanban_register_tools(register: Callable[[Tool], None]) -> None:
    """Register the three tools."""
    for name in NAMES:
        register(import_module(f"hermes_kanban_plugin.tools.{name}").TOOL)
