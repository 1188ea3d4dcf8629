"""The books of the circuit breaker: what a failed run costs its task, written in the transaction that ends the run.

The rules are in ``breaker`` and ``outages``; this module reads what they need and stores what they say. Standard
library only: the supervisor uses this module too.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple

from hermes_kanban_plugin import breaker
from hermes_kanban_plugin import outages as rules
from hermes_kanban_plugin.breaker import Terms
from hermes_kanban_plugin.causes import Cause
from hermes_kanban_plugin.store import flags, outages
from hermes_kanban_plugin.store.statements import SELECT_TASK

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Mapping

    from hermes_kanban_plugin.breaker import Tally

SELECT_FAILURES = "SELECT cause, failures FROM kp_failures WHERE task_id = :task_id"
FORGET_FAILURES = "DELETE FROM kp_failures WHERE task_id = :task_id"
STORE_FAILURES = "INSERT INTO kp_failures (task_id, cause, failures) VALUES (:task_id, :cause, :failures)"

NOTE_END = """
UPDATE kp_runs SET cause = :cause, signature = :signature, retry_at = :retry_at
WHERE run_id = :run_id AND task_id = :task_id"""

# The wait that the worker's provider asked for, written by the worker while it ran.
SELECT_RESET = "SELECT retry_at FROM kp_runs WHERE run_id = :run_id AND task_id = :task_id"

RECENT_CAUSES = """
SELECT cause FROM kp_runs WHERE task_id = :task_id AND run_id < :run_id ORDER BY run_id DESC LIMIT 100"""

# Why earlier runs of a task ended that never got as far as a worker, newest first; None for those that did.
RECENT_LAUNCHES = """
SELECT CASE WHEN accepted_at IS NULL THEN cause END AS cause FROM kp_runs
WHERE task_id = :task_id AND run_id < :run_id ORDER BY run_id DESC LIMIT 100"""

PUT_OFF = "UPDATE kp_runs SET retry_at = :retry_at WHERE run_id = :run_id AND task_id = :task_id"

LIFT_WAIT = """
UPDATE kp_runs SET retry_at = :now
WHERE task_id = :task_id AND run_id = (SELECT max(id) FROM task_runs WHERE task_runs.task_id = :task_id)"""

# A failure that turned out to be an outage's: the counter goes back unless the task moved on or was given up.
RESTORE_COUNTER = """
UPDATE tasks SET consecutive_failures = :failures
WHERE id = :task_id AND status = :status AND consecutive_failures = :failures_seen
RETURNING id"""

# A breaker that has tripped is opened by a person only, and what is over is over.
SETTLED = ("blocked", "triage", "done", "archived")


class Fault(NamedTuple):
    """One failed run to book: whose, why, and what it printed last.

    ``telling`` says that its end has something to do with the reason. A worker that somebody killed tells nothing.
    """

    task_id: str
    run_id: int
    cause: Cause
    error: str
    last_output: str | None = None
    telling: bool = True

    @property
    def signature(self) -> str | None:
        """What it has in common with failures of other tasks, if anything."""
        return rules.signature(self.cause, self.error, self.last_output) if self.telling else None


class Booked(NamedTuple):
    """What a failure was booked as: counted against the task, or as part of an outage (then not counted).

    ``failures`` is what the host's counter has to say now.
    """

    tally: Tally | None
    outage_id: int | None
    retry_at: int | None
    failures: int

    @property
    def tripped(self) -> bool:
        """Whether the task is to be given up."""
        return self.tally is not None and self.tally.tripped


def book(connection: sqlite3.Connection, row: sqlite3.Row, fault: Fault, terms: Terms, now: int) -> Booked:
    """Book a failed run inside the caller's transaction; the caller moves the task.

    Args:
        connection: a writer, in a transaction.
        row: the task as it is in this transaction.
        fault: the failed run.
        terms: what the settings say.
        now: epoch seconds.
    """
    signature = fault.signature if terms.outage_tasks else None
    outage_id = _outage_of(connection, fault, signature, terms, now) if signature else None
    if outage_id is not None:
        note_end(connection, fault.task_id, fault.run_id, fault.cause, signature=signature)
        return Booked(None, outage_id, None, row["consecutive_failures"])
    tally = breaker.count(
        fault.cause,
        counts_of(connection, fault.task_id),
        row["consecutive_failures"],
        row["max_retries"],
        terms.failure_limit,
    )
    _store_counts(connection, fault.task_id, tally.counts)
    wait = 0 if tally.tripped else breaker.retry_wait(tally.counts, terms, fault.task_id, fault.run_id)
    retry_at = now + wait if wait else None
    note_end(connection, fault.task_id, fault.run_id, fault.cause, signature=signature, retry_at=retry_at)
    return Booked(tally, None, retry_at, tally.failures)


def events_of(
    fault: Fault, payload: Mapping[str, Any], booked: Booked
) -> list[tuple[str, str, Mapping[str, Any], int]]:
    """Return the history rows of a failure, in the host's words; its cause stands in them where those hide it."""
    words = fault.cause.words
    hidden = {} if fault.cause == words.event else {"cause": fault.cause.value}
    said: dict[str, Any] = {**payload, **hidden, "failures": booked.failures}
    if booked.retry_at is not None:
        said["retry_at"] = booked.retry_at
    if booked.outage_id is not None:
        said["outage"] = booked.outage_id
    events: list[tuple[str, str, Mapping[str, Any], int]] = [(fault.task_id, words.event, said, fault.run_id)]
    if booked.tally is not None and booked.tripped:
        given_up = {
            "failures": booked.failures,
            "effective_limit": booked.tally.limit,
            "limit_source": booked.tally.source,
            "error": fault.error,
            "trigger_outcome": words.outcome,
            **hidden,
        }
        events.append((fault.task_id, "gave_up", given_up, fault.run_id))
        if booked.tally.reopenable:
            # Without this row the host's own promotion would open the task again (contract W5, W21).
            reason = f"gave up after {booked.failures} failure(s): {fault.error}"
            gate = {"reason": reason, "kind": None, "recurrences": 0}
            events.append((fault.task_id, "blocked", gate, fault.run_id))
    return events


def note_end(
    connection: sqlite3.Connection,
    task_id: str,
    run_id: int,
    cause: Cause,
    *,
    signature: str | None = None,
    retry_at: int | None = None,
) -> None:
    """Write down why a run ended and from when on the next one may start; runs that are not ours have no place for it.

    Inside the caller's transaction. Epoch seconds.
    """
    values = {"task_id": task_id, "run_id": run_id, "cause": cause.value, "signature": signature, "retry_at": retry_at}
    connection.execute(NOTE_END, values)


def refuse(connection: sqlite3.Connection, task_id: str, run_id: int, terms: Terms, now: int) -> tuple[int, bool]:
    """Write down that the provider refused, and from when on the task may ask again; nothing is counted.

    Inside the caller's transaction.

    Returns:
        That time, epoch seconds, and whether this is the refusal after which the wait does not grow any more.
    """
    ids = {"task_id": task_id, "run_id": run_id}
    told = connection.execute(SELECT_RESET, ids).fetchone()
    earlier = [row["cause"] for row in connection.execute(RECENT_CAUSES, ids)]
    streak = breaker.refusal_streak(earlier) + 1
    retry_at = breaker.retry_after_refusal(now, told["retry_at"] if told else None, streak, terms)
    note_end(connection, task_id, run_id, Cause.RATE_LIMITED, retry_at=retry_at)
    return retry_at, breaker.refusals_persist(streak, terms)


def launch_again_at(connection: sqlite3.Connection, task_id: str, run_id: int, now: int) -> int | None:
    """Return from when on a task may be launched again whose launch came to nothing, or None for at once; reads only.

    Epoch seconds.
    """
    rows = connection.execute(RECENT_LAUNCHES, {"task_id": task_id, "run_id": run_id})
    wait = breaker.launch_wait(breaker.launch_streak(row["cause"] for row in rows) + 1, task_id, run_id)
    return now + wait if wait else None


def put_off(connection: sqlite3.Connection, task_id: str, run_id: int, retry_at: int) -> None:
    """Let a task not start before a moment, epoch seconds; inside the transaction that ended its run."""
    connection.execute(PUT_OFF, {"task_id": task_id, "run_id": run_id, "retry_at": retry_at})


def publish_terms(connection: sqlite3.Connection, terms: Terms, now: int) -> None:
    """Put the terms in force on the board, for the supervisors of runs that go on; writes only what is new."""
    value, found = json.dumps(terms._asdict()), flags.find(connection, flags.TERMS)
    if found is None or found.value != value:
        flags.put(connection, flags.TERMS, value, "dispatcher", now)


def terms_in_force(connection: sqlite3.Connection, otherwise: Terms) -> Terms:
    """Return the terms that a dispatcher put on the board last, or the given ones if none or another version did."""
    found = flags.find(connection, flags.TERMS)
    try:
        return Terms(**json.loads(found.value)) if found is not None else otherwise
    except (TypeError, ValueError):
        return otherwise


def counts_of(connection: sqlite3.Connection, task_id: str) -> dict[str, int]:
    """Return the failures of a task by cause, as stored (see :func:`hermes_kanban_plugin.breaker.standing`)."""
    rows = connection.execute(SELECT_FAILURES, {"task_id": task_id})
    return {row["cause"]: row["failures"] for row in rows}


def forgive(connection: sqlite3.Connection, task_id: str, now: int) -> None:
    """Forget a task's failures and waits because a person says so; if it waits for an outage, it probes next.

    Inside the caller's transaction, which also sets the host's counter to 0.
    """
    connection.execute(FORGET_FAILURES, {"task_id": task_id})
    lift(connection, task_id, now)


def lift(connection: sqlite3.Connection, task_id: str, now: int) -> None:
    """Let a task wait no longer for its next attempt, whatever it waited for; inside the caller's transaction."""
    connection.execute(LIFT_WAIT, {"task_id": task_id, "now": now})
    outages.let_probe(connection, task_id, now)


def _outage_of(connection: sqlite3.Connection, fault: Fault, signature: str, terms: Terms, now: int) -> int | None:
    """Return the outage that a failure belongs to, beginning one if enough tasks have failed the same way."""
    known = outages.join(connection, signature, fault.run_id, now)
    if known is not None:
        return known
    others = outages.alike(connection, signature, fault.run_id, now)
    if len({failed.task_id for failed in others} | {fault.task_id}) < terms.outage_tasks:
        return None
    _take_back(connection, fault, others)
    return outages.begin(connection, signature, fault.cause, fault.run_id, others, now)


def _take_back(connection: sqlite3.Connection, fault: Fault, others: list[outages.Alike]) -> None:
    """Give the other tasks that failed so their counts back, unless they were given up already."""
    times: dict[str, int] = {}
    for failed in others:
        if failed.task_id == fault.task_id:
            continue  # the caller is about to move this one
        times[failed.task_id] = times.get(failed.task_id, 0) + 1
    for task_id, number in times.items():
        row = connection.execute(SELECT_TASK, {"task_id": task_id}).fetchone()
        if row is None or row["status"] in SETTLED:
            continue
        seen = row["consecutive_failures"]
        left, failures = breaker.take_back(fault.cause, counts_of(connection, task_id), seen, number)
        values = {"task_id": task_id, "status": row["status"], "failures": failures, "failures_seen": seen}
        if connection.execute(RESTORE_COUNTER, values).fetchone() is not None:
            _store_counts(connection, task_id, left)


def _store_counts(connection: sqlite3.Connection, task_id: str, counts: Mapping[str, int]) -> None:
    connection.execute(FORGET_FAILURES, {"task_id": task_id})
    rows = [{"task_id": task_id, "cause": cause, "failures": number} for cause, number in counts.items()]
    connection.executemany(STORE_FAILURES, rows)
