"""Blocks: a run ends because its work cannot go on, and where its task waits then.

Rule source: contract section 3 (block kinds).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hermes_kanban_plugin import rules
from hermes_kanban_plugin.causes import Cause
from hermes_kanban_plugin.store import journal, leases, outcomes, statements
from hermes_kanban_plugin.store.transaction import immediate

if TYPE_CHECKING:
    import sqlite3

    from hermes_kanban_plugin.store.leases import Lease


# The newest of these says how a card came into triage (contract W11).
_CAME_TO_TRIAGE = """
SELECT kind FROM task_events
WHERE task_id = :task_id
    AND kind IN ('block_loop_detected', 'specified', 'decomposed', 'status', 'created', 'unblocked')
ORDER BY id DESC LIMIT 1"""
# What a finished task waits for that is not accepted: a decision.
HELD_KIND = "needs_input"


def block(connection: sqlite3.Connection, lease: Lease, reason: str, kind: str | None, now: int) -> str:
    """End the run because the work cannot go on; returns the status the task landed in.

    Raises:
        Superseded: the run is not current any more; nothing was written.
    """
    with immediate(connection):
        row = leases.current(connection, lease)
        way = route(connection, row, kind)
        changes = {**outcomes.kept(row), "block_kind": kind, "block_recurrences": way.recurrences}
        outcomes.finish(connection, lease, row, now, way.status, changes)
        outcomes.close_run(connection, lease.task_id, lease.run_id, now, "blocked", summary=reason)
        connection.execute(statements.NOTE_OWN_END, {**lease._asdict(), "now": now, "cause": Cause.BLOCKED})
        journal.append(connection, lease.task_id, way.event, payload(way, reason, kind), now, lease.run_id)
        return way.status


def hold(connection: sqlite3.Connection, lease: Lease, reason: str, metadata: dict[str, Any] | None, now: int) -> None:
    """End a run whose work is finished and may not count yet: its task waits for a person, like any other gate.

    That is no block of the worker's, so it brings the loop breaker no nearer (failure mode J9).

    Raises:
        Superseded: the run is not current any more; nothing was written.
    """
    with immediate(connection):
        row = leases.current(connection, lease)
        changes = {**outcomes.kept(row), "block_kind": HELD_KIND}
        outcomes.finish(connection, lease, row, now, "blocked", changes)
        outcomes.close_run(connection, lease.task_id, lease.run_id, now, "blocked", summary=reason, metadata=metadata)
        connection.execute(statements.NOTE_OWN_END, {**lease._asdict(), "now": now, "cause": Cause.BLOCKED})
        said = {"reason": reason, "kind": HELD_KIND, "recurrences": row["block_recurrences"], "withheld": True}
        journal.append(connection, lease.task_id, "blocked", said, now, lease.run_id)


def route(connection: sqlite3.Connection, row: sqlite3.Row, kind: str | None) -> rules.BlockRoute:
    """Decide where a block of this task leads, looking at its parents."""
    parents = connection.execute(statements.OPEN_PARENTS, {"task_id": row["id"]}).fetchone()[0]
    return rules.route_block(kind, row["block_kind"], row["block_recurrences"], open_parents=bool(parents))


def payload(way: rules.BlockRoute, reason: str | None, kind: str | None) -> dict[str, Any]:
    """Return the history payload of a block, with the host's fields for each kind of event."""
    said: dict[str, Any] = {"reason": reason, "kind": kind}
    if way.event != "dependency_wait":
        said["recurrences"] = way.recurrences
    if way.event == "block_loop_detected":
        said["limit"] = rules.BLOCK_RECURRENCE_LIMIT
    return said


def openable(connection: sqlite3.Connection, task_id: str) -> tuple[str, ...]:
    """Return the columns that a person may open a task from: triage only if the loop breaker parked it there."""
    newest = connection.execute(_CAME_TO_TRIAGE, {"task_id": task_id}).fetchone()
    parked = newest is not None and newest["kind"] == "block_loop_detected"
    return ("blocked", "scheduled", "triage") if parked else ("blocked", "scheduled")


def forgiven(row: sqlite3.Row) -> dict[str, Any]:
    """Return what opening a card changes besides its column: one that was parked may be blocked anew."""
    return {"block_recurrences": 0} if row["status"] == "triage" else {}
