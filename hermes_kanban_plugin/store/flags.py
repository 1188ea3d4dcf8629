"""Flags of a board: what is set on all of it, such as ``paused`` by a person. Standard library only."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from hermes_kanban_plugin.store.transaction import immediate

if TYPE_CHECKING:
    import sqlite3

# Nothing is started on a paused board; what runs goes on.
PAUSED = "paused"
# What failures cost by the settings in force, for supervisors, which read none and may run for days.
TERMS = "failure_terms"

SELECT_FLAG = "SELECT name, value, actor, since FROM kp_flags WHERE name = :name"
SET_FLAG = """
INSERT INTO kp_flags (name, value, actor, since) VALUES (:name, :value, :actor, :now)
ON CONFLICT (name) DO UPDATE SET value = excluded.value, actor = excluded.actor, since = excluded.since"""
CLEAR_FLAG = "DELETE FROM kp_flags WHERE name = :name RETURNING name"


class Flag(NamedTuple):
    """A flag that is set: what it says, who set it, and since when (epoch seconds)."""

    name: str
    value: str
    actor: str
    since: int


def find(connection: sqlite3.Connection, name: str) -> Flag | None:
    """Return a flag, or None when it is not set."""
    row = connection.execute(SELECT_FLAG, {"name": name}).fetchone()
    return Flag(*row) if row else None


def put(connection: sqlite3.Connection, name: str, value: str, actor: str, now: int) -> None:
    """Set a flag; one that is set already gets the new value, actor and time."""
    with immediate(connection):
        connection.execute(SET_FLAG, {"name": name, "value": value, "actor": actor, "now": now})


def clear(connection: sqlite3.Connection, name: str) -> bool:
    """Take a flag away; returns whether it was set."""
    with immediate(connection):
        return connection.execute(CLEAR_FLAG, {"name": name}).fetchone() is not None
