"""One change of the board, all or nothing.

Standard library only: the supervisor uses this module too.
"""

from __future__ import annotations

import sqlite3
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

# A commit in rollback-journal mode waits for readers; the busy timeout covers each attempt.
COMMIT_ATTEMPTS = 5


@contextmanager
def immediate(connection: sqlite3.Connection) -> Iterator[sqlite3.Connection]:
    """Run a block as one write transaction that has the write lock from its first statement on.

    A transaction that the caller already opened is joined, so that operations can be put together. Anything raised,
    an interrupt included, rolls back.

    Raises:
        sqlite3.OperationalError: the write lock was not had within the busy timeout, the disk is full or the like.
    """
    if connection.in_transaction:
        yield connection
        return
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield connection
        _commit(connection)
    except BaseException:
        _roll_back(connection)
        raise


def _roll_back(connection: sqlite3.Connection) -> None:
    """Undo the transaction, unless SQLite has done so itself (as it does on a full disk)."""
    if connection.in_transaction:
        connection.execute("ROLLBACK")


def _commit(connection: sqlite3.Connection) -> None:
    for attempt in range(1, COMMIT_ATTEMPTS + 1):
        try:
            connection.execute("COMMIT")
        except sqlite3.OperationalError as problem:
            busy = (problem.sqlite_errorname or "").startswith("SQLITE_BUSY")
            if not (busy and connection.in_transaction and attempt < COMMIT_ATTEMPTS):
                raise
        else:
            return
