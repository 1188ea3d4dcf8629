"""Runs whose owner may be gone: finding them, and rescuing their tasks.

Rescue is a compare-and-set on everything that the verdict was based on (status, run, lock, lease end, heartbeat
and worker pid as they were read), so that a renewal, a sign of life or a new owner in between makes it do nothing
(failure mode A8). Rule source: DESIGN.md sections 1 and 2.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from hermes_kanban_plugin import testpoints
from hermes_kanban_plugin.causes import Cause
from hermes_kanban_plugin.store import failures, journal, statements
from hermes_kanban_plugin.store.outcomes import close_run
from hermes_kanban_plugin.store.transaction import immediate

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Sequence

    from hermes_kanban_plugin.models import HeldRun


class Rescue(NamedTuple):
    """One task to take back: the run as it was seen, why, and the person who asked for it if it was one."""

    run: HeldRun
    outcome: str
    reason: str
    verdict: str
    actor: str | None = None


class Repair(NamedTuple):
    """One illegal pair that was closed: the task, the run if there is one, and what was wrong."""

    task_id: str
    run_id: int | None
    problem: str


def rescue(connection: sqlite3.Connection, rescues: Sequence[Rescue], now: int) -> list[Rescue]:
    """Take tasks back from runs that are gone, all in one transaction; no failure is counted.

    Returns:
        Those that were rescued; the others changed after they were read and were left alone.
    """
    if not rescues:
        return []
    with immediate(connection):
        saved = [one for one in rescues if _rescue_one(connection, one, now)]
        testpoints.reach("rescue.before_commit")
        return saved


def _rescue_one(connection: sqlite3.Connection, rescue: Rescue, now: int) -> bool:
    run = rescue.run
    values = {
        "task_id": run.task_id,
        "status": run.source_status if run.run_id else _column_without_run(connection, run.task_id),
        "run_id": run.run_id or 0,
        "lock": run.lock or "",
        "expires_seen": run.claim_expires or 0,
        "worker_pid_seen": run.task_worker_pid or 0,
        "heartbeat_seen": run.last_heartbeat_at or 0,
    }
    if connection.execute(statements.RESCUE_TASK, values).fetchone() is None:
        return False
    connection.execute(statements.CLEAR_SUSPECT, {"task_id": run.task_id})
    if run.run_id:
        close_run(connection, run.task_id, run.run_id, now, rescue.outcome, error=rescue.reason)
        connection.execute(statements.MARK_ENDED, {"run_id": run.run_id, "now": now})
        failures.note_end(connection, run.task_id, run.run_id, Cause.INFRASTRUCTURE)
    payload: dict[str, Any] = {
        "stale_lock": run.lock,
        "worker_pid": run.task_worker_pid,
        "claim_expires": run.claim_expires,
        "last_heartbeat_at": run.last_heartbeat_at,
        "now": now,
        "reason": rescue.reason,
        "verdict": rescue.verdict,
        "cause": Cause.INFRASTRUCTURE.value,
        **({"actor": rescue.actor} if rescue.actor else {}),
    }
    journal.append(connection, run.task_id, "reclaimed", payload, now, run.run_id)
    return True


def _column_without_run(connection: sqlite3.Connection, task_id: str) -> str:
    """Return where a task belongs that somebody wrote ``running`` on without a run: a finished one stays finished."""
    row = connection.execute(statements.LAST_MOVE, {"task_id": task_id}).fetchone()
    return "done" if row is not None and row["kind"] == "completed" else "ready"


def confirm(connection: sqlite3.Connection, run: HeldRun, now: int, patience: int) -> bool:
    """Say whether an earlier sweep suspected the same run in the same state; otherwise remember that this one does.

    What is in doubt is acted on only when two sweeps agree that are at least ``patience`` seconds apart, between
    which the lease was not renewed.
    """
    values = {
        "task_id": run.task_id,
        "run_id": run.run_id or 0,
        "claim_expires": run.claim_expires or 0,
        "now": now,
    }
    with immediate(connection):
        row = connection.execute(statements.SUSPECTED, values).fetchone()
        if row is None or row["since"] > now:  # never, or by a clock that was set back since
            connection.execute(statements.SUSPECT, values)
        return row is not None and now - row["since"] >= patience


def mark_ended(connection: sqlite3.Connection, run_ids: Sequence[int], now: int) -> None:
    """Record that the processes of closed runs are proven gone, so that their tasks may start again."""
    if run_ids:
        with immediate(connection):
            connection.executemany(statements.MARK_ENDED, [{"run_id": run_id, "now": now} for run_id in run_ids])


def repair(
    connection: sqlite3.Connection,
    now: int,
    may_touch: Callable[[str, int | None], bool] = lambda task_id, run_id: True,
    actor: str | None = None,
) -> list[Repair]:
    """Close every pair of task and run that may not exist; opens no write transaction when there is none.

    A lock or run on a task that is not running is cleared, and an open run that no running task points to is closed,
    each with an event that says so. A finished task stays finished.

    Args:
        connection: a writer.
        now: epoch seconds.
        may_touch: whether a pair of task and run may be closed.
        actor: the person for whom it is done, if any.
    """
    if not _has_strays(connection):
        return []
    with immediate(connection):
        strays = connection.execute(statements.STRAY_LOCKS).fetchall()
        locks = [
            _clear_lock(connection, row, now, actor) for row in strays if may_touch(row["id"], row["current_run_id"])
        ]
        left = connection.execute(statements.STRAY_RUNS).fetchall()
        runs = [_close_stray(connection, row, now, actor) for row in left if may_touch(row["task_id"], row["id"])]
    return [found for found in (*locks, *runs) if found is not None]


def _has_strays(connection: sqlite3.Connection) -> bool:
    queries = (statements.STRAY_LOCKS, statements.STRAY_RUNS)
    return any(connection.execute(f"{query} LIMIT 1").fetchone() is not None for query in queries)


def _clear_lock(connection: sqlite3.Connection, row: sqlite3.Row, now: int, actor: str | None) -> Repair | None:
    values = {
        "task_id": row["id"],
        "status": row["status"],
        "lock": row["claim_lock"] or "",
        "run_id": row["current_run_id"] or 0,
    }
    if connection.execute(statements.CLEAR_STRAY_LOCK, values).fetchone() is None:
        return None
    problem = f"claim on a task that is {row['status']}"
    payload = {"stale_lock": row["claim_lock"], "worker_pid": row["worker_pid"], "now": now, "reason": problem}
    payload |= {"actor": actor} if actor else {}
    journal.append(connection, row["id"], "reclaimed", payload, now, row["current_run_id"])
    return Repair(row["id"], row["current_run_id"], problem)


def _close_stray(connection: sqlite3.Connection, row: sqlite3.Row, now: int, actor: str | None) -> Repair | None:
    problem = f"open run of a task that is {row['status'] or 'gone'}"
    values = {"run_id": row["id"], "task_id": row["task_id"], "now": now, "reason": problem}
    if connection.execute(statements.CLOSE_STRAY_RUN, values).fetchone() is None:
        return None
    failures.note_end(connection, row["task_id"], row["id"], Cause.SUPERSEDED)
    payload = {"now": now, "reason": problem, **({"actor": actor} if actor else {})}
    journal.append(connection, row["task_id"], "reclaimed", payload, now, row["id"])
    return Repair(row["task_id"], row["id"], problem)
