"""Tasks that wait for a time: parked with the moment at which they come back, which the host's board has no place for.

A timer is set by a person and belongs to one parking: a task that was opened, or parked again without a time, is not
woken by it. Standard library only. Rule source: failure mode D11, DESIGN.md section 1, promise 4.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hermes_kanban_plugin.store import journal, moves, outcomes, statements
from hermes_kanban_plugin.store.connection import columns_of
from hermes_kanban_plugin.store.transaction import immediate

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Mapping, Sequence

# The newest parking of the task is the one that the timer was set with.
_STANDS = """
EXISTS (
    SELECT 1 FROM kp_timers
    WHERE kp_timers.task_id = tasks.id AND kp_timers.due_at <= :now AND kp_timers.event_id = (
        SELECT max(task_events.id) FROM task_events
        WHERE task_events.task_id = tasks.id AND task_events.kind = 'scheduled'))"""

SET = """
INSERT INTO kp_timers (task_id, event_id, due_at, actor) VALUES (:task_id, :event_id, :due_at, :actor)
ON CONFLICT (task_id) DO UPDATE SET
    event_id = excluded.event_id, due_at = excluded.due_at, actor = excluded.actor"""

NEWEST_PARKING = "SELECT max(id) AS id FROM task_events WHERE task_id = :task_id AND kind = 'scheduled'"

DUE = "SELECT task_id, due_at FROM kp_timers WHERE due_at <= :now ORDER BY due_at, task_id"

WAKE = f"""
UPDATE tasks SET status = CASE WHEN {statements.PARENTS_FINISHED} THEN 'ready' ELSE 'todo' END
WHERE status = 'scheduled' AND claim_lock IS NULL AND current_run_id IS NULL AND id = :task_id AND {_STANDS}
RETURNING id, status"""

FORGET = "DELETE FROM kp_timers WHERE task_id = :task_id AND due_at <= :now"


def park(connection: sqlite3.Connection, task_id: str, due_at: int, reason: str | None, actor: str, now: int) -> None:
    """Put a task that does not run away until a moment, in epoch seconds.

    Raises:
        UnknownTask, WrongState: nothing was done.
    """
    with immediate(connection):
        row = moves.movable(connection, task_id, "schedule", ("todo", "ready", "blocked", "scheduled"), None)
        moves.move(connection, row, now, "scheduled", outcomes.kept(row))
        _set(connection, task_id, due_at, reason, actor, now)


def create(
    connection: sqlite3.Connection, fields: Mapping[str, Any], parents: Sequence[str], due_at: int | None, now: int
) -> str:
    """Add a task, one that starts at a moment or at once; returns its id, or that of the task that has its key already.

    Raises:
        InvalidArgument: a parent does not exist.
    """
    if due_at is None:
        return moves.create(connection, fields, parents, now)
    with immediate(connection):
        task_id = moves.create(connection, {**fields, "status": "scheduled"}, parents, now)
        row = connection.execute(NEWEST_PARKING, {"task_id": task_id}).fetchone()
        task = connection.execute(statements.SELECT_TASK, {"task_id": task_id}).fetchone()
        if row["id"] is None and task["status"] == "scheduled":
            _set(connection, task_id, due_at, None, str(fields["created_by"]), now)
        return task_id


def _set(connection: sqlite3.Connection, task_id: str, due_at: int, reason: str | None, actor: str, now: int) -> None:
    said = {"reason": reason, "due_at": due_at, "actor": actor}
    journal.append(connection, task_id, "scheduled", said, now)
    event = connection.execute(NEWEST_PARKING, {"task_id": task_id}).fetchone()["id"]
    values = {"task_id": task_id, "event_id": event, "due_at": due_at, "actor": actor}
    connection.execute(SET, values)


def wake(connection: sqlite3.Connection, now: int) -> list[str]:
    """Bring back every task whose time has come; returns their ids. Opens no write transaction when there is none."""
    if connection.execute(f"{DUE} LIMIT 1", {"now": now}).fetchone() is None:
        return []
    with immediate(connection):
        woken = []
        for timer in connection.execute(DUE, {"now": now}).fetchall():
            values = {"task_id": timer["task_id"], "now": now}
            row = connection.execute(WAKE, values).fetchone()
            connection.execute(FORGET, values)
            if row is not None:
                said = {"due_at": timer["due_at"], "status": row["status"], "reason": "its time has come"}
                journal.append(connection, row["id"], "promoted", said, now)
                woken.append(str(row["id"]))
        return woken


def due_at(connection: sqlite3.Connection, task_id: str) -> int | None:
    """Return when a parked task comes back by itself, epoch seconds, or None."""
    if not columns_of(connection, "kp_timers"):
        return None
    query = f"SELECT due_at FROM kp_timers WHERE task_id = :task_id AND event_id = ({NEWEST_PARKING})"
    row = connection.execute(query, {"task_id": task_id}).fetchone()
    return int(row["due_at"]) if row else None
