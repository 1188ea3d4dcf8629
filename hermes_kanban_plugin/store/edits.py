"""What a person mends on a task: stopping it, its claim, its skills, its failure count.

Each names its actor in the history and is one compare-and-set on what was read. Standard library only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hermes_kanban_plugin.errors import ChangedMeanwhile, UnknownTask, WrongState
from hermes_kanban_plugin.store import failures, journal, moves, outcomes, statements
from hermes_kanban_plugin.store.transaction import immediate

if TYPE_CHECKING:
    import sqlite3

    from hermes_kanban_plugin.store.moves import Seen

CLEAR_SKILLS = """
UPDATE tasks SET skills = NULL
WHERE id = :task_id AND status = :status_seen AND COALESCE(skills, '') = :skills_seen
RETURNING id"""
RESET_FAILURES = """
UPDATE tasks SET consecutive_failures = 0, last_failure_error = NULL
WHERE id = :task_id AND status = :status_seen AND consecutive_failures = :failures_seen
    AND COALESCE(last_failure_error, '') = :error_seen
RETURNING id"""
NEWEST_GATE = """
SELECT kind FROM task_events WHERE task_id = :task_id AND kind IN ('blocked', 'unblocked')
ORDER BY id DESC LIMIT 1"""


def stop(
    connection: sqlite3.Connection,
    task_id: str,
    reason: str,
    actor: str,
    now: int,
    seen: Seen,
    kind: str | None = None,
) -> None:
    """Take a task from its run and block it, as a person's gate: nothing but ``unblock`` opens it again.

    Unlike a block it is no part of the task's own story: failures and recurrences stay, and so does the block kind
    unless a ``kind`` is given.

    Raises:
        UnknownTask, WrongState, ChangedMeanwhile: nothing was done.
    """
    with immediate(connection):
        row = moves.movable(connection, task_id, "stop", ("running", "ready", "review"), seen)
        moves.move(connection, row, now, "blocked", outcomes.kept(row) | ({"block_kind": kind} if kind else {}))
        if row["current_run_id"]:
            moves.supersede(connection, row, now, "reclaimed", error=reason)
        payload = {"reason": reason, "kind": kind, "recurrences": row["block_recurrences"], "actor": actor}
        journal.append(connection, task_id, "blocked", payload, now, row["current_run_id"])


def clear_claim(connection: sqlite3.Connection, task_id: str, actor: str, now: int, seen: Seen) -> str:
    """Take away a claim that nobody living stands behind; returns the task's status then. The failure count stays.

    The caller has looked at the run's processes; ``seen`` is the row that it looked at them for.

    Raises:
        UnknownTask, WrongState, ChangedMeanwhile: nothing was done.
    """
    with immediate(connection):
        row = moves.movable(connection, task_id, "clear-claim", (seen.status,), seen)
        if row["claim_lock"] is None and row["current_run_id"] is None:
            raise WrongState(task_id, "clear-claim", row["status"], "a claim")
        status = str(row["status"])
        if status == "running":
            status = outcomes.source_status(connection, row["current_run_id"] or 0)
        moves.take_back(connection, row, status, {}, f"claim cleared by {actor}", actor, now)
        return status


def clear_skills(connection: sqlite3.Connection, task_id: str, actor: str, now: int) -> None:
    """Forget the skills that a task's worker must load.

    Raises:
        UnknownTask, ChangedMeanwhile: nothing was done.
        WrongState: it runs, and its worker has loaded them.
    """
    with immediate(connection):
        row = _row(connection, task_id)
        if row["status"] == "running":
            raise WrongState(
                task_id, "clear-skills", "running", "a task that is not", f"first: hermes-kanban stop {task_id}"
            )
        values = {"task_id": task_id, "status_seen": row["status"], "skills_seen": row["skills"] or ""}
        _change(connection, CLEAR_SKILLS, values)
        _note(connection, task_id, ["skills"], actor, now)


def reset_failures(connection: sqlite3.Connection, task_id: str, actor: str, now: int) -> None:
    """Count a task's failures anew; where it stands does not change.

    Raises:
        UnknownTask, ChangedMeanwhile: nothing was done.
    """
    with immediate(connection):
        row = _row(connection, task_id)
        values = {
            "task_id": task_id,
            "status_seen": row["status"],
            "failures_seen": row["consecutive_failures"],
            "error_seen": row["last_failure_error"] or "",
        }
        _change(connection, RESET_FAILURES, values)
        failures.forgive(connection, task_id, now)
        _note(connection, task_id, ["consecutive_failures", "last_failure_error"], actor, now)
        if row["status"] == "blocked" and _newest_gate(connection, task_id) != "blocked":
            # A breaker's block held by its count alone: without this row the host would open it now (contract W5).
            payload = {
                "reason": "its failures are counted anew", "kind": None, "recurrences": row["block_recurrences"],
                "actor": actor,
            }  # fmt: skip
            journal.append(connection, task_id, "blocked", payload, now)


def retry_now(connection: sqlite3.Connection, task_id: str, actor: str, now: int) -> None:
    """Let a task wait no longer for its next attempt; if it waits for an outage, it probes. Its count stays.

    Raises:
        UnknownTask: nothing was done.
        WrongState: it does not wait to be started.
    """
    with immediate(connection):
        moves.movable(connection, task_id, "retry", ("ready", "review", "todo", "scheduled"), None)
        failures.lift(connection, task_id, now)
        _note(connection, task_id, ["retry_at"], actor, now)


def _row(connection: sqlite3.Connection, task_id: str) -> sqlite3.Row:
    row: sqlite3.Row | None = connection.execute(statements.SELECT_TASK, {"task_id": task_id}).fetchone()
    if row is None:
        raise UnknownTask(task_id)
    return row


def _change(connection: sqlite3.Connection, statement: str, values: dict[str, Any]) -> None:
    if connection.execute(statement, values).fetchone() is None:
        raise ChangedMeanwhile(values["task_id"])


def _note(connection: sqlite3.Connection, task_id: str, fields: list[str], actor: str, now: int) -> None:
    journal.append(connection, task_id, "edited", {"fields": fields, "actor": actor}, now)


def _newest_gate(connection: sqlite3.Connection, task_id: str) -> str | None:
    row = connection.execute(NEWEST_GATE, {"task_id": task_id}).fetchone()
    return row["kind"] if row else None
