"""Leases: who may work on a task, until when, and the proof that each later write has to carry.

A claim opens a run. The run's id only grows and is the fencing token; the claim lock is unique per claim and still
reads ``<host>:<pid>:…`` for the host. Every write of a worker names both, and a write that matches no row raises
:class:`~hermes_kanban_plugin.errors.Superseded`. Standard library only: the supervisor uses this module too.
Rule source: DESIGN.md section 2, contract W2, W4, W17.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from hermes_kanban_plugin.errors import Superseded, UnknownTask
from hermes_kanban_plugin.store import journal, statements
from hermes_kanban_plugin.store.transaction import immediate

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Sequence

    from hermes_kanban_plugin.identity import ProcessIdentity

# One transaction holds the write lock for one batch of claims at most.
CLAIM_BATCH = 500

LAST_HEARTBEAT = """
SELECT payload FROM task_events WHERE run_id = :run_id AND kind = 'heartbeat' ORDER BY id DESC LIMIT 1"""


class Lease(NamedTuple):
    """The right to work on one task: what a worker must present with every write."""

    task_id: str
    run_id: int
    lock: str


class ClaimTerms(NamedTuple):
    """How a claim is made.

    ``lock_prefix`` is ``<host>:<pid>:<nonce>`` with a nonce that is new for each batch, ``expires`` the epoch second
    by which the claim must have been accepted, ``source`` the column the tasks are taken from.
    """

    lock_prefix: str
    expires: int
    lane: str
    source: str = "ready"


def claim(connection: sqlite3.Connection, task_ids: Sequence[str], terms: ClaimTerms, now: int) -> list[Lease]:
    """Claim as many of the tasks as are still free, each with a new run and a fresh heartbeat clock.

    Tasks that somebody else took, that left the source column or whose parents are not finished are left alone.

    Returns:
        One lease per claimed task, in the order of ``task_ids``.
    """
    leases: dict[str, Lease] = {}
    for start in range(0, len(task_ids), CLAIM_BATCH):
        batch = task_ids[start : start + CLAIM_BATCH]
        with immediate(connection):
            leases.update({lease.task_id: lease for lease in _claim_batch(connection, batch, terms, now)})
    return [leases[task_id] for task_id in task_ids if task_id in leases]


def _claim_batch(connection: sqlite3.Connection, task_ids: Sequence[str], terms: ClaimTerms, now: int) -> list[Lease]:
    values: dict[str, object] = {f"id{index}": task_id for index, task_id in enumerate(task_ids)}
    ids = ", ".join(f":{name}" for name in values)
    values |= {"lock_prefix": terms.lock_prefix, "expires": terms.expires, "source": terms.source, "now": now}
    opened = connection.execute(statements.OPEN_RUNS.format(ids=ids), values).fetchall()
    if not opened:
        return []
    claimed = connection.execute(statements.CLAIM_TASKS.format(ids=ids), values).fetchall()
    if len(claimed) != len(opened):
        raise RuntimeError(f"claimed {len(claimed)} tasks for {len(opened)} runs")  # rolls the batch back
    leases = [Lease(row["task_id"], row["id"], row["claim_lock"]) for row in opened]
    connection.executemany(
        statements.RECORD_RUNS,
        [
            {
                "run_id": lease.run_id,
                "task_id": lease.task_id,
                "lock": lease.lock,
                "lane": terms.lane,
                "source": terms.source,
                "now": now,
                "expires": terms.expires,
            }
            for lease in leases
        ],
    )
    extra = {} if terms.source == "ready" else {"source_status": terms.source}
    journal.append_many(
        connection,
        [
            (
                lease.task_id,
                "claimed",
                {"lock": lease.lock, "expires": terms.expires, "run_id": lease.run_id, **extra},
                lease.run_id,
            )
            for lease in leases
        ],
        now,
    )
    return leases


def accept(
    connection: sqlite3.Connection,
    lease: Lease,
    supervisor: ProcessIdentity,
    worker: ProcessIdentity,
    expires: int,
    now: int,
) -> None:
    """Turn a claim into a full lease and write down who supervises and who works.

    Until this has returned no instruction of the worker's program may run (the start-up guard). It succeeds once.

    Raises:
        Superseded: the run is not current any more, or somebody accepted it before.
    """
    values = {
        **lease._asdict(),
        "expires": expires,
        "now": now,
        "host_id": supervisor.host_id,
        "boot_id": supervisor.boot_id,
        "pid_namespace": supervisor.pid_namespace,
        "supervisor_pid": supervisor.pid,
        "supervisor_started": supervisor.started,
        "worker_pid": worker.pid,
        "worker_started": worker.started,
    }
    with immediate(connection):
        for statement in (statements.ACCEPT_TASK, statements.ACCEPT_RUN, statements.ACCEPT_IDENTITY):
            if connection.execute(statement, values).fetchone() is None:
                raise refusal(connection, lease)
        journal.append(connection, lease.task_id, "spawned", {"pid": worker.pid}, now, lease.run_id)


def renew(connection: sqlite3.Connection, lease: Lease, expires: int) -> int:
    """Extend the lease without claiming any sign of life from the worker; an extension never shortens it.

    Returns:
        The epoch second at which the lease now ends.

    Raises:
        Superseded: the run is not current any more.
    """
    with immediate(connection):
        return _extend(connection, statements.RENEW_TASK, lease, expires, beat=None)


def heartbeat(connection: sqlite3.Connection, lease: Lease, expires: int, now: int, note: str | None = None) -> int:
    """Record that the worker lives and extend its lease, in one transaction.

    A history row is written only for a note that the one before it did not say, or for the run's first heartbeat: the
    host's row per heartbeat grows the board without bound (contract W25).

    Returns:
        The epoch second at which the lease now ends.

    Raises:
        Superseded: the run is not current any more.
    """
    with immediate(connection):
        payload = {"note": note} if note else None
        said = connection.execute(LAST_HEARTBEAT, lease._asdict()).fetchone()
        ends = _extend(connection, statements.BEAT_TASK, lease, expires, beat=now)
        if said is None or (payload and said["payload"] != journal.stored(payload)):
            journal.append(connection, lease.task_id, "heartbeat", payload, now, lease.run_id)
        return ends


def note_progress(connection: sqlite3.Connection, lease: Lease, at: int, repeated_calls: int) -> None:
    """Keep when the worker last did something new, and how often it repeated itself since, beside its run."""
    connection.execute(statements.NOTE_PROGRESS, {**lease._asdict(), "at": at, "repeated": repeated_calls})


def note_usage(connection: sqlite3.Connection, lease: Lease, input_tokens: int, output_tokens: int) -> None:
    """Keep how many tokens the run has used in all, beside it; allowed after its end too."""
    values = {**lease._asdict(), "input_tokens": input_tokens, "output_tokens": output_tokens}
    connection.execute(statements.NOTE_USAGE, values)


def note_stop(connection: sqlite3.Connection, lease: Lease, cause: str) -> None:
    """Keep why the supervisor is about to stop its worker, so that the worker does not take it for an interruption.

    Raises:
        Superseded: the run is not current any more; nothing was written.
    """
    with immediate(connection):
        current(connection, lease)
        connection.execute(statements.NOTE_STOP, {**lease._asdict(), "cause": cause})


def _extend(connection: sqlite3.Connection, statement: str, lease: Lease, expires: int, beat: int | None) -> int:
    values = {**lease._asdict(), "expires": expires, "now": beat}
    row = connection.execute(statement, values).fetchone()
    if row is None:
        raise refusal(connection, lease)
    ends = int(row["claim_expires"])
    connection.execute(statements.RENEW_RUN, {**lease._asdict(), "expires": ends, "beat": beat})
    return ends


def current(connection: sqlite3.Connection, lease: Lease) -> sqlite3.Row:
    """Return the task's row if the lease is the current one.

    Raises:
        Superseded: the run is not current any more.
        UnknownTask: the task is gone.
    """
    row: sqlite3.Row | None = connection.execute(statements.SELECT_CURRENT, lease._asdict()).fetchone()
    if row is None:
        raise refusal(connection, lease)
    return row


def refusal(connection: sqlite3.Connection, lease: Lease) -> Superseded | UnknownTask:
    """Return the answer to a write that matched no row: which run holds the task now."""
    row = connection.execute(statements.SELECT_TASK, {"task_id": lease.task_id}).fetchone()
    if row is None:
        return UnknownTask(lease.task_id)
    return Superseded(lease.task_id, lease.run_id, row["current_run_id"], row["status"])
