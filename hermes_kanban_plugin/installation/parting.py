"""What of a board only we know, and Hermes alone will not heed once we are gone: said when setup is taken back."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING

from hermes_kanban_plugin.errors import KanbanError
from hermes_kanban_plugin.store import connection, flags, queries, timers

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from hermes_kanban_plugin.locations import BoardLocation

_ENDED = ("done", "archived")
_FOR_EVER = 2**62
_NAMED = 5


def left_behind(location: BoardLocation, lanes: Collection[str]) -> list[str]:
    """Return what somebody has to know before Hermes serves a board alone, one sentence each, with what helps.

    Args:
        location: the board; one that cannot be read, or that we never served, has nothing to say.
        lanes: names of command lanes.
    """
    try:
        reader = connection.open_reader(str(location.database))
        try:
            return [f"board {location.slug}: {sentence}" for sentence in _sentences(reader, lanes)]
        finally:
            reader.close()
    except (KanbanError, sqlite3.Error):
        return []


def _sentences(reader: sqlite3.Connection, lanes: Collection[str]) -> Iterator[str]:
    if flags.find(reader, flags.PAUSED) is not None:
        yield "it is paused, which Hermes does not know: from now on it starts what is ready there"
    due = [str(row[0]) for row in reader.execute(timers.DUE, {"now": _FOR_EVER})]
    parked = {task.id for task in queries.list_tasks(reader, status="scheduled")}
    waiting = [task_id for task_id in due if task_id in parked]
    if waiting:
        yield f"{_tasks(waiting)} for a time that only we know; open in time: hermes kanban unblock TASK"
    left = [task.id for lane in sorted(lanes) for task in queries.list_tasks(reader, assignee=lane)
            if task.status not in _ENDED]  # fmt: skip
    if left:
        yield f"{_tasks(left)} for a command lane, which Hermes does not have: hermes kanban assign TASK PROFILE"
    running = [run.task_id for run in queries.held_runs(reader) if run.supervised]
    if running:
        yield f"{len(running)} running under our supervisors; let them end before the plugin is uninstalled"


def _tasks(ids: list[str]) -> str:
    more = f" and {len(ids) - _NAMED} more" if len(ids) > _NAMED else ""
    return f"{', '.join(ids[:_NAMED])}{more} {'waits' if len(ids) == 1 else 'wait'}"
