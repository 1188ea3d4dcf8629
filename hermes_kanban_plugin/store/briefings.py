"""What an unfinished attempt tells the next one: a comment that its worker reads, inside the caller's transaction.

Standard library only: the supervisor uses this module too. Rule source: failure modes D1, F8, F12.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hermes_kanban_plugin import handoff
from hermes_kanban_plugin.causes import Cause
from hermes_kanban_plugin.store import journal
from hermes_kanban_plugin.store.attempts import newest_attempt
from hermes_kanban_plugin.store.statements import INSERT_COMMENT

if TYPE_CHECKING:
    import sqlite3

    from hermes_kanban_plugin.handoff import Remains
    from hermes_kanban_plugin.store.leases import Lease

SELECT_CAUSE = "SELECT cause FROM kp_runs WHERE run_id = :run_id AND task_id = :task_id"

# A run that its own worker gave up, and that nothing followed yet.
GIVEN_UP = f"""
SELECT task_runs.error FROM kp_runs
    JOIN task_runs ON task_runs.id = kp_runs.run_id JOIN tasks ON tasks.id = kp_runs.task_id
WHERE kp_runs.run_id = :run_id AND kp_runs.task_id = :task_id AND kp_runs.cause = :cause
    AND tasks.current_run_id IS NULL AND tasks.status NOT IN ('done', 'archived')
    AND kp_runs.run_id = {newest_attempt(":task_id")}"""


def leave(connection: sqlite3.Connection, lease: Lease, cause: Cause, error: str, remains: Remains, now: int) -> None:
    """Comment on a task what an attempt left behind and what is to be done."""
    body = handoff.briefing(lease.run_id, cause, error, remains)
    values = {"task_id": lease.task_id, "author": handoff.AUTHOR, "body": body, "now": now}
    connection.execute(INSERT_COMMENT, values).fetchone()
    payload = {"author": handoff.AUTHOR, "len": len(body)}
    journal.append(connection, lease.task_id, "commented", payload, now, lease.run_id)


def leave_afterwards(connection: sqlite3.Connection, lease: Lease, remains: Remains, now: int) -> None:
    """Do the same for a run that its worker itself gave up because its budget was used up, before the next one."""
    values = {"task_id": lease.task_id, "run_id": lease.run_id, "cause": Cause.BUDGET_EXHAUSTED.value}
    row = connection.execute(GIVEN_UP, values).fetchone()
    if row is not None:
        leave(connection, lease, Cause.BUDGET_EXHAUSTED, row["error"] or "", remains, now)


def cause_of(connection: sqlite3.Connection, lease: Lease) -> Cause | None:
    """Return why a run ended, or None while it has not or when nobody said."""
    row = connection.execute(SELECT_CAUSE, lease._asdict()).fetchone()
    return Cause(row["cause"]) if row is not None and row["cause"] else None
