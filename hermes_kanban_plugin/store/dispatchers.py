"""Who dispatches this board, since when, and when it last ticked: the trace that shows a crash or a frozen holder."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from hermes_kanban_plugin import identity
from hermes_kanban_plugin.identity import Place, ProcessIdentity, Verdict
from hermes_kanban_plugin.store.connection import columns_of
from hermes_kanban_plugin.store.transaction import immediate

if TYPE_CHECKING:
    import sqlite3

BEGIN_TERM = """
INSERT INTO kp_dispatchers (host_id, boot_id, pid_namespace, pid, started, began_at, last_tick_at)
VALUES (:host_id, :boot_id, :pid_namespace, :pid, :started, :now, :now)
RETURNING term"""
NOTE_TICK = "UPDATE kp_dispatchers SET last_tick_at = :now WHERE term = :term AND ended_at IS NULL"
END_TERM = """
UPDATE kp_dispatchers SET ended_at = :now, last_tick_at = :now, reason = :reason
WHERE term = :term AND ended_at IS NULL"""
LATEST_TERM = "SELECT * FROM kp_dispatchers ORDER BY term DESC LIMIT 1"


# The record of a dispatcher is written every ten seconds (dispatch/leadership.py).
UNSEEN_SECONDS = 45


class Term(NamedTuple):
    """One period of dispatching a board; ``ended_at`` is None while it lasts, and for ever after a crash."""

    term: int
    dispatcher: ProcessIdentity
    began_at: int
    last_tick_at: int
    ended_at: int | None


def begin(connection: sqlite3.Connection, dispatcher: ProcessIdentity, now: int) -> tuple[int, Term | None]:
    """Begin a term; returns its number and the term before it, which is without an end when its dispatcher crashed."""
    with immediate(connection):
        before = latest(connection)
        row = connection.execute(BEGIN_TERM, {**dispatcher._asdict(), "now": now}).fetchone()
        return int(row["term"]), before


def note_tick(connection: sqlite3.Connection, term: int, now: int) -> None:
    """Record that the dispatcher is at work."""
    with immediate(connection):
        connection.execute(NOTE_TICK, {"term": term, "now": now})


def end(connection: sqlite3.Connection, term: int, reason: str, now: int) -> None:
    """End a term on purpose."""
    with immediate(connection):
        connection.execute(END_TERM, {"term": term, "reason": reason, "now": now})


def latest(connection: sqlite3.Connection) -> Term | None:
    """Return the newest term, or None when this board was never dispatched by us."""
    row = connection.execute(LATEST_TERM).fetchone()
    if row is None:
        return None
    place = Place(row["host_id"], row["boot_id"], row["pid_namespace"])
    dispatcher = ProcessIdentity(*place, row["pid"], row["started"])
    return Term(row["term"], dispatcher, row["began_at"], row["last_tick_at"], row["ended_at"])


def serving(connection: sqlite3.Connection, now: int) -> Term | None:
    """Return the term of the dispatcher that serves this board by its own record and lives, or None.

    One that cannot be seen from here (another machine, another container) counts as long as it goes on ticking.
    """
    term = latest(connection) if columns_of(connection, "kp_dispatchers") else None
    if term is None or term.ended_at is not None:
        return None
    verdict = identity.judge(term.dispatcher, identity.here(), identity.sight(term.dispatcher.pid))
    if verdict is Verdict.UNKNOWN:
        return term if now - term.last_tick_at <= UNSEEN_SECONDS else None
    return term if verdict is Verdict.ALIVE else None
