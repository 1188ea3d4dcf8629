"""The host's checks of a board's file, done over again so that they drop no locks.

POSIX cancels all record locks that a process has on a file when the process closes *any* descriptor of it, SQLite's
included (contract W1). Only the closing does harm. So each file is opened once per process, and its descriptor stays
open until the process ends: one descriptor for each board, and three after a board was found damaged.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import sqlite3
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_MAGIC = b"SQLite format 3\x00"
_PAGE_COUNT_AT = 28
_CHUNK = 1024 * 1024
# A checkpoint of another process writes the first page, which has the count, before the pages that it counts.
_LOOKS = 20
_PAUSE_SECONDS = 0.01

# Never taken out of, never closed: device and inode number -> descriptor.
_kept: dict[tuple[int, int], int] = {}


def check_length(connection: sqlite3.Connection) -> None:
    """Refuse a board whose file is shorter than its own header says; whatever cannot be read is let pass.

    Args:
        connection: an open connection to the board.

    Raises:
        sqlite3.DatabaseError: the file is torn.
    """
    try:
        path = _path_of(connection)
        claimed, page_size, size = _shape_of(path) if path else (0, 0, 0)
    except sqlite3.DatabaseError:
        raise
    except Exception:  # noqa: BLE001 - isolation edge: what was committed must not fail on account of a check
        return
    if claimed * page_size > size:
        raise sqlite3.DatabaseError(
            f"torn-extend: {path} has {size // page_size} pages of {page_size} bytes ({size} bytes), "
            f"but its header counts {claimed}; stop Hermes and check the file with PRAGMA integrity_check"
        )


def check_header(path: Path) -> None:
    """Refuse a file that SQLite would not take for a database; a missing, empty or unreadable one is let pass.

    Args:
        path: the board's file.

    Raises:
        sqlite3.DatabaseError: it begins with something else.
    """
    try:
        head = os.pread(_descriptor_of(path), 64, 0)
    except OSError:
        return
    if head and not head.startswith(_MAGIC):
        # The first words are those by which the host's gateway knows a corrupt board.
        raise sqlite3.DatabaseError(
            f"file is not a database: {path} has no SQLite header, it begins with {head[:32].hex(' ')}"
        )


def back_up(path: Path) -> Path | None:
    """Copy a damaged board, its log and its index beside it, once for each content.

    Args:
        path: the board's file.

    Returns:
        The copy of the file, ``<name>.corrupt.<digest>.bak``, or None when it could not be made.
    """
    source = path.resolve()
    try:
        digest = hashlib.sha256()
        for chunk in _content_of(source):
            digest.update(chunk)
        target = source.with_name(f"{source.name}.corrupt.{digest.hexdigest()[:16]}.bak")
        _copy(source, target)
    except OSError:
        return None
    for suffix in ("-wal", "-shm"):
        try:
            _copy(source.with_name(source.name + suffix), target.with_name(target.name + suffix))
        except OSError:
            continue  # it is not there, or it went while we looked
    return target


def _shape_of(path: str) -> tuple[int, int, int]:
    """Return how many pages the header counts, their size and the file's, once they fit or still do not."""
    descriptor = _descriptor_of(path)
    claimed = page_size = size = 0
    for _ in range(_LOOKS):
        header = os.pread(descriptor, _PAGE_COUNT_AT + 4, 0)
        size = os.fstat(descriptor).st_size  # after the header: a file that grows meanwhile is not torn
        page_size = int.from_bytes(header[16:18], "big")
        page_size = 65536 if page_size == 1 else page_size
        claimed = int.from_bytes(header[_PAGE_COUNT_AT:], "big")
        if claimed * page_size <= size:
            break
        time.sleep(_PAUSE_SECONDS)
    return claimed, page_size, size


def _path_of(connection: sqlite3.Connection) -> str:
    row = connection.execute("PRAGMA database_list").fetchone()
    return str(row[2] or "") if row is not None else ""


def _descriptor_of(path: Path | str) -> int:
    seen = os.stat(path)
    descriptor = _kept.get((seen.st_dev, seen.st_ino))
    if descriptor is not None:
        return descriptor
    opened = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    seen = os.fstat(opened)
    # Another thread may have been quicker. Even then the second descriptor must not be closed.
    return _kept.setdefault((seen.st_dev, seen.st_ino), opened)


def _content_of(path: Path) -> Iterator[bytes]:
    descriptor, position = _descriptor_of(path), 0
    while chunk := os.pread(descriptor, _CHUNK, position):
        yield chunk
        position += len(chunk)


def _copy(source: Path, target: Path) -> None:
    """Copy a file under a name that it gets only when it is whole; leave a copy that is there."""
    if target.exists():
        return
    partial = target.with_name(f"{target.name}.{os.getpid()}.partial")
    try:
        with partial.open("wb") as copy:
            copy.writelines(_content_of(source))
        shutil.copystat(source, partial)
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)
