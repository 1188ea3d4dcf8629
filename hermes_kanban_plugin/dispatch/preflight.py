"""What is looked at before a worker is started: the caps, and that it would find the skills and tools that it needs.

A worker that finds none of them ends at once, so each start would be a crash until the breaker trips (failure mode
E15). Such a task is blocked instead, with the missing names and where was looked; nothing was started and nothing is
counted. What a review is started with is not the task's to choose, so a review only waits.
"""

from __future__ import annotations

import logging
from functools import cache
from typing import TYPE_CHECKING, NamedTuple

from hermes_kanban_plugin import lanes, machine
from hermes_kanban_plugin.dispatch.admission import admit, in_order, limits_of
from hermes_kanban_plugin.errors import CallerMistake
from hermes_kanban_plugin.host import skills, toolsets
from hermes_kanban_plugin.logbook import entry
from hermes_kanban_plugin.memory import Memory
from hermes_kanban_plugin.models import Skipped
from hermes_kanban_plugin.store import edits, moves, queries

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from hermes_kanban_plugin.dispatch.admission import Admitted
    from hermes_kanban_plugin.dispatch.context import TickContext
    from hermes_kanban_plugin.host.skills import Shelf
    from hermes_kanban_plugin.models import Task

log = logging.getLogger(__name__)
# Who blocked a task, in its history.
ACTOR = "dispatcher"
# The kind of block when something is missing that a person has to provide.
KIND = "capability"
NO_TOOLS = (
    "profile {profile!r} hides the kanban tools (agent.disabled_toolsets in its config.yaml), so its worker could "
    "neither complete nor block the task. Take 'kanban' out of that list, or assign the task to somebody else"
)


class Lack(NamedTuple):
    """What stands against a start: the reason, and the kind of block that it is."""

    reason: str
    kind: str | None = None


def choose(context: TickContext, candidates: Sequence[Task], running: Mapping[str, int]) -> list[Admitted]:
    """Return the tasks to start now: those that the caps admit and whose workers would find their skills.

    A task that is refused here takes no slot. What is not chosen is noted on the tick, with the reason.

    Args:
        context: the tick.
        candidates: tasks that are free to start.
        running: running tasks by assignee over all boards.
    """
    plugin = context.settings.plugin
    shelf_of = cache(skills.shelf_of)
    left = in_order(candidates, context.now, plugin.priority_aging_seconds)
    limits = limits_of(context.settings, machine.memory() if left and plugin.memory_guard else Memory.AMPLE)
    while True:
        admission = admit(left, running, limits, lambda name: lanes.lane_of(name, plugin))
        chosen = admission.admitted if context.slots is None else admission.admitted[: context.slots]
        refused = {one.task.id: lack for one in chosen if (lack := _lack(context, one, shelf_of))}
        if not refused:
            context.skipped += admission.skipped
            return chosen
        for task in left:
            if task.id in refused:
                _refuse(context, task, refused[task.id])
        left = [task for task in left if task.id not in refused]


def _lack(context: TickContext, admitted: Admitted, shelf_of: Callable[[str], Shelf | None]) -> Lack | None:
    """Return what stands against a start, or None."""
    missing = _missing(admitted, shelf_of)
    if missing is not None:
        return Lack(missing, KIND)
    spent = _spent(context, admitted.task)
    return Lack(spent) if spent is not None else None


def _missing(admitted: Admitted, shelf_of: Callable[[str], Shelf | None]) -> str | None:
    """Return what a task's worker would lack, as a reason, or None."""
    if admitted.lane == lanes.HERMES and toolsets.hides_board_tools(admitted.assignee):
        return NO_TOOLS.format(profile=admitted.assignee)
    wanted = lanes.skills_of(admitted.task) if admitted.lane == lanes.HERMES else []
    shelf = shelf_of(admitted.assignee) if wanted else None
    missing = shelf.lacks(wanted) if shelf is not None else []
    return reason_for(admitted.assignee, missing, shelf) if missing and shelf is not None else None


def _spent(context: TickContext, task: Task) -> str | None:
    """Return that a task has used up its tokens, as a reason, or None (failure mode K5)."""
    bound = context.settings.plugin.max_tokens_per_task
    if not bound:
        return None
    tokens, runs = queries.tokens_used(context.board.writer, task.id)
    if tokens < bound:
        return None
    return (
        f"it has used {tokens:,} tokens in {runs} runs, and max_tokens_per_task is {bound:,}. Look at what it did; "
        "unblocking it grants the same again"
    )


def reason_for(profile: str, missing: Sequence[str], shelf: Shelf) -> str:
    """Return what is missing, where was looked, and what to do, as the reason of a block."""
    taken_for = ", ".join(sorted({name.casefold() for name in missing} & skills.toolset_names()))
    confused = f" ({taken_for}: a toolset, which belongs into the profile's configuration)" if taken_for else ""
    return (
        f"profile {profile!r} does not have the skill {', '.join(missing)}{confused}; looked in "
        f"{', '.join(shelf.places)}. Install it, or take it off the task"
    )


def _refuse(context: TickContext, task: Task, lack: Lack) -> None:
    """Block a task that cannot be started, without bringing its loop breaker nearer: no worker asked anything."""
    context.skipped.append(Skipped(task_id=task.id, reason=lack.reason))
    if task.status != "ready":
        return
    seen = moves.Seen(task.status, 0, "")
    try:
        edits.stop(context.board.writer, task.id, lack.reason, ACTOR, context.now, seen, lack.kind)
    except CallerMistake as mistake:
        log.info(entry("block_failed", str(mistake), board=context.board.slug, task=task.id))
