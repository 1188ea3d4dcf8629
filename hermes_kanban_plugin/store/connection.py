"""Opens board files. The only module that does: a board file is never opened except through SQLite.

POSIX drops all of a process's locks on a file when the process closes any descriptor of it, which is how the host
loses rows (contract W1). Two rules follow and live here. Nothing may ``open()`` a board file. And a writer connection
is always closed before a read-only connection of the same process: the reader's shared lock keeps the writer from
believing that it is the last user of the board and from deleting a write-ahead log that a host process, whose own
lock was dropped, is still writing to. The reader cannot delete it either, because it may not write.

Standard library only: the supervisor uses this module too.
"""

from __future__ import annotations

import os
import sqlite3
from contextlib import contextmanager
from typing import TYPE_CHECKING

from hermes_kanban_plugin.errors import BoardUnusable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

DEFAULT_BUSY_MS = 30_000

_REMEDIES = {
    "SQLITE_NOTADB": "is not an SQLite database. Move it away, or point HERMES_KANBAN_DB at the right file",
    "SQLITE_CORRUPT": (
        "is damaged or truncated. Stop the gateway, keep a copy of the file with its -wal and -shm, then put the "
        "newest backup in its place with: hermes-kanban restore FILE"
    ),
    "SQLITE_CANTOPEN": "cannot be opened. Check that the file and its folder are readable and writable by this user",
    "SQLITE_PERM": "cannot be opened. Check its permissions",
    "SQLITE_READONLY": "is read-only. Make the file and its folder writable by this user",
    "SQLITE_FULL": "is on a full disk. Free some space and run the command again; the change was rolled back",
    "SQLITE_IOERR": "cannot be read or written (I/O error). Check the disk, then run the command again",
    "SQLITE_BUSY": "is locked by another process for too long. Try again, or raise HERMES_KANBAN_BUSY_TIMEOUT_MS",
    "SQLITE_LOCKED": "is locked by another process for too long. Try again, or raise HERMES_KANBAN_BUSY_TIMEOUT_MS",
}


def busy_milliseconds() -> int:
    """Return how long to wait for another writer, in milliseconds.

    ``HERMES_KANBAN_BUSY_TIMEOUT_MS`` wins when it is a positive whole number (contract section 2).
    """
    try:
        wanted = int(os.environ.get("HERMES_KANBAN_BUSY_TIMEOUT_MS", ""))
    except ValueError:
        return DEFAULT_BUSY_MS
    return wanted if wanted > 0 else DEFAULT_BUSY_MS


def open_writer(path: str, busy: int | None = None) -> sqlite3.Connection:
    """Open an existing board for changes: autocommit, synchronous FULL, rows by name, its journal mode kept.

    Args:
        path: the board.
        busy: how long to wait for another writer, milliseconds; None: :func:`busy_milliseconds`.

    Raises:
        BoardUnusable: missing, empty, not SQLite, damaged, unreadable or read-only.
    """
    with translating(path):
        _refuse_unusable(path)
        if not _is_writable(path):
            # SQLite would open it for reading and complain at the first change only.
            raise BoardUnusable(f"board {path} {_REMEDIES['SQLITE_READONLY']}")
        connection = _connect(path, "rw", busy)
        try:
            connection.execute("PRAGMA synchronous=FULL")
            connection.execute("PRAGMA cell_size_check=ON")
            connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        except BaseException:
            connection.close()
            raise
    return connection


def create_file(path: str, build: Callable[[sqlite3.Connection], None], journal: str = "WAL") -> bool:
    """Make a new board, whole or not at all: built under another name, then linked into place.

    It is built with a rollback journal, so that all of it is in the one file that is linked: what a write-ahead log
    still holds when it is closed on a full disk is lost without a word.

    Args:
        path: where the board shall be; its folder is made.
        build: makes the tables on the connection it is given.
        journal: how it keeps its journal; ``DELETE`` makes a file that is complete by itself and read without traces.

    Returns:
        True if the board was made, False if somebody else's board already stands there (it is left alone).

    Raises:
        BoardUnusable: the folder cannot be written or the disk is full; nothing is left behind.
    """
    unfinished = f"{path}.new-{os.getpid()}-{os.urandom(4).hex()}"
    try:
        os.makedirs(os.path.dirname(os.path.abspath(path)), exist_ok=True)
        with translating(path):
            connection = _connect(unfinished, "rwc")
            try:
                build(connection)
                connection.execute(f"PRAGMA journal_mode={journal}")
            finally:
                connection.close()
        os.link(unfinished, path)
    except FileExistsError:
        return False
    except OSError as problem:
        raise BoardUnusable(f"board {path} cannot be created ({problem.strerror}); check the folder") from problem
    finally:
        for leftover in (unfinished, f"{unfinished}-journal", f"{unfinished}-wal", f"{unfinished}-shm"):
            if os.path.exists(leftover):
                os.unlink(leftover)
    return True


def open_reader(path: str, busy: int | None = None) -> sqlite3.Connection:
    """Open a board for reading only; the connection can change nothing and guards the write-ahead log.

    Args:
        path: the board.
        busy: how long to wait for a board that is locked, milliseconds; None: as long as a writer does.

    Raises:
        BoardUnusable: missing, empty, not SQLite, damaged or unreadable.
    """
    with translating(path):
        _refuse_unusable(path)
        connection = _connect(path, "ro", busy)
        try:
            connection.execute("PRAGMA query_only=ON")
            # The first read takes the shared lock that this connection then holds until it is closed.
            connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        except BaseException:
            connection.close()
            raise
    return connection


def open_copy(source: sqlite3.Connection) -> sqlite3.Connection:
    """Return a throw-away copy of a board in memory, for a dry run that can change no byte of the real one."""
    copy = sqlite3.connect(":memory:", isolation_level=None)
    copy.row_factory = sqlite3.Row
    source.backup(copy)
    return copy


def path_of(connection: sqlite3.Connection) -> str:
    """Return the path of the board that a connection is open on; empty for one in memory."""
    return next((str(row[2]) for row in connection.execute("PRAGMA database_list") if row[1] == "main"), "")


def columns_of(connection: sqlite3.Connection, table: str) -> set[str]:
    """Return the names of a table's columns; none when the board has no such table."""
    return {row["name"] for row in connection.execute(f"PRAGMA table_info({table})")}


@contextmanager
def translating(path: str) -> Iterator[None]:
    """Turn SQLite's complaints about the file into :class:`BoardUnusable` with a remedy; others pass unchanged."""
    try:
        yield
    except sqlite3.DatabaseError as problem:
        if _remedy(problem) is None:
            raise
        raise BoardUnusable(explained(problem, path)) from problem


def explained(problem: sqlite3.Error, path: object) -> str:
    """Return what SQLite complains about in words, with the board and what helps."""
    remedy = _remedy(problem) if isinstance(problem, sqlite3.DatabaseError) else None
    return f"board {path} {remedy} ({problem})" if remedy else f"board {path} could not be used: {problem}"


def _remedy(problem: sqlite3.DatabaseError) -> str | None:
    name = getattr(problem, "sqlite_errorname", None) or ""
    return next((text for code, text in _REMEDIES.items() if name.startswith(code)), None)


def _connect(path: str, mode: str, busy: int | None = None) -> sqlite3.Connection:
    milliseconds = busy_milliseconds() if busy is None else busy
    connection = sqlite3.connect(
        f"file:{_escape(os.path.abspath(path))}?mode={mode}",
        uri=True,
        isolation_level=None,
        timeout=milliseconds / 1000,
        check_same_thread=False,
    )
    connection.row_factory = sqlite3.Row
    return connection


def _is_writable(path: str) -> bool:
    effective = os.access in os.supports_effective_ids
    return os.access(path, os.W_OK, effective_ids=effective)


def _escape(path: str) -> str:
    """Return a path as it must stand in a file: URI; what SQLite would read as a separator is escaped."""
    return path.replace("%", "%25").replace("?", "%3f").replace("#", "%23")


def _refuse_unusable(path: str) -> None:
    """Refuse what SQLite would silently take for a new, empty database."""
    try:
        size = os.stat(path).st_size
    except FileNotFoundError as problem:
        raise BoardUnusable(f"board {path} does not exist; create it with: hermes-kanban init") from problem
    except OSError as problem:
        raise BoardUnusable(
            f"board {path} cannot be looked at ({problem.strerror}); check its permissions"
        ) from problem
    if os.path.isdir(path):
        raise BoardUnusable(f"board {path} is a folder, not a file; point HERMES_KANBAN_DB at a file")
    if size == 0:
        raise BoardUnusable(
            f"board {path} is empty (0 bytes) and is not taken for a new board; restore it from a backup, or remove it "
            "and run: hermes-kanban init"
        )
