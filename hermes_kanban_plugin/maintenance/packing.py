"""Attachments on their way into a snapshot and out of it again.

Only what lies below the board's attachments folder travels; a row that points elsewhere is somebody else's file.
"""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from hermes_kanban_plugin.errors import BoardUnusable
from hermes_kanban_plugin.store import snapshots

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Sequence

    from hermes_kanban_plugin.maintenance.progress import Progress

PACKING, UNPACKING = "adding the attachments", "writing the attachments"
# Never wait for a pipe, never follow a link out of the folder.
_CAREFULLY = os.O_RDONLY | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)


def roots_of(folder: Path) -> list[str]:
    """Return the names that attachments are recorded under: the folder as it is called, and with its links resolved."""
    return list(dict.fromkeys([str(folder.absolute()), str(folder.resolve())]))


def listed(source: sqlite3.Connection, folder: Path) -> list[str]:
    """Return the paths of a board's attachments below their folder, each once."""
    found: dict[str, None] = {}
    for row in source.execute("SELECT stored_path FROM task_attachments ORDER BY id"):
        path = Path(row["stored_path"])
        for root in roots_of(folder):
            if path.is_relative_to(root) and ".." not in path.parts:
                found[str(path.relative_to(root))] = None
                break
    return list(found)


def pack(target: sqlite3.Connection, folder: Path, files: Sequence[str], progress: Progress) -> list[str]:
    """Put attachments into a snapshot; returns those that are missing, no regular files or too large.

    Args:
        target: the snapshot, in the caller's transaction.
        folder: the attachments folder.
        files: paths below it.
        progress: is told how far it is.
    """
    left_out = []
    for number, relative in enumerate(files, 1):
        if not _store(target, folder, relative):
            left_out.append(relative)
        progress(PACKING, number / len(files))
    return left_out


def unpack(source: sqlite3.Connection, folder: Path, stamp: str, progress: Progress) -> int:
    """Write a snapshot's attachments where they belong; returns how many were written.

    A file that is there with the same content is left alone; one with another content is kept beside, under a name
    with ``stamp`` in it.

    Args:
        source: the snapshot.
        folder: the attachments folder of the board that it is restored to.
        stamp: what tells the kept files apart from those of another restore.
        progress: is told how far it is.

    Raises:
        BoardUnusable: an attachment is damaged in the snapshot, or its path leads out of the folder.
    """
    files = snapshots.stored_files(source)
    written = 0
    for number, stored in enumerate(files, 1):
        path = _below(folder, stored.path)
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_name(f"{path.name}.new-{os.getpid()}")
        try:
            with unfinished.open("xb") as stream:
                for chunk in snapshots.content_of(source, stored):
                    stream.write(chunk)
            written += _put(unfinished, path, stamp)
        finally:
            unfinished.unlink(missing_ok=True)
        progress(UNPACKING, number / len(files))
    return written


def _store(target: sqlite3.Connection, folder: Path, relative: str) -> bool:
    try:
        descriptor = os.open(folder / relative, _CAREFULLY)
    except OSError:
        return False
    with os.fdopen(descriptor, "rb") as stream:
        seen = os.fstat(descriptor)
        if not stat.S_ISREG(seen.st_mode) or seen.st_size > snapshots.MAX_FILE_BYTES:
            return False
        snapshots.store_file(target, relative, stream, seen.st_size)
    return True


def _below(folder: Path, relative: str) -> Path:
    """Return the place of a stored file; a snapshot may come from anywhere, so its paths prove nothing."""
    path = folder / relative
    if Path(relative).is_absolute() or not path.resolve().is_relative_to(folder.resolve()):
        raise BoardUnusable(f"attachment {relative!r} of the snapshot leads out of {folder}; nothing of it was written")
    return path


def _put(unfinished: Path, path: Path, stamp: str) -> bool:
    """Give a written file its name; says whether that changed anything."""
    if path.is_file() and not path.is_symlink() and _is_same(unfinished, path):
        return False
    with suppress(FileNotFoundError):
        path.rename(path.with_name(f"{path.name}.replaced-{stamp}"))
    unfinished.rename(path)
    return True


def _is_same(one: Path, other: Path) -> bool:
    if one.stat().st_size != other.stat().st_size:
        return False
    with one.open("rb") as left, other.open("rb") as right:
        while chunk := left.read(snapshots.CHUNK_BYTES):
            if chunk != right.read(snapshots.CHUNK_BYTES):
                return False
    return True
