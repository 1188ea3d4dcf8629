"""The built-in ownership vote: a worker may touch its own task, as the run it says it is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hermes_kanban_plugin.dispatch import ownership
from hermes_kanban_plugin.hookspecs import hookimpl

if TYPE_CHECKING:
    from hermes_kanban_plugin.dispatch.ownership import Caller, Vote


@hookimpl(trylast=True)
def kanban_check_ownership(caller: Caller, task_id: str) -> Vote:
    """Vote by the caller's environment."""
    return ownership.vote(caller, task_id)
