"""``backup``: a verified copy of a board in one file, taken while everything goes on.

A snapshot is an SQLite file with the board as it was at one moment, its attachments, and what it is. It gets its name
only after SQLite's check of the whole copy and a comparison of the row counts. Worker logs and workspaces are not in
it. Rule source: contract W1 (a board file is never copied as a file), failure modes G3, G4 and G11.
"""

from __future__ import annotations

import json
import re
import time
from pathlib import Path  # noqa: TC003 - pydantic resolves it at run time
from typing import TYPE_CHECKING

from hermes_kanban_plugin import __version__, locations
from hermes_kanban_plugin.errors import BoardUnusable, InvalidArgument
from hermes_kanban_plugin.maintenance import packing
from hermes_kanban_plugin.maintenance.progress import silent
from hermes_kanban_plugin.models import Frozen
from hermes_kanban_plugin.store import connection, migrations, schema, snapshots
from hermes_kanban_plugin.store.connection import translating
from hermes_kanban_plugin.store.transaction import immediate

if TYPE_CHECKING:
    import sqlite3

    from hermes_kanban_plugin.board import Board
    from hermes_kanban_plugin.locations import BoardLocation
    from hermes_kanban_plugin.maintenance.progress import Progress

SUFFIX = ".db"
COPYING, CHECKING = "copying the board", "checking the copy"
_NAME = re.compile(r"(?P<board>[a-z0-9][a-z0-9\-_]{0,63})-(?P<stamp>\d{8}-\d{6})(?:-(?P<number>\d+))?\.db")


class Snapshot(Frozen):
    """What a snapshot is; ``made_at`` in epoch seconds, ``attachments`` a number of files, ``left_out`` their names.

    ``board`` is empty for a copy that some other program made.
    """

    path: Path
    bytes: int
    board: str = ""
    made_at: int
    tasks: int
    runs: int
    events: int
    attachments: int = 0
    attachments_roots: list[str] = []
    left_out: list[str] = []
    metadata: dict[str, object] = {}


def folder_of(root: Path) -> Path:
    """Return where snapshots go when nobody says otherwise; one folder for all boards of a kanban home."""
    return root / "kanban" / "backups"


def path_for(location: BoardLocation, now: int, folder: Path | None = None) -> Path:
    """Return a free file name for a snapshot: board and moment, in local time."""
    folder = folder or folder_of(location.root)
    stamp = time.strftime("%Y%m%d-%H%M%S", time.localtime(now))
    names = (f"{location.slug}-{stamp}{f'-{number}' if number else ''}{SUFFIX}" for number in range(1000))
    return next(folder / name for name in names if not (folder / name).exists())


def take(board: Board, path: Path, progress: Progress = silent, *, attachments: bool = True) -> Snapshot:
    """Write a verified snapshot of a board; the board is only read, and goes on.

    Args:
        board: it may be written by others meanwhile; the snapshot is as of one moment.
        path: a file that does not exist yet.
        progress: is told how far it is.
        attachments: whether the files below the board's attachments folder are put in too.

    Raises:
        InvalidArgument: there is a file already.
        BoardUnusable: the board is damaged or unreadable, or the snapshot cannot be written; no file is left behind.
    """
    if path.exists():
        raise InvalidArgument(f"{path} exists already; name another file, or none for a name with the time in it")

    def build(target: sqlite3.Connection) -> None:
        with translating(board.path), snapshots.one_moment(board.reader) as source:
            expected = snapshots.counts_of(source)
            snapshots.copy(source, target, lambda share: progress(COPYING, share))
            files = packing.listed(source, board.location.attachments) if attachments else []
        snapshots.leave_log(target)
        with immediate(target):
            snapshots.label(target, _facts(board))
            left_out = packing.pack(target, board.location.attachments, files, progress)
            snapshots.note(target, "left_out", json.dumps(left_out))
        _verify(target, path, expected, progress)

    if not connection.create_file(str(path), build, journal="DELETE"):
        raise InvalidArgument(f"{path} was made by somebody else meanwhile; name another file")
    return inspect(path)


def inspect(path: Path) -> Snapshot:
    """Return what a snapshot is, without checking all of it.

    Raises:
        InvalidArgument: there is no such file.
        BoardUnusable: it is not SQLite, damaged or no board.
        SchemaTooNew: a newer version of this plugin made it.
    """
    reader = open_snapshot(path)
    try:
        with translating(str(path)):
            return describe(reader, path)
    finally:
        reader.close()


def open_snapshot(path: Path) -> sqlite3.Connection:
    """Open a snapshot for reading; the caller closes it. Raises as :func:`inspect`."""
    if not path.is_file():
        raise InvalidArgument(f"there is no snapshot at {path}; name a file that hermes-kanban backup wrote")
    try:
        reader = connection.open_reader(str(path))
    except BoardUnusable as problem:
        raise BoardUnusable(
            f"{path} is no snapshot of a board ({problem.__cause__ or problem}); name another file"
        ) from problem
    try:
        with translating(str(path)):
            if not schema.is_board(reader):
                raise BoardUnusable(f"{path} is an SQLite file but holds no board; name a snapshot of a board")
            migrations.is_current(reader)
    except BaseException:
        reader.close()
        raise
    return reader


def describe(reader: sqlite3.Connection, path: Path) -> Snapshot:
    """Return what an open snapshot is."""
    facts, counts, seen = snapshots.facts_of(reader), snapshots.counts_of(reader), path.stat()
    return Snapshot(
        path=path,
        bytes=seen.st_size,
        board=facts.get("board", ""),
        made_at=int(facts.get("made_at", seen.st_mtime)),
        tasks=counts["tasks"],
        runs=counts["task_runs"],
        events=counts["task_events"],
        attachments=len(snapshots.stored_files(reader)),
        attachments_roots=json.loads(facts.get("attachments_roots", "[]")),
        left_out=json.loads(facts.get("left_out", "[]")),
        metadata=json.loads(facts.get("metadata", "{}")),
    )


def listed(folder: Path, slug: str | None = None) -> list[Path]:
    """Return the snapshots in a folder by our names for them, of one board or of all, newest first."""
    found = []
    for path in folder.glob(f"*{SUFFIX}"):
        name = _NAME.fullmatch(path.name)
        if name and slug in (None, name["board"]):
            found.append((name["stamp"], int(name["number"] or 0), path))
    return [path for _, _, path in sorted(found, reverse=True)]


def board_of(path: Path) -> str:
    """Return the board that a snapshot's name says it is of, or nothing."""
    name = _NAME.fullmatch(path.name)
    return name["board"] if name else ""


def prune(folder: Path, slug: str, keep: int) -> list[Path]:
    """Remove all but the newest snapshots of a board; returns what was removed.

    Raises:
        InvalidArgument: it would keep none.
    """
    if keep < 1:
        raise InvalidArgument(f"--keep is {keep}, and must be at least 1; nothing was removed")
    surplus = listed(folder, slug)[keep:]
    for path in surplus:
        path.unlink(missing_ok=True)
    return surplus


def _facts(board: Board) -> dict[str, str]:
    return {
        "board": board.slug,
        "made_at": str(board.clock.now()),
        "made_by": f"hermes-kanban-plugin {__version__}",
        "made_from": board.path,
        "attachments_roots": json.dumps(packing.roots_of(board.location.attachments)),
        "metadata": json.dumps(locations.metadata_of(board.location)),
    }


def _verify(target: sqlite3.Connection, path: Path, expected: dict[str, int], progress: Progress) -> None:
    progress(CHECKING, 0.0)
    damage = snapshots.damage_of(target)
    if damage is not None:
        raise BoardUnusable(
            f"the board is damaged ({damage}), so no snapshot {path} was kept; restore an earlier one with: "
            "hermes-kanban restore FILE"
        )
    copied = snapshots.counts_of(target)
    if copied != expected:
        raise BoardUnusable(f"the copy {path} has {copied} rows instead of {expected}, it was not kept; try again")
    progress(CHECKING, 1.0)
