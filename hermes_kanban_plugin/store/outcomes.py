"""How a run ends when its own worker or supervisor says so: completed, blocked, failed, released.

Each function is one transaction around one fenced change of the task; nobody can end a run that is not the current
one. Standard library only: the supervisor uses this module too. Rule source: contract section 3.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple

from hermes_kanban_plugin import rules
from hermes_kanban_plugin.breaker import Terms
from hermes_kanban_plugin.causes import Cause
from hermes_kanban_plugin.store import briefings, failures, journal, leases, promotion, statements
from hermes_kanban_plugin.store.transaction import immediate

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Mapping, Sequence

    from hermes_kanban_plugin.handoff import Remains
    from hermes_kanban_plugin.store.leases import Lease

MAX_FAILURE_TEXT = 500


class StoredArtifact(NamedTuple):
    """A deliverable that was copied out of a scratch workspace; ``size`` in bytes."""

    filename: str
    stored_path: str
    size: int


class Handoff(NamedTuple):
    """What a finished task hands to people and to the tasks that follow."""

    summary: str | None = None
    result: str | None = None
    metadata: dict[str, Any] | None = None
    verified_cards: Sequence[str] = ()
    artifacts: Sequence[StoredArtifact] = ()


class Failure(NamedTuple):
    """Why an attempt failed, what the history says of it, and by which terms it counts.

    ``last_output`` is what the worker printed last, ``remains`` what it leaves to the next one; ``telling`` is False
    when it was killed from outside, which says nothing about the reason.
    """

    cause: Cause
    error: str
    payload: Mapping[str, Any]
    terms: Terms = Terms()
    last_output: str | None = None
    remains: Remains | None = None
    telling: bool = True


class ExitFacts(NamedTuple):
    """What the supervisor saw when its worker ended: status, seconds of CPU, bytes of memory, lines of output.

    ``first_output`` is empty when ``last_output`` is all of it.
    """

    exit_code: int | None = None
    exit_signal: int | None = None
    user_seconds: float | None = None
    system_seconds: float | None = None
    peak_memory_bytes: int | None = None
    last_output: str | None = None
    first_output: str | None = None


def complete(connection: sqlite3.Connection, lease: Lease, handoff: Handoff, now: int) -> list[str]:
    """Finish the task, keep the hand-off, queue its scratch workspace for removal and promote its children.

    Returns:
        The ids of the children that became ready.

    Raises:
        Superseded: the run is not current any more; nothing was written.
    """
    with immediate(connection):
        row = leases.current(connection, lease)
        changes = {"block_kind": None, "block_recurrences": 0, "failures": 0, "failure_error": None}
        finish(connection, lease, row, now, "done", changes, result=handoff.result)
        summary, metadata = _summary(handoff), handoff.metadata
        close_run(connection, lease.task_id, lease.run_id, now, "completed", summary=summary, metadata=metadata)
        connection.execute(statements.NOTE_OWN_END, {**lease._asdict(), "now": now, "cause": Cause.COMPLETED})
        return record_completion(connection, row, lease.run_id, handoff, now)


def record_completion(
    connection: sqlite3.Connection,
    row: sqlite3.Row,
    run_id: int | None,
    handoff: Handoff,
    now: int,
    actor: str | None = None,
) -> list[str]:
    """Write what follows from a task being done: attachments, history, clean-up, promotion; returns promoted ids.

    ``actor`` is who declared it done by hand, None when its own worker did.
    """
    task_id = row["id"]
    events: list[tuple[str, str, Mapping[str, Any] | None, int | None]] = []
    for artifact in handoff.artifacts:
        connection.execute(statements.INSERT_ATTACHMENT, {"task_id": task_id, "now": now, **artifact._asdict()})
        payload = {"filename": artifact.filename, "size": artifact.size, "by": "kanban_complete"}
        events.append((task_id, "attached", payload, None))
    completed = {**_completed_payload(handoff), **({"actor": actor} if actor else {})}
    events.append((task_id, "completed", completed, run_id))
    suspects = _phantom_references(connection, handoff)
    if suspects:
        payload = {"phantom_refs": suspects, "source": "completion_summary"}
        events.append((task_id, "suspected_hallucinated_references", payload, run_id))
    journal.append_many(connection, events, now)
    if row["workspace_kind"] == "scratch" and row["workspace_path"]:
        values = {"task_id": task_id, "run_id": run_id, "path": row["workspace_path"], "now": now}
        connection.execute(statements.ENQUEUE_CLEANUP, values)
    return promotion.promote_children(connection, task_id, now)


def fail(connection: sqlite3.Connection, lease: Lease, failure: Failure, now: int) -> str:
    """End the run as a counted failure; returns ``ready`` (or the column it came from) or ``blocked`` (breaker).

    The end of the run and the count are one transaction (contract W14, W28).

    Raises:
        Superseded: the run is not current any more; nothing was written.
    """
    cause, error = failure.cause, failure.error[:MAX_FAILURE_TEXT]
    fault = failures.Fault(lease.task_id, lease.run_id, cause, error, failure.last_output, failure.telling)
    with immediate(connection):
        row = leases.current(connection, lease)
        booked = failures.book(connection, row, fault, failure.terms, now)
        status = "blocked" if booked.tripped else source_status(connection, lease.run_id)
        finish(connection, lease, row, now, status, {**kept(row), "failures": booked.failures, "failure_error": error})
        # A launch that trips the breaker is booked as given up; a crash or time limit keeps its own word.
        outcome = "gave_up" if booked.tripped and cause is Cause.SPAWN_FAILED else cause.words.outcome
        left = {"unfinished": failure.remains.facts()} if failure.remains else None
        close_run(connection, lease.task_id, lease.run_id, now, outcome, error=error, metadata=left)
        if failure.remains:
            briefings.leave(connection, lease, cause, error, failure.remains, now)
        journal.append_many(connection, failures.events_of(fault, failure.payload, booked), now)
        return status


def release(
    connection: sqlite3.Connection,
    lease: Lease,
    cause: Cause,
    error: str,
    payload: Mapping[str, Any],
    now: int,
    terms: Terms = Terms(),  # noqa: B008 - immutable
) -> str:
    """Give the task back without counting a failure; returns the column it went back to.

    Args:
        connection: a writer.
        lease: the current lease.
        cause: why, one that does not count.
        error: the reason, kept on the run.
        payload: what the history row says.
        now: epoch seconds.
        terms: how long a task waits that its provider refused.

    Raises:
        Superseded: the run is not current any more; nothing was written.
    """
    words = cause.words
    said: dict[str, Any] = {**payload, "reason": error, **({} if cause == words.event else {"cause": cause.value})}
    with immediate(connection):
        row = leases.current(connection, lease)
        status = source_status(connection, lease.run_id)
        finish(connection, lease, row, now, status, kept(row))
        close_run(connection, lease.task_id, lease.run_id, now, words.outcome, error=error)
        persists = False
        if cause is Cause.RATE_LIMITED:
            said["retry_at"], persists = failures.refuse(connection, lease.task_id, lease.run_id, terms, now)
        else:
            failures.note_end(connection, lease.task_id, lease.run_id, cause)
        journal.append(connection, lease.task_id, words.event, said, now, lease.run_id)
        if persists:
            journal.append(connection, lease.task_id, "rate_limit_persists", {"reason": error}, now, lease.run_id)
        return status


def note_retry(connection: sqlite3.Connection, lease: Lease, retry_at: int | None) -> None:
    """Keep until when a run's provider asked to wait (epoch seconds); the task is not started before."""
    connection.execute(statements.NOTE_RETRY, {**lease._asdict(), "retry_at": retry_at})


def stop_cause(connection: sqlite3.Connection, lease: Lease) -> str | None:
    """Return why the run's supervisor is stopping its worker, or None when it is not."""
    query = "SELECT stop_cause FROM kp_runs WHERE run_id = :run_id AND task_id = :task_id"
    row = connection.execute(query, lease._asdict()).fetchone()
    return row["stop_cause"] if row is not None else None


def kept(row: sqlite3.Row) -> dict[str, Any]:
    """Return the counters of a task as they are, for a change that leaves them alone."""
    return {
        "block_kind": row["block_kind"],
        "block_recurrences": row["block_recurrences"],
        "failures": row["consecutive_failures"],
        "failure_error": row["last_failure_error"],
    }


def record_exit(connection: sqlite3.Connection, lease: Lease, facts: ExitFacts, now: int | None) -> None:
    """Keep how the worker ended, and since when nothing of it is left, beside its run; it changes no task.

    Allowed for a run that is not current any more too. None means that something of it lives on, so that nothing may
    start beside it.
    """
    values = {"run_id": lease.run_id, "task_id": lease.task_id, "now": now, **facts._asdict()}
    with immediate(connection):
        connection.execute(statements.RECORD_EXIT, values)


def has_final_word(connection: sqlite3.Connection, lease: Lease) -> bool:
    """Say whether the run was ended by its own worker."""
    query = "SELECT 1 FROM kp_runs WHERE run_id = :run_id AND final_word_at IS NOT NULL"
    return connection.execute(query, {"run_id": lease.run_id}).fetchone() is not None


def source_status(connection: sqlite3.Connection, run_id: int) -> str:
    """Return the column a run was taken from, so that an unfinished review stays a review (contract W22)."""
    row = connection.execute("SELECT source_status FROM kp_runs WHERE run_id = :run_id", {"run_id": run_id}).fetchone()
    return row["source_status"] if row else "ready"


def close_run(
    connection: sqlite3.Connection,
    task_id: str,
    run_id: int,
    now: int,
    outcome: str,
    *,
    summary: str | None = None,
    metadata: dict[str, Any] | None = None,
    error: str | None = None,
) -> None:
    """Close one open run with an outcome of the host's vocabulary."""
    values = {
        "task_id": task_id,
        "run_id": run_id,
        "now": now,
        "outcome": outcome,
        "run_status": "done" if outcome == "completed" else outcome,
        "summary": summary,
        "metadata": json.dumps(metadata, ensure_ascii=False) if metadata else None,
        "error": error,
    }
    connection.execute(statements.CLOSE_RUN, values).fetchone()


def finish(
    connection: sqlite3.Connection,
    lease: Lease,
    row: sqlite3.Row,
    now: int,
    status: str,
    changes: Mapping[str, Any],
    result: str | None = None,
) -> None:
    """Free a task from its current run and put it into a column, in the caller's transaction.

    Raises:
        Superseded: the run is not current any more; nothing was written.
    """
    values = {
        **lease._asdict(),
        **changes,
        "status": status,
        "result": result,
        "now": now,
        "failures_seen": row["consecutive_failures"],
        "recurrences_seen": row["block_recurrences"],
    }
    if connection.execute(statements.FINISH_TASK, values).fetchone() is None:
        raise leases.refusal(connection, lease)


def _summary(handoff: Handoff) -> str | None:
    return handoff.summary if handoff.summary is not None else handoff.result


def _completed_payload(handoff: Handoff) -> dict[str, Any]:
    payload: dict[str, Any] = {
        "result_len": len(handoff.result or ""),
        "summary": rules.first_line(_summary(handoff), 400),
    }
    if handoff.verified_cards:
        payload["verified_cards"] = list(handoff.verified_cards)
    named = (handoff.metadata or {}).get("artifacts")
    artifacts = (
        [path.strip() for path in named if isinstance(path, str) and path.strip()] if isinstance(named, list) else []
    )
    if artifacts:
        payload["artifacts"] = artifacts
    return payload


def _phantom_references(connection: sqlite3.Connection, handoff: Handoff) -> list[str]:
    named = rules.task_references(" ".join(text for text in (handoff.summary, handoff.result) if text))
    known = set(handoff.verified_cards)
    return [
        task_id
        for task_id in named
        if task_id not in known and connection.execute(statements.SELECT_TASK, {"task_id": task_id}).fetchone() is None
    ]
