"""The built-in ownership vote: a worker may touch its own task, as the run it says it is, from its own process."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hermes_kanban_plugin import configuration
from hermes_kanban_plugin.dispatch import holder, ownership
from hermes_kanban_plugin.hookspecs import hookimpl

if TYPE_CHECKING:
    from hermes_kanban_plugin.board import Board
    from hermes_kanban_plugin.dispatch.ownership import Caller, Vote


@hookimpl(trylast=True)
def kanban_check_ownership(caller: Caller, task_id: str, board: Board) -> Vote:
    """Vote by the caller's environment, then by its process."""
    vote = ownership.vote(caller, task_id)
    if not vote.allowed or not caller.is_worker:
        return vote
    return holder.vote_on_process(
        board.reader, caller, lambda: configuration.load_or_default(board.location.root).plugin.ownership
    )
