"""``restore``: a snapshot becomes the board again, in one transaction, without a claim of the past.

The board that is replaced is kept beside as a snapshot of its own. The snapshot is first made a board in a file of its
own (claims voided, attachments' paths moved), then poured into the living file through SQLite, so that whoever has the
board open sees the old one or the new one. Only a board that cannot be opened any more is moved aside as a file.
Rule source: contract W1, failure modes G3 and G11, DESIGN.md section 1.
"""

from __future__ import annotations

import json
import os
import sqlite3
import time
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from pydantic import ValidationError

from hermes_kanban_plugin import locations, locks, wake
from hermes_kanban_plugin.board import Board
from hermes_kanban_plugin.errors import BoardInUse, BoardUnusable
from hermes_kanban_plugin.maintenance import occupancy, packing, snapshots
from hermes_kanban_plugin.maintenance.progress import silent
from hermes_kanban_plugin.models import Frozen
from hermes_kanban_plugin.store import connection, dispatchers, migrations, orphans, queries, schema
from hermes_kanban_plugin.store import snapshots as copies
from hermes_kanban_plugin.store.connection import translating
from hermes_kanban_plugin.store.transaction import immediate

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from hermes_kanban_plugin.clock import Clock
    from hermes_kanban_plugin.locations import BoardLocation
    from hermes_kanban_plugin.maintenance.occupancy import Occupant
    from hermes_kanban_plugin.maintenance.progress import Progress
    from hermes_kanban_plugin.maintenance.snapshots import Snapshot
    from hermes_kanban_plugin.manager import Manager

CHECKING, KEEPING, PREPARING, POURING = (
    "checking the snapshot", "keeping the board as it is", "preparing the board", "putting it into place",
)  # fmt: skip
REASON = "the board was restored from a snapshot"
UNSEEN_RUNS = 1_000_000  # more than a board gives out between two backups; the run id is the fencing token
MOVED_SUFFIXES = ("", "-wal", "-shm", "-journal")


class Restoration(Frozen):
    """What a restore did or, in a dry run, would do.

    ``voided`` are the tasks whose claims were taken away, ``replaced`` where the former board is kept (None: there was
    none), ``obstacles`` what stood in the way and was overruled (dry run: what stands in the way).
    """

    board: str
    database: Path
    snapshot: Path
    made_at: int
    dry_run: bool
    tasks: int
    tasks_before: int | None = None
    replaced: Path | None = None
    voided: list[str] = []
    attachments: int = 0
    obstacles: list[str] = []


class _Plan(NamedTuple):
    """What is known before anything is done; ``former`` is None when there is no usable board."""

    location: BoardLocation
    snapshot: Snapshot
    stamp: str
    now: int


def restore(
    path: Path,
    location: BoardLocation,
    manager: Manager,
    clock: Clock,
    progress: Progress = silent,
    *,
    force: bool = False,
    dry_run: bool = False,
) -> Restoration:
    """Make a snapshot the board at a location.

    Args:
        path: a snapshot of ours, or any sound SQLite copy of a board.
        location: the board that is replaced or made.
        manager: answers which workers live.
        clock: what time it is.
        progress: is told how far it is.
        force: go on although a dispatcher serves or somebody works; their runs are fenced off.
        dry_run: check everything, change nothing.

    Raises:
        BoardInUse: somebody is at work and ``force`` is not given; nothing was changed.
        BoardUnusable: the snapshot is damaged or no board, or the board's folder cannot be written.
        SchemaTooNew: a newer version of this plugin made the snapshot.
    """
    now = clock.now()
    stamp = time.strftime("%Y%m%d-%H%M%S", time.localtime(now))
    with ExitStack() as stack:
        source = stack.enter_context(closing(snapshots.open_snapshot(path)))
        plan = _Plan(location, _checked(source, path, progress), stamp, now)
        former = _open(location, clock)
        if former is not None:
            stack.enter_context(former)
        remains = former.reader if former is not None else _open_remains(stack, location)
        found = _claim_the_house(stack, plan, remains, manager, locks.looking if dry_run else locks.trying)
        sentences = [occupant.sentence for occupant in found]
        if found and not (force or dry_run):
            raise BoardInUse(location.slug, sentences)
        done = Restoration(
            board=location.slug,
            database=location.database,
            snapshot=path,
            made_at=plan.snapshot.made_at,
            dry_run=dry_run,
            tasks=plan.snapshot.tasks,
            tasks_before=copies.counts_of(former.reader)["tasks"] if former else None,
            voided=_claimed(source),
            attachments=plan.snapshot.attachments,
            obstacles=sentences,
        )
        if dry_run:
            return done
        living = [occupant.living_run for occupant in found if occupant.living_run]
        written = packing.unpack(source, location.attachments, stamp, progress)
        replaced, voided = _replace(plan, source, former, remains, living, progress)
        _keep_metadata(plan)
    wake.nudge(str(location.root))
    return done.model_copy(update={"replaced": replaced, "voided": voided, "attachments": written})


def _checked(source: sqlite3.Connection, path: Path, progress: Progress) -> Snapshot:
    progress(CHECKING, 0.0)
    damage = copies.damage_of(source)
    if damage is not None:
        raise BoardUnusable(f"the snapshot {path} is damaged ({damage}); nothing was changed, restore an earlier one")
    progress(CHECKING, 1.0)
    with translating(str(path)):
        return snapshots.describe(source, path)


def _open(location: BoardLocation, clock: Clock) -> Board | None:
    """Open the board that is to be replaced, if there is one that can be opened and is sound."""
    if not location.database.exists():
        return None
    try:
        former = Board(location, clock)
    except BoardUnusable:
        return None
    if copies.damage_of(former.reader) is None:
        return former
    former.close()
    return None


def _open_remains(stack: ExitStack, location: BoardLocation) -> sqlite3.Connection | None:
    """Open a damaged board for reading: it may still tell who works on it and how far its runs were counted."""
    try:
        return stack.enter_context(closing(connection.open_reader(str(location.database))))
    except (BoardUnusable, sqlite3.Error):
        return None


def _claim_the_house(
    stack: ExitStack,
    plan: _Plan,
    remains: sqlite3.Connection | None,
    manager: Manager,
    trying: Callable[[Path], AbstractContextManager[bool]],
) -> list[Occupant]:
    """Keep dispatchers out until the stack is left; returns who was there already."""
    found, location, now = [], plan.location, plan.now
    free = stack.enter_context(trying(locations.dispatcher_lock(location.root)))
    if not free:
        term = None
        with suppress(sqlite3.Error):
            term = dispatchers.serving(remains, now) if remains else None
        who = f" (pid {term.dispatcher.pid})" if term else ""
        found.append(occupancy.Occupant(f"a dispatcher or gateway{who} serves this home"))
    if not stack.enter_context(trying(locations.tick_lock(location.database))) and free:
        found.append(occupancy.Occupant("somebody is ticking the board right now"))
    if remains is not None:
        found += _workers(remains, manager, now)
    return found


def _workers(remains: sqlite3.Connection, manager: Manager, now: int) -> list[Occupant]:
    try:
        return occupancy.workers(remains, manager, now)
    except (sqlite3.Error, ValidationError) as problem:
        return [occupancy.Occupant(f"who works on the damaged board cannot be read ({' '.join(str(problem).split())})")]


def _claimed(source: sqlite3.Connection) -> list[str]:
    return [row[0] for row in source.execute("SELECT id FROM tasks WHERE status = 'running' ORDER BY id")]


# --- the deed ------------------------------------------------------------------------------------------------------


def _replace(
    plan: _Plan,
    source: sqlite3.Connection,
    former: Board | None,
    remains: sqlite3.Connection | None,
    living: list[int],
    progress: Progress,
) -> tuple[Path | None, list[str]]:
    """Put the snapshot into place; returns where the former board is kept, and the tasks whose claims were voided."""
    database = plan.location.database
    prepared = database.with_name(f"{database.name}.restoring-{os.getpid()}")
    voided: list[str] = []

    def build(target: sqlite3.Connection) -> None:
        copies.copy(source, target, lambda share: progress(PREPARING, share))
        copies.leave_log(target)
        voided.extend(_prepare(target, plan, remains, living))
        if former is not None:
            copies.fit(target, copies.page_size_of(former.reader))

    try:
        if not connection.create_file(str(prepared), build):
            raise BoardUnusable(f"{prepared} is in the way; remove it and try again")
        if former is None:
            replaced = _move_aside(plan)
            os.link(prepared, database)
        else:
            replaced = _keep(plan, former, progress)
            _pour(prepared, plan, progress)
    finally:
        for suffix in MOVED_SUFFIXES:
            Path(f"{prepared}{suffix}").unlink(missing_ok=True)
    return replaced, voided


def _prepare(
    target: sqlite3.Connection, plan: _Plan, remains: sqlite3.Connection | None, living: list[int]
) -> list[str]:
    """Make a copy of a snapshot a board of today on which nobody works; returns the tasks that were taken back."""
    with immediate(target):
        copies.unlabel(target)
        schema.create(target)
        migrations.apply(target)
        for root in plan.snapshot.attachments_roots:
            copies.move_attachments(target, root, str(plan.location.attachments))
        rescues = [orphans.Rescue(run, "reclaimed", REASON, "restored") for run in queries.held_runs(target)]
        saved = orphans.rescue(target, rescues, plan.now)
        orphans.repair(target, plan.now)
        orphans.mark_ended(target, [run.run_id or 0 for run in queries.lingering_runs(target)], plan.now)
        copies.forget_watchers(target, plan.now)
        if plan.location.database.exists():
            copies.raise_counters(target, _given_out(remains, target))
        if remains is not None:
            with suppress(sqlite3.Error):  # a damaged board tells what it still can
                copies.carry_over(remains, target, living)
    return [one.run.task_id for one in saved]


def _given_out(remains: sqlite3.Connection | None, target: sqlite3.Connection) -> dict[str, int]:
    """Return how far the replaced board counted; behind what it can have reached when it cannot be asked any more."""
    if remains is not None:
        with suppress(sqlite3.Error):
            return copies.counters_of(remains)
    return {name: seq + UNSEEN_RUNS for name, seq in copies.counters_of(target).items()}


def _keep(plan: _Plan, former: Board, progress: Progress) -> Path:
    """Keep the board that is about to be replaced, as a snapshot beside it; attachments stay where they are."""
    database = plan.location.database
    kept = database.with_name(f"{database.name}.replaced-{plan.stamp}")
    number = 1
    while kept.exists():
        kept = database.with_name(f"{database.name}.replaced-{plan.stamp}-{number}")
        number += 1
    snapshots.take(former, kept, lambda _, share: progress(KEEPING, share), attachments=False)
    return kept


def _pour(prepared: Path, plan: _Plan, progress: Progress) -> None:
    """Copy the prepared board over the living one as one transaction, and check what stands there then."""
    path = str(plan.location.database)
    with (
        closing(connection.open_reader(str(prepared))) as source,
        closing(connection.open_writer(path)) as target,
        translating(path),
    ):
        copies.copy(source, target, lambda share: progress(POURING, share))
        damage = copies.damage_of(target)
    if damage is not None:
        raise BoardUnusable(
            f"board {path} is damaged after the restore ({damage}); the board before it is kept beside, check the disk"
        )


def _move_aside(plan: _Plan) -> Path | None:
    """Move a board that cannot be opened any more out of the way, with its log; returns where it is, if it was."""
    database = plan.location.database
    aside = database.with_name(f"{database.name}.replaced-{plan.stamp}")
    database.parent.mkdir(parents=True, exist_ok=True)
    moved = None
    for suffix in MOVED_SUFFIXES:
        piece = Path(f"{database}{suffix}")
        if piece.exists():
            piece.rename(f"{aside}{suffix}")
            moved = aside
    return moved


def _keep_metadata(plan: _Plan) -> None:
    """Give a board that is made anew its name and default folder back; what is there now is newer."""
    path = plan.location.metadata
    if plan.snapshot.metadata and not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(plan.snapshot.metadata, ensure_ascii=False, indent=2), encoding="utf-8")
