"""Completions that wait for a person: late ones, and those that were not verified or say no.

The write of a worker whose run was closed by somebody else is refused like every other one of a run that is not
current. But if nobody has begun anew, its hand-off is kept beside the board. So is one whose declared checks fail, or
whose verdict is negative: its run ends, and its task is blocked. Nothing is started on the task before the hand-off was
accepted or rejected. Standard library only. Rule source: failure modes D2, D4, J4.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple

from hermes_kanban_plugin.errors import ChangedMeanwhile, NoLateCompletion, UnknownTask
from hermes_kanban_plugin.rules import first_line
from hermes_kanban_plugin.store import blocks, failures, journal, moves, outcomes, statements
from hermes_kanban_plugin.store.attempts import newest_attempt
from hermes_kanban_plugin.store.outcomes import Handoff, StoredArtifact
from hermes_kanban_plugin.store.transaction import immediate

if TYPE_CHECKING:
    import sqlite3

    from hermes_kanban_plugin.store.leases import Lease

_NEWEST_RUN = newest_attempt(":task_id")

# Only the newest run, closed by somebody else or given up by its worker, and only from whoever held its lock.
KEEP_COMPLETION = f"""
INSERT INTO kp_completions (task_id, run_id, at, summary, result, metadata, artifacts, cards)
SELECT kp_runs.task_id, kp_runs.run_id, :now, :summary, :result, :metadata, :artifacts, :cards
FROM kp_runs JOIN task_runs ON task_runs.id = kp_runs.run_id JOIN tasks ON tasks.id = kp_runs.task_id
WHERE kp_runs.run_id = :run_id AND kp_runs.task_id = :task_id AND kp_runs.claim_lock = :lock
    AND task_runs.ended_at IS NOT NULL
    AND (kp_runs.final_word_at IS NULL OR task_runs.outcome NOT IN ('completed', 'blocked'))
    AND tasks.current_run_id IS NULL AND tasks.status NOT IN ('done', 'archived')
    AND kp_runs.run_id = {_NEWEST_RUN}
ON CONFLICT (task_id, run_id) DO UPDATE SET
    at = excluded.at, summary = excluded.summary, result = excluded.result, metadata = excluded.metadata,
    artifacts = excluded.artifacts, cards = excluded.cards
WHERE kp_completions.decided_at IS NULL
RETURNING run_id"""

# The run has just been closed by its own worker, in the same transaction.
WITHHOLD_COMPLETION = """
INSERT INTO kp_completions (task_id, run_id, at, summary, result, metadata, artifacts, cards)
VALUES (:task_id, :run_id, :now, :summary, :result, :metadata, :artifacts, :cards)"""

# A worker that ended its own run as blocked and left a completion has handed over what was withheld.
WITHHELD = """
SELECT 1 FROM kp_runs JOIN task_runs ON task_runs.id = kp_runs.run_id
WHERE kp_runs.run_id = :run_id AND kp_runs.task_id = :task_id AND kp_runs.final_word_at IS NOT NULL
    AND task_runs.outcome = 'blocked'"""

# A run that was started since makes what was handed over before it a thing of the past.
PENDING_COMPLETION = f"""
SELECT * FROM kp_completions
WHERE task_id = :task_id AND decided_at IS NULL AND run_id = {_NEWEST_RUN}"""

DECIDE_COMPLETION = """
UPDATE kp_completions SET decided_at = :now, decision = :decision, actor = :actor
WHERE task_id = :task_id AND run_id = :run_id AND decided_at IS NULL
RETURNING run_id"""

ACCEPT_TASK = """
UPDATE tasks SET
    status = 'done', result = :result, completed_at = :now, claim_lock = NULL, claim_expires = NULL,
    worker_pid = NULL, block_kind = NULL, block_recurrences = 0, consecutive_failures = 0, last_failure_error = NULL
WHERE id = :task_id AND status = :status AND current_run_id IS NULL AND status NOT IN ('done', 'archived')
RETURNING id"""


class LateCompletion(NamedTuple):
    """A hand-off that waits for a decision: of which run, since when (epoch seconds), and what it says."""

    task_id: str
    run_id: int
    at: int
    handoff: Handoff


def keep(connection: sqlite3.Connection, lease: Lease, handoff: Handoff, now: int) -> bool:
    """Keep the hand-off of a run that is not current any more, if it can still be accepted; returns whether it was.

    A second one by the same run replaces the first, until somebody decides.
    """
    with immediate(connection):
        if connection.execute(KEEP_COMPLETION, _values(lease, handoff, now)).fetchone() is None:
            return False
        payload = {"run_id": lease.run_id, "summary": first_line(handoff.summary or handoff.result, 400)}
        journal.append(connection, lease.task_id, "late_completion", payload, now, lease.run_id)
        return True


def withhold(connection: sqlite3.Connection, lease: Lease, handoff: Handoff, reason: str, now: int) -> None:
    """End the run of a worker that is done, and keep its hand-off until a person accepts it.

    Args:
        connection: a writer.
        lease: the current lease.
        handoff: what the worker hands over.
        reason: why it is not accepted at once, for a person.
        now: epoch seconds.

    Raises:
        Superseded: the run is not current any more; nothing was written.
    """
    with immediate(connection):
        blocks.hold(connection, lease, reason, handoff.metadata, now)
        connection.execute(WITHHOLD_COMPLETION, _values(lease, handoff, now))


def _values(lease: Lease, handoff: Handoff, now: int) -> dict[str, Any]:
    return {
        **lease._asdict(),
        "now": now,
        "summary": handoff.summary,
        "result": handoff.result,
        "metadata": json.dumps(handoff.metadata, ensure_ascii=False) if handoff.metadata else None,
        "artifacts": json.dumps([artifact._asdict() for artifact in handoff.artifacts]),
        "cards": json.dumps(list(handoff.verified_cards)),
    }


def pending(connection: sqlite3.Connection, task_id: str) -> LateCompletion | None:
    """Return the completion of a task that waits for a decision, or None."""
    row = connection.execute(PENDING_COMPLETION, {"task_id": task_id}).fetchone()
    return _completion(row) if row else None


def _completion(row: sqlite3.Row) -> LateCompletion:
    artifacts = [StoredArtifact(**fields) for fields in json.loads(row["artifacts"] or "[]")]
    metadata = json.loads(row["metadata"]) if row["metadata"] else None
    handoff = Handoff(row["summary"], row["result"], metadata, json.loads(row["cards"] or "[]"), artifacts)
    return LateCompletion(row["task_id"], row["run_id"], row["at"], handoff)


def accept(connection: sqlite3.Connection, task_id: str, actor: str, now: int) -> list[str]:
    """Take a late completion for the end of its task; returns the ids of the children that became ready.

    The run keeps the end that it had; the hand-off stands on a run of no length beside it.

    Raises:
        UnknownTask: the task is not on the board.
        NoLateCompletion: nothing waits for a decision.
        ChangedMeanwhile: the task was taken or finished by somebody else; nothing was done.
    """
    with immediate(connection):
        row, late = _undecided(connection, task_id)
        values = {"task_id": task_id, "status": row["status"], "result": late.handoff.result, "now": now}
        if connection.execute(ACCEPT_TASK, values).fetchone() is None:
            raise ChangedMeanwhile(task_id)
        failures.forgive(connection, task_id, now)
        _decide(connection, late, "accepted", actor, now)
        run_id = _record(connection, late, now)
        return outcomes.record_completion(connection, row, run_id, late.handoff, now, actor)


def reject(connection: sqlite3.Connection, task_id: str, actor: str, now: int) -> LateCompletion:
    """Refuse a completion; the task goes on from where it is, and one that was withheld runs again.

    Returns what was refused.

    Raises:
        UnknownTask: the task is not on the board.
        NoLateCompletion: nothing waits for a decision.
    """
    with immediate(connection):
        row, late = _undecided(connection, task_id)
        _decide(connection, late, "rejected", actor, now)
        payload = {"run_id": late.run_id, "actor": actor}
        journal.append(connection, task_id, "late_completion_rejected", payload, now, late.run_id)
        withheld = connection.execute(WITHHELD, {"task_id": task_id, "run_id": late.run_id}).fetchone()
        if withheld and row["status"] == "blocked":
            moves.unblock(connection, task_id, actor, now)
        return late


def _undecided(connection: sqlite3.Connection, task_id: str) -> tuple[sqlite3.Row, LateCompletion]:
    row: sqlite3.Row | None = connection.execute(statements.SELECT_TASK, {"task_id": task_id}).fetchone()
    if row is None:
        raise UnknownTask(task_id)
    late = pending(connection, task_id)
    if late is None:
        raise NoLateCompletion(task_id)
    return row, late


def _decide(connection: sqlite3.Connection, late: LateCompletion, decision: str, actor: str, now: int) -> None:
    values = {"task_id": late.task_id, "run_id": late.run_id, "decision": decision, "actor": actor, "now": now}
    if connection.execute(DECIDE_COMPLETION, values).fetchone() is None:
        raise ChangedMeanwhile(late.task_id)


def _record(connection: sqlite3.Connection, late: LateCompletion, now: int) -> int:
    metadata: dict[str, Any] = {**(late.handoff.metadata or {}), "accepted_from_run": late.run_id}
    summary = late.handoff.summary if late.handoff.summary is not None else late.handoff.result
    values = {
        "task_id": late.task_id,
        "now": now,
        "outcome": "completed",
        "run_status": "completed",
        "summary": summary,
        "metadata": json.dumps(metadata, ensure_ascii=False),
    }
    return int(connection.execute(statements.INSERT_ENDED_RUN, values).fetchone()["id"])
