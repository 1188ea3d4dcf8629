"""Cancelling: a task that is not wanted any more is put away, and with it whatever waits for it. Standard library only.

An archived task releases its children (contract section 3), so one that others wait for is cancelled only with all of
them, in one transaction: nothing of the subtree is ever startable in between. The history says who and why.
Rule source: failure mode J6.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from hermes_kanban_plugin.errors import ChangedMeanwhile, UnknownTask, WrongState
from hermes_kanban_plugin.store import journal, moves, outcomes, statements
from hermes_kanban_plugin.store.moves import Seen
from hermes_kanban_plugin.store.transaction import immediate

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Mapping

FINISHED = ("done", "archived")
# The task and what waits for it, through tasks that are not finished themselves: behind those nobody waits any more.
UNFINISHED_BELOW = """
WITH RECURSIVE below (id) AS (
    SELECT tasks.id FROM tasks WHERE tasks.id = :task_id
    UNION
    SELECT child.id FROM below
        JOIN task_links ON task_links.parent_id = below.id
        JOIN tasks AS child ON child.id = task_links.child_id
    WHERE child.status NOT IN ('done', 'archived'))
SELECT tasks.* FROM tasks JOIN below ON below.id = tasks.id ORDER BY tasks.created_at, tasks.id"""


class Cancelled(NamedTuple):
    """A task that was cancelled: where it was, and the run that held it."""

    task_id: str
    status: str
    run_id: int | None


def listed(connection: sqlite3.Connection, task_id: str, *, subtree: bool) -> list[sqlite3.Row]:
    """Return the rows of the tasks that a cancellation would put away, the task itself among them.

    Raises:
        UnknownTask: it is not on the board.
        WrongState: it is finished, or others wait for it and ``subtree`` is not given.
    """
    rows = connection.execute(UNFINISHED_BELOW, {"task_id": task_id}).fetchall()
    task = next((row for row in rows if row["id"] == task_id), None)
    if task is None:
        raise UnknownTask(task_id)
    if task["status"] in FINISHED:
        raise WrongState(task_id, "cancel", task["status"], "a task that is not finished")
    if len(rows) > 1 and not subtree:
        raise WrongState(
            task_id, "cancel", f"waited for by {len(rows) - 1} task(s)", "--subtree, which cancels them too",
            f"see which: hermes-kanban cancel {task_id} --subtree --dry-run",
        )  # fmt: skip
    return rows


def cancel(
    connection: sqlite3.Connection, task_id: str, reason: str | None, actor: str, now: int, seen: Mapping[str, Seen]
) -> list[Cancelled]:
    """Put a task and what waits for it into ``archived``; open runs are closed, and their workers fenced off.

    Args:
        connection: a writer.
        task_id: the task.
        reason: kept in the history.
        actor: who cancels.
        now: epoch seconds.
        seen: every task that the person was shown, as it was then.

    Raises:
        UnknownTask, WrongState: nothing was done.
        ChangedMeanwhile: another task waits for it by now, or one of them is not what it was; nothing was done.
    """
    with immediate(connection):
        rows = listed(connection, task_id, subtree=len(seen) > 1)
        if {row["id"]: Seen.of(row) for row in rows} != dict(seen):
            raise ChangedMeanwhile(task_id)
        return [_put_away(connection, row, reason, actor, now) for row in rows]


def _put_away(connection: sqlite3.Connection, row: sqlite3.Row, reason: str | None, actor: str, now: int) -> Cancelled:
    moves.move(connection, row, now, "archived", outcomes.kept(row))
    run_id = row["current_run_id"]
    if run_id:
        error = f"cancelled by {actor}" + (f": {reason}" if reason else "")
        moves.supersede(connection, row, now, "reclaimed", error=error)
    if row["workspace_kind"] == "scratch" and row["workspace_path"]:
        values = {"task_id": row["id"], "run_id": run_id, "path": row["workspace_path"], "now": now}
        connection.execute(statements.ENQUEUE_CLEANUP, values)
    payload = {"cancelled": True, "reason": reason, "actor": actor}
    journal.append(connection, row["id"], "archived", payload, now, run_id)
    return Cancelled(row["id"], row["status"], run_id)
