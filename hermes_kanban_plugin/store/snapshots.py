"""Copies of a whole board: taken from one moment, checked, and poured back as one transaction.

Everything goes through SQLite's own backup, never through the file: a board that is being written is copied as it was
at one moment, and pouring a copy back is one transaction that every open connection sees whole or not at all
(contract W1). A snapshot carries two tables of its own beside the board's: what it is, and the attachments.
"""

from __future__ import annotations

import hashlib
import sqlite3
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

from hermes_kanban_plugin.errors import BoardUnusable
from hermes_kanban_plugin.store.connection import busy_milliseconds, columns_of
from hermes_kanban_plugin.store.transaction import immediate

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    Told = Callable[[float], None]

# Pages that are copied between two looks at the progress; a page has 4 KiB.
PAGES = 1_000
BUSY_SLEEP_SECONDS = 0.05
CHUNK_BYTES = 1 << 20
# SQLite takes no larger value.
MAX_FILE_BYTES = 1_000_000_000 - CHUNK_BYTES
COUNTED = ("tasks", "task_runs", "task_events", "task_comments", "task_links", "task_attachments")

CREATE_FACTS = "CREATE TABLE kp_snapshot (name TEXT PRIMARY KEY, value TEXT)"
CREATE_FILES = """
CREATE TABLE kp_snapshot_files (
    id INTEGER PRIMARY KEY, path TEXT NOT NULL, size INTEGER NOT NULL, digest TEXT NOT NULL, content BLOB NOT NULL)"""
OWN_TABLES = ("kp_snapshot", "kp_snapshot_files")

CLOSE_TERMS = "UPDATE kp_dispatchers SET ended_at = :now, reason = 'restored' WHERE ended_at IS NULL"
CLEAR_SUSPECTS = "DELETE FROM kp_suspects"


class StoredFile(NamedTuple):
    """A file in a snapshot: its row, its path below the attachments folder, bytes, and the SHA-256 of its content."""

    id: int
    path: str
    size: int
    digest: str


@contextmanager
def one_moment(connection: sqlite3.Connection) -> Iterator[sqlite3.Connection]:
    """Read within a block as the board was when the block began, whatever others write meanwhile."""
    connection.execute("BEGIN")
    try:
        connection.execute("SELECT count(*) FROM sqlite_master").fetchone()  # the first read takes the moment
        yield connection
    finally:
        connection.execute("ROLLBACK")


def copy(source: sqlite3.Connection, target: sqlite3.Connection, told: Told) -> None:
    """Copy a whole database over another one, as one transaction of the target.

    Args:
        source: read; inside :func:`one_moment` it is copied as of that moment.
        target: whatever it held is gone afterwards, or all of it is still there.
        told: is told the share that is done.

    Raises:
        BoardUnusable: somebody else kept the target locked for longer than the busy timeout.
    """
    deadline = time.monotonic() + busy_milliseconds() / 1000

    def step(status: int, remaining: int, total: int) -> None:
        nonlocal deadline
        if status not in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            deadline = time.monotonic() + busy_milliseconds() / 1000
        elif time.monotonic() > deadline:
            raise BoardUnusable(
                "the board is locked by another process for too long, nothing was changed. Try again, or raise "
                "HERMES_KANBAN_BUSY_TIMEOUT_MS"
            )
        told(1 - remaining / total if total else 0.0)

    source.backup(target, pages=PAGES, progress=step, sleep=BUSY_SLEEP_SECONDS)


def leave_log(connection: sqlite3.Connection) -> None:
    """Have a copy that nobody else uses write to its own file: a full disk is noticed there, and not in a log."""
    connection.execute("PRAGMA journal_mode=DELETE")


def damage_of(connection: sqlite3.Connection) -> str | None:
    """Return what SQLite's own check of the whole file says against it, or None when it is sound."""
    try:
        verdict = connection.execute("PRAGMA integrity_check(1)").fetchone()[0]
    except sqlite3.DatabaseError as problem:
        return str(problem)
    return None if verdict == "ok" else str(verdict)


def counts_of(connection: sqlite3.Connection) -> dict[str, int]:
    """Return how many rows each table of the host has; a table that is not there has none."""
    present = {row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    return {
        name: int(connection.execute(f"SELECT count(*) FROM {name}").fetchone()[0]) if name in present else 0
        for name in COUNTED
    }


# --- what makes a copy a snapshot ----------------------------------------------------------------------------------


def label(connection: sqlite3.Connection, facts: Mapping[str, str]) -> None:
    """Write what a snapshot is into it, in the caller's transaction; makes the snapshot's own tables."""
    connection.execute(CREATE_FACTS)
    connection.execute(CREATE_FILES)
    connection.executemany("INSERT INTO kp_snapshot (name, value) VALUES (?, ?)", list(facts.items()))


def note(connection: sqlite3.Connection, name: str, value: str) -> None:
    """Write one more fact about a snapshot, in the caller's transaction."""
    connection.execute("INSERT INTO kp_snapshot (name, value) VALUES (?, ?)", (name, value))


def facts_of(connection: sqlite3.Connection) -> dict[str, str]:
    """Return what a snapshot says it is; nothing for a copy that somebody else made."""
    if not columns_of(connection, "kp_snapshot"):
        return {}
    return {row["name"]: row["value"] for row in connection.execute("SELECT name, value FROM kp_snapshot")}


def store_file(connection: sqlite3.Connection, path: str, stream: BinaryIO, size: int) -> int:
    """Put a file into a snapshot, in the caller's transaction; returns how many bytes it had.

    Args:
        connection: the snapshot.
        path: below the attachments folder.
        stream: the file, open for reading.
        size: its bytes when it was looked at; what was appended since is left out.
    """
    added = "INSERT INTO kp_snapshot_files (path, size, digest, content) VALUES (?, ?, '', zeroblob(?))"
    row_id = connection.execute(added, (path, size, size)).lastrowid
    digest, left = hashlib.sha256(), size
    with connection.blobopen("kp_snapshot_files", "content", row_id or 0) as blob:
        while left and (chunk := stream.read(min(CHUNK_BYTES, left))):
            blob.write(chunk)
            digest.update(chunk)
            left -= len(chunk)
    values = (size - left, digest.hexdigest(), row_id)
    connection.execute("UPDATE kp_snapshot_files SET size = ?, digest = ? WHERE id = ?", values)
    return size - left


def stored_files(connection: sqlite3.Connection) -> list[StoredFile]:
    """Return the files that a snapshot carries."""
    if not columns_of(connection, "kp_snapshot_files"):
        return []
    rows = connection.execute("SELECT id, path, size, digest FROM kp_snapshot_files ORDER BY id")
    return [StoredFile(*row) for row in rows]


def content_of(connection: sqlite3.Connection, stored: StoredFile) -> Iterator[bytes]:
    """Return a stored file's content in pieces.

    Raises:
        BoardUnusable: it is not what was stored; the pieces so far must not be used.
    """
    digest, left = hashlib.sha256(), stored.size
    with connection.blobopen("kp_snapshot_files", "content", stored.id, readonly=True) as blob:
        while left:
            chunk = blob.read(min(CHUNK_BYTES, left))
            digest.update(chunk)
            left -= len(chunk)
            yield chunk
    if digest.hexdigest() != stored.digest:
        raise BoardUnusable(f"attachment {stored.path} is damaged in the snapshot; take another snapshot")


# --- what makes a snapshot a board again ---------------------------------------------------------------------------


def unlabel(connection: sqlite3.Connection) -> None:
    """Take the snapshot's own tables out, in the caller's transaction."""
    for name in OWN_TABLES:
        connection.execute(f"DROP TABLE IF EXISTS {name}")


def move_attachments(connection: sqlite3.Connection, old_root: str, new_root: str) -> None:
    """Let the attachments' rows point below another folder, in the caller's transaction."""
    rows = connection.execute("SELECT id, stored_path FROM task_attachments").fetchall()
    prefix = old_root.rstrip("/") + "/"
    moved = [
        (f"{new_root.rstrip('/')}/{row['stored_path'].removeprefix(prefix)}", row["id"])
        for row in rows
        if row["stored_path"].startswith(prefix)
    ]
    connection.executemany("UPDATE task_attachments SET stored_path = ? WHERE id = ?", moved)


def counters_of(connection: sqlite3.Connection) -> dict[str, int]:
    """Return the highest number that each counting table ever gave out."""
    if not columns_of(connection, "sqlite_sequence"):
        return {}
    return {row["name"]: int(row["seq"]) for row in connection.execute("SELECT name, seq FROM sqlite_sequence")}


def raise_counters(connection: sqlite3.Connection, at_least: Mapping[str, int]) -> None:
    """Go on counting behind what was given out: a run id only grows, because it is the fencing token."""
    with immediate(connection):
        counters = counters_of(connection)
        for name, seq in at_least.items():
            if name in counters:
                connection.execute("UPDATE sqlite_sequence SET seq = max(seq, ?) WHERE name = ?", (seq, name))
            elif columns_of(connection, name):
                connection.execute("INSERT INTO sqlite_sequence (name, seq) VALUES (?, ?)", (name, seq))


def page_size_of(connection: sqlite3.Connection) -> int:
    """Return the size of a database's pages, bytes."""
    return int(connection.execute("PRAGMA page_size").fetchone()[0])


def fit(connection: sqlite3.Connection, page_size: int) -> None:
    """Give a database another page size: a log of other pages cannot take a copy."""
    if page_size_of(connection) != page_size:
        leave_log(connection)
        connection.execute(f"PRAGMA page_size={int(page_size)}")
        connection.execute("VACUUM")


def forget_watchers(connection: sqlite3.Connection, now: int) -> None:
    """End what a dispatcher of the snapshot's time was doing, in the caller's transaction."""
    connection.execute(CLOSE_TERMS, {"now": now})
    connection.execute(CLEAR_SUSPECTS)


def carry_over(source: sqlite3.Connection, target: sqlite3.Connection, living: Sequence[int]) -> None:
    """Take what is true now, and no part of the past, from the board that is replaced, in the target's transaction.

    That is who dispatches it, and the runs whose processes live: nothing starts on their tasks before those are proven
    gone.
    """
    if columns_of(source, "kp_dispatchers"):
        target.execute("DELETE FROM kp_dispatchers")
        _insert(target, "kp_dispatchers", source.execute("SELECT * FROM kp_dispatchers").fetchall())
    for run_id in living if columns_of(source, "kp_runs") else ():
        rows = source.execute("SELECT * FROM kp_runs WHERE run_id = ?", (run_id,)).fetchall()
        target.execute("DELETE FROM kp_runs WHERE run_id = ?", (run_id,))
        _insert(target, "kp_runs", rows)
        target.execute("UPDATE kp_runs SET ended_at = NULL WHERE run_id = ?", (run_id,))


def _insert(connection: sqlite3.Connection, table: str, rows: Sequence[sqlite3.Row]) -> None:
    known = columns_of(connection, table)
    for row in rows:
        names = [name for name in row.keys() if name in known]  # noqa: SIM118 - a Row iterates over its values
        marks = ", ".join("?" for _ in names)
        statement = f"INSERT INTO {table} ({', '.join(names)}) VALUES ({marks})"
        connection.execute(statement, [row[name] for name in names])
