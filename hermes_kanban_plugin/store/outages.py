"""Outages on the board: when one begins, which task probes it, and when it is over.

A failure joins or begins an outage in the transaction that ends its run. Everything else is found out by a tick from
what stands on the board, so that nothing is lost with a process. Standard library only: the supervisor uses this
module too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from hermes_kanban_plugin import outages as rules
from hermes_kanban_plugin.errors import NoOutage
from hermes_kanban_plugin.outages import Fate, Probe
from hermes_kanban_plugin.store.attempts import is_attempt
from hermes_kanban_plugin.store.transaction import immediate

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Sequence

    from hermes_kanban_plugin.causes import Cause

# A probe that could not be started for this long makes room for another one.
PATIENCE_SECONDS = 60

_NEWEST_RUN = "(SELECT max(latest.id) FROM task_runs AS latest WHERE latest.task_id = tasks.id)"
_READY = ("ready", "review")
_STARTABLE = "tasks.status IN ('ready', 'review', 'todo', 'scheduled')"

OPEN_OUTAGES = "SELECT * FROM kp_outages WHERE closed_at IS NULL ORDER BY id"

LIFE_OF_RUN = "SELECT started_at FROM task_runs WHERE id = :run_id"

JOIN_OUTAGE = """
UPDATE kp_outages SET
    failures = failures + 1, last_seen_at = :now,
    longest_life = CASE WHEN longest_life > :life THEN longest_life ELSE :life END
WHERE signature = :signature AND closed_at IS NULL
RETURNING id"""

LAST_CLOSED = "SELECT max(closed_at) AS closed_at FROM kp_outages WHERE signature = :signature AND closed_at <= :now"

ALIKE = """
SELECT kp_runs.task_id, kp_runs.run_id, task_runs.ended_at - task_runs.started_at AS life
FROM kp_runs JOIN task_runs ON task_runs.id = kp_runs.run_id
WHERE kp_runs.signature = :signature AND kp_runs.run_id <> :run_id
    AND task_runs.ended_at >= :since AND task_runs.ended_at <= :now
ORDER BY kp_runs.run_id DESC LIMIT 500"""

BEGIN_OUTAGE = """
INSERT INTO kp_outages (
    signature, cause, began_at, last_seen_at, failures, failed_probes, longest_life, next_probe_at)
VALUES (:signature, :cause, :now, :now, :failures, 0, :life, :next_probe_at)
RETURNING id"""

# The tasks that wait for the end of an outage: the last thing that was tried on them failed like the others.
_WAITS = f"""
FROM kp_runs JOIN tasks ON tasks.id = kp_runs.task_id
WHERE kp_runs.signature = :signature AND kp_runs.run_id = {_NEWEST_RUN}
    AND {_STARTABLE}"""
ANY_WAITING = f"SELECT 1 {_WAITS} LIMIT 1"
WAITING = f"""
SELECT tasks.id, tasks.assignee, tasks.status, kp_runs.run_id AS newest_run {_WAITS}
ORDER BY tasks.priority DESC, tasks.created_at, tasks.id"""

FIRST_RUN_AFTER = f"""
SELECT min(id) AS id FROM task_runs
WHERE task_id = :probe_task_id AND id > :probe_after_run AND {is_attempt("task_runs")}"""

PROBE = """
SELECT
    task_runs.ended_at, COALESCE(kp_runs.cause, task_runs.outcome) AS cause, kp_runs.signature,
    COALESCE(kp_runs.accepted_at, task_runs.started_at) AS began_at
FROM task_runs LEFT JOIN kp_runs ON kp_runs.run_id = task_runs.id
WHERE task_runs.id = :run_id"""

CHOOSE_PROBE = """
UPDATE kp_outages SET probe_task_id = :task_id, probe_after_run = :newest_run, next_probe_at = :now
WHERE id = :id AND closed_at IS NULL AND probe_run_id IS NULL AND COALESCE(probe_task_id, '') = :named
RETURNING id"""

NOTE_PROBE = """
UPDATE kp_outages SET probe_run_id = :run_id, next_probe_at = NULL
WHERE id = :id AND closed_at IS NULL AND probe_run_id IS NULL AND probe_task_id = :probe_task_id"""

END_PROBE = """
UPDATE kp_outages SET
    failed_probes = :failed_probes, next_probe_at = :next_probe_at,
    probe_task_id = NULL, probe_after_run = NULL, probe_run_id = NULL
WHERE id = :id AND closed_at IS NULL"""

CLOSE_OUTAGE = """
UPDATE kp_outages SET closed_at = :now, closed_by = :by WHERE id = :id AND closed_at IS NULL RETURNING id"""

SPREAD_RETURN = """
UPDATE kp_runs SET retry_at = :retry_at
WHERE run_id = :run_id AND task_id = :task_id AND (retry_at IS NULL OR retry_at < :retry_at)"""

OUTAGE_OF_TASK = f"""
SELECT kp_outages.id, COALESCE(kp_outages.probe_task_id, '') AS named, kp_runs.run_id AS newest_run
FROM tasks JOIN kp_runs ON kp_runs.run_id = {_NEWEST_RUN}
    JOIN kp_outages ON kp_outages.signature = kp_runs.signature
WHERE tasks.id = :task_id AND {_STARTABLE} AND kp_outages.closed_at IS NULL AND kp_outages.probe_run_id IS NULL"""


class Alike(NamedTuple):
    """A run that failed like the one at hand: its task, its id, and how long it lived, seconds."""

    task_id: str
    run_id: int
    life: int


class Waiting(NamedTuple):
    """A task that waits for the end of an outage."""

    task_id: str
    assignee: str | None
    status: str
    newest_run: int


class Outage(NamedTuple):
    """An outage as it stands on the board; times in epoch seconds.

    ``next_probe_at`` is None while a probe runs.
    """

    id: int
    signature: str
    cause: str
    began_at: int
    last_seen_at: int
    failures: int
    failed_probes: int
    longest_life: int
    next_probe_at: int | None
    probe_task_id: str | None
    probe_after_run: int | None
    probe_run_id: int | None
    closed_at: int | None
    closed_by: str | None

    @classmethod
    def of(cls, row: sqlite3.Row) -> Outage:
        """Take the fields from a row."""
        return cls(*(row[name] for name in cls._fields))


class Settled(NamedTuple):
    """What a tick found out about an outage: what its probe says, which run that is, and why it is over."""

    outage: Outage
    fate: Fate
    run_id: int | None
    reason: str = ""

    @property
    def says_something(self) -> bool:
        """Whether there is anything to write."""
        return self.fate is not Fate.UNDECIDED or self.run_id != self.outage.probe_run_id


# --- in the transaction that ends a failed run ---------------------------------------------------------------------


def join(connection: sqlite3.Connection, signature: str, run_id: int, now: int) -> int | None:
    """Add a failure to the open outage of its kind; returns the outage's id, or None when there is none."""
    values = {"signature": signature, "now": now, "life": _life_of(connection, run_id, now)}
    row = connection.execute(JOIN_OUTAGE, values).fetchone()
    return row["id"] if row else None


def alike(connection: sqlite3.Connection, signature: str, run_id: int, now: int) -> list[Alike]:
    """Return the other runs that failed the same way lately, since the last outage of the kind was over."""
    over = connection.execute(LAST_CLOSED, {"signature": signature, "now": now}).fetchone()["closed_at"]
    since = max(now - rules.WINDOW_SECONDS, (over or 0) + 1)
    values = {"signature": signature, "run_id": run_id, "since": since, "now": now}
    return [Alike(row["task_id"], row["run_id"], row["life"]) for row in connection.execute(ALIKE, values)]


def begin(
    connection: sqlite3.Connection, signature: str, cause: Cause, run_id: int, others: Sequence[Alike], now: int
) -> int:
    """Open an outage with a failed run and those that failed like it before; returns its id."""
    values = {
        "signature": signature,
        "cause": cause.value,
        "now": now,
        "failures": len(others) + 1,
        "life": max([_life_of(connection, run_id, now), *(failed.life for failed in others)]),
        "next_probe_at": now + rules.probe_wait(0),
    }
    return int(connection.execute(BEGIN_OUTAGE, values).fetchone()["id"])


def let_probe(connection: sqlite3.Connection, task_id: str, now: int) -> None:
    """Make a task that waits for an outage its next probe, now, because a person asked for it."""
    for row in connection.execute(OUTAGE_OF_TASK, {"task_id": task_id}).fetchall():
        connection.execute(CHOOSE_PROBE, {**dict(row), "task_id": task_id, "now": now}).fetchone()


def _life_of(connection: sqlite3.Connection, run_id: int, now: int) -> int:
    row = connection.execute(LIFE_OF_RUN, {"run_id": run_id}).fetchone()
    return max(0, now - row["started_at"]) if row else 0


# --- in a tick -----------------------------------------------------------------------------------------------------


def open_outages(connection: sqlite3.Connection) -> list[Outage]:
    """Return the outages that last, oldest first."""
    return [Outage.of(row) for row in connection.execute(OPEN_OUTAGES)]


def waiting(connection: sqlite3.Connection, signature: str) -> list[Waiting]:
    """Return the tasks that wait for the end of an outage, best first."""
    return [Waiting(*row) for row in connection.execute(WAITING, {"signature": signature})]


def settle(connection: sqlite3.Connection, now: int) -> list[Settled]:
    """Find out what the probes say, close what is over and set the next probe of what is not.

    Opens no write transaction when there is nothing to write.
    """
    if not any(_look(connection, outage, now).says_something for outage in open_outages(connection)):
        return []
    with immediate(connection):
        found = [_look(connection, outage, now) for outage in open_outages(connection)]
        for one in found:
            if one.says_something:
                _write(connection, one, now)
    return [one for one in found if one.fate is not Fate.UNDECIDED]


def _look(connection: sqlite3.Connection, outage: Outage, now: int) -> Settled:
    """Return what is known of an outage's probe; reads only."""
    run_id = outage.probe_run_id or _find_probe(connection, outage)
    if run_id is None:
        if connection.execute(ANY_WAITING, {"signature": outage.signature}).fetchone() is not None:
            return Settled(outage, Fate.UNDECIDED, None)
        return Settled(outage, Fate.HEALED, None, "no task waits for it any more")
    row = connection.execute(PROBE, {"run_id": run_id}).fetchone()
    if row is None:
        return Settled(outage, Fate.LOST, run_id)
    ended, age = row["ended_at"] is not None, now - row["began_at"]
    probe = Probe(ended, row["cause"], row["signature"] == outage.signature, age)
    deed = row["cause"] if ended else f"lives for {age} s"
    fate = rules.fate(probe, outage.longest_life)
    if fate is Fate.FAILED and not _is_shared(connection, outage):
        return Settled(outage, Fate.HEALED, run_id, f"only {outage.probe_task_id} is left that fails so")
    return Settled(outage, fate, run_id, f"run {run_id} of {outage.probe_task_id} {deed}")


def _is_shared(connection: sqlite3.Connection, outage: Outage) -> bool:
    """Say whether anybody else could be tried: what fails alone is its own fault, and counts."""
    ready = [one.task_id for one in waiting(connection, outage.signature) if one.status in _READY]
    return any(task_id != outage.probe_task_id for task_id in ready)


def _find_probe(connection: sqlite3.Connection, outage: Outage) -> int | None:
    """Return the run that was started as the probe; None while it was not started."""
    if outage.probe_task_id is None:
        return None
    ids = {"probe_task_id": outage.probe_task_id, "probe_after_run": outage.probe_after_run}
    run_id: int | None = connection.execute(FIRST_RUN_AFTER, ids).fetchone()["id"]
    return run_id


def _write(connection: sqlite3.Connection, found: Settled, now: int) -> None:
    outage = found.outage
    if found.fate is Fate.HEALED:
        _close(connection, outage, found.reason, now)
    elif found.fate is Fate.UNDECIDED:
        values = {"id": outage.id, "run_id": found.run_id, "probe_task_id": outage.probe_task_id}
        connection.execute(NOTE_PROBE, values)
    else:
        failed = outage.failed_probes + (found.fate is Fate.FAILED)
        values = {"id": outage.id, "failed_probes": failed, "next_probe_at": now + rules.probe_wait(failed)}
        connection.execute(END_PROBE, values)


def _close(connection: sqlite3.Connection, outage: Outage, reason: str, now: int) -> None:
    """Close an outage; its tasks come back one by one rather than all at once (failure mode F9)."""
    connection.execute(CLOSE_OUTAGE, {"id": outage.id, "now": now, "by": reason}).fetchone()
    held = waiting(connection, outage.signature)
    for place, one in enumerate(held):
        wait = rules.return_wait(place, len(held))
        if wait:
            values = {"run_id": one.newest_run, "task_id": one.task_id, "retry_at": now + wait}
            connection.execute(SPREAD_RETURN, values)


def close(connection: sqlite3.Connection, outage_id: int, actor: str, now: int) -> list[str]:
    """End an outage because a person says that it is over; returns the tasks that come back, one by one.

    Raises:
        NoOutage: there is no such outage, or it is over already.
    """
    with immediate(connection):
        outage = next((one for one in open_outages(connection) if one.id == outage_id), None)
        if outage is None:
            raise NoOutage(outage_id)
        held = [one.task_id for one in waiting(connection, outage.signature)]
        _close(connection, outage, f"closed by {actor}", now)
        return held


def choose_probes(connection: sqlite3.Connection, may_start: Callable[[Waiting], bool], now: int) -> list[str]:
    """Name, for each outage whose probe is due, the task that probes; returns these tasks.

    One that was named but could not be started within a minute makes room for the next one, and so does one that
    failed: it may be broken itself.

    Args:
        connection: a writer.
        may_start: whether somebody can be started for a task.
        now: epoch seconds.
    """
    chosen = []
    for outage in open_outages(connection):
        if not _is_due(outage, now):
            continue
        ready = [one for one in waiting(connection, outage.signature) if one.status in _READY]
        able = [one for one in ready if may_start(one)]
        if not able:
            continue
        one, named = _next_of(able, outage), outage.probe_task_id or ""
        values = {"id": outage.id, "task_id": one.task_id, "newest_run": one.newest_run, "now": now, "named": named}
        with immediate(connection):
            if connection.execute(CHOOSE_PROBE, values).fetchone() is not None:
                chosen.append(one.task_id)
    return chosen


def _is_due(outage: Outage, now: int) -> bool:
    if outage.probe_run_id is not None or outage.next_probe_at is None:
        return False
    if outage.next_probe_at > now + rules.LONGEST_PROBE_SECONDS:
        return True  # the clock was set back since
    return now >= outage.next_probe_at + (PATIENCE_SECONDS if outage.probe_task_id is not None else 0)


def _next_of(able: Sequence[Waiting], outage: Outage) -> Waiting:
    """Return whose turn it is: the best one begins, and each probe that failed or was not started gives way."""
    ids = [one.task_id for one in able]
    named = outage.probe_task_id
    return able[(ids.index(named) + 1 if named in ids else outage.failed_probes) % len(able)]
