"""What this worker was started for, and the few writes it makes in its own name; each is fenced by run and lock.

Loads the standard library only, in every worker. A board that we never wrote to (the host's own dispatcher started
this worker) is prepared by the first write.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

from hermes_kanban_plugin import locations
from hermes_kanban_plugin.causes import Cause
from hermes_kanban_plugin.dispatch import holder
from hermes_kanban_plugin.dispatch.ownership import caller_of
from hermes_kanban_plugin.errors import NotTheOwner
from hermes_kanban_plugin.store import leases, outcomes, statements
from hermes_kanban_plugin.store.connection import columns_of, open_reader, open_writer, translating
from hermes_kanban_plugin.store.transaction import immediate
from hermes_kanban_plugin.worker.usage import Usage

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator, Mapping

    from hermes_kanban_plugin.breaker import Terms
    from hermes_kanban_plugin.store.leases import Lease

# The host's own lease, for workers that no supervisor of ours keeps (contract section 3, claim).
HOST_LEASE_SECONDS = 900
# The newest column of ours that is written here.
_NEWEST_COLUMN = "output_tokens"


class Progress(NamedTuple):
    """When the worker last did something new, epoch seconds, and how often it has repeated itself since."""

    at: int
    repeated_calls: int


class Assignment(NamedTuple):
    """One worker's lease, and the file of the board it is on."""

    lease: Lease
    database: str


def read(environment: Mapping[str, str], pid: int) -> Assignment:
    """Return what a worker's environment says that it was started for.

    Raises:
        MalformedEnvironment: it does not say which run it is.
        InvalidArgument: it names a board that cannot be one.
    """
    return Assignment(caller_of(environment, pid).lease, str(locations.locate().database))


def prove(environment: Mapping[str, str], pid: int) -> None:
    """Do nothing if a process is the worker of the run that holds its task now.

    Args:
        environment: of the process; names task, run and lock.
        pid: its process id.

    Raises:
        CallerMistake: it is not; ``NotTheOwner`` when another process is.
        BoardUnusable: the board is missing, damaged or locked.
        sqlite3.Error: the board cannot be read.
    """
    caller = caller_of(environment, pid)
    lease, database = caller.lease, str(locations.locate().database)
    reader = open_reader(database)
    try:
        with translating(database):
            leases.current(reader, lease)
            vote = holder.vote_on_process(reader, caller, _ownership)
    finally:
        reader.close()
    if not vote.allowed:
        raise NotTheOwner(vote.reason)


def _ownership() -> str:
    from hermes_kanban_plugin import configuration  # late: only when another process is recorded

    return configuration.load_or_default(locations.kanban_root()).plugin.ownership


@contextmanager
def writing(assignment: Assignment, busy_seconds: float | None = None) -> Iterator[sqlite3.Connection]:
    """Open the board for one change; the writer is closed before the reader (see store/connection.py).

    Args:
        assignment: whose board.
        busy_seconds: how long to wait for another writer; None means as long as everybody does.
    """
    reader = open_reader(assignment.database)
    try:
        writer = open_writer(assignment.database)
        try:
            if busy_seconds is not None:
                writer.execute(f"PRAGMA busy_timeout={int(busy_seconds * 1000)}")
            _prepare(writer)
            yield writer
        finally:
            writer.close()
    finally:
        reader.close()


def _prepare(writer: sqlite3.Connection) -> None:
    if _NEWEST_COLUMN in columns_of(writer, "kp_runs"):
        return
    from hermes_kanban_plugin.store import migrations  # late: only a board of the plain host has to be prepared

    with immediate(writer):
        migrations.apply(writer)


def beat(
    assignment: Assignment,
    progress: Progress,
    now: int,
    *,
    alive: bool,
    busy_seconds: float,
    usage: Usage = Usage(),  # noqa: B008 - immutable
) -> None:
    """Write the worker's progress and usage, and if it is alive the sign of life, in one transaction.

    A supervisor renews its lease itself; without one of ours the host's lease is extended.

    Raises:
        Superseded: the run is not current any more; nothing was written.
        sqlite3.Error: the board could not be written.
    """
    lease = assignment.lease
    with writing(assignment, busy_seconds) as writer, immediate(writer):
        if alive:
            leases.heartbeat(writer, lease, now if _is_supervised(writer, lease) else _host_lease_ends(now), now)
        else:
            leases.current(writer, lease)
        leases.note_progress(writer, lease, progress.at, progress.repeated_calls)
        leases.note_usage(writer, lease, *usage)


def note_usage(assignment: Assignment, usage: Usage) -> None:
    """Write what the worker used in all; its run may have ended.

    Raises:
        sqlite3.Error: the board could not be written.
    """
    with writing(assignment) as writer:
        leases.note_usage(writer, assignment.lease, *usage)


def release_interrupted(assignment: Assignment, how: str, now: int) -> bool:
    """Give the task back because the worker was told to end; says whether that was for it to say.

    It is not when its supervisor, or the host's dispatcher, stops it for having taken too long: they say so themselves,
    and count it.

    Raises:
        Superseded: the run is not current any more; nothing was written.
        sqlite3.Error: the board could not be written.
    """
    lease = assignment.lease
    with writing(assignment) as writer, immediate(writer):
        leases.current(writer, lease)
        supervised = _is_supervised(writer, lease)
        if outcomes.stop_cause(writer, lease) or (not supervised and _is_overdue(writer, lease, now)):
            return False
        outcomes.release(writer, lease, Cause.INTERRUPTED, f"interrupted by {how}", {"claimer": lease.lock}, now)
        return True


def release_limited(assignment: Assignment, error: str, retry_at: int | None, terms: Terms, now: int) -> None:
    """Give the task back until its provider serves again, as exit status 75 does.

    Args:
        assignment: of this worker.
        error: what the provider said.
        retry_at: when it may be asked again, epoch seconds, or None when it did not say.
        terms: how long the task waits when it did not say, or refuses again and again.
        now: epoch seconds.

    Raises:
        Superseded: the run is not current any more; nothing was written.
        sqlite3.Error: the board could not be written.
    """
    lease = assignment.lease
    with writing(assignment) as writer, immediate(writer):
        outcomes.note_retry(writer, lease, retry_at)
        outcomes.release(writer, lease, Cause.RATE_LIMITED, error, {"claimer": lease.lock}, now, terms)
        writer.execute(statements.NOTE_FINAL_WORD, {**lease._asdict(), "now": now})  # it may say goodbye in peace


def fail_budget(assignment: Assignment, error: str, payload: Mapping[str, object], terms: Terms, now: int) -> bool:
    """Book a used-up iteration budget as a counted failure of this run; says whether the task is given up.

    It is the worker's own final word: it may say goodbye.

    Raises:
        Superseded: the run is not current any more; nothing was written.
        sqlite3.Error: the board could not be written.
    """
    lease = assignment.lease
    with writing(assignment) as writer, immediate(writer):
        failure = outcomes.Failure(Cause.BUDGET_EXHAUSTED, error, {**payload, "error": error}, terms)
        status = outcomes.fail(writer, lease, failure, now)
        writer.execute(statements.NOTE_FINAL_WORD, {**lease._asdict(), "now": now})
        return status == "blocked"


def _is_supervised(connection: sqlite3.Connection, lease: Lease) -> bool:
    query = "SELECT 1 FROM kp_runs WHERE run_id = :run_id AND task_id = :task_id AND accepted_at IS NOT NULL"
    return connection.execute(query, lease._asdict()).fetchone() is not None


def _is_overdue(connection: sqlite3.Connection, lease: Lease, now: int) -> bool:
    row = connection.execute(statements.SELECT_RUN, lease._asdict()).fetchone()
    limit = row["max_runtime_seconds"] if row is not None else None
    return bool(limit) and now - row["started_at"] >= limit


def _host_lease_ends(now: int) -> int:
    import os

    wish = os.environ.get("HERMES_KANBAN_CLAIM_TTL_SECONDS", "").strip()
    return now + (int(wish) if wish.isdecimal() and int(wish) > 0 else HOST_LEASE_SECONDS)
