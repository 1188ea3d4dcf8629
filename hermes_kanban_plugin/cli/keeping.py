"""Verbs that keep a board small, safe and quiet: gc, backup, restore, export, pause, resume, stats."""

from __future__ import annotations

import io
import os
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from hermes_kanban_plugin import configuration, locations
from hermes_kanban_plugin.board import Board, open_board
from hermes_kanban_plugin.cli import acting, output
from hermes_kanban_plugin.cli.progress import showing
from hermes_kanban_plugin.clock import Clock
from hermes_kanban_plugin.errors import InvalidArgument, UnknownBoard
from hermes_kanban_plugin.maintenance import export as exporting
from hermes_kanban_plugin.maintenance import pausing, restoring, retention, snapshots, statistics
from hermes_kanban_plugin.manager import Manager

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence
    from contextlib import AbstractContextManager

    from hermes_kanban_plugin.locations import BoardLocation
    from hermes_kanban_plugin.maintenance.pausing import Pausing
    from hermes_kanban_plugin.maintenance.restoring import Restoration
    from hermes_kanban_plugin.maintenance.retention import Cleaning
    from hermes_kanban_plugin.maintenance.snapshots import Snapshot
    from hermes_kanban_plugin.maintenance.statistics import Statistics, Window

_SIZES = ("B", "KiB", "MiB", "GiB", "TiB")


# --- gc ------------------------------------------------------------------------------------------------------------


def gc(args: argparse.Namespace) -> None:
    """Remove what is older than the given days, or say what would go."""
    policy = retention.Policy(args.events_days, args.logs_days, args.runs_days)
    policy.check()
    done = []
    for location in _boards(args):
        with Board(location, Clock()) as board:
            if args.dry_run:
                done.append(retention.survey(board, policy))
            else:
                with showing(quiet=args.json) as progress:
                    done.append(retention.clean(board, policy, progress))
    if args.json:
        return output.print_json(done)
    for cleaning in done:
        _print_cleaning(cleaning)
    return None


def _print_cleaning(done: Cleaning) -> None:
    verb = "would remove" if done.dry_run else "removed"
    rows = [
        (heap.items, "" if heap.bytes is None else size(heap.bytes), output.moment(heap.oldest)[:10], heap.name)
        for heap in done.heaps
        if heap.items
    ]
    days = f"events {done.events_days}, logs {done.logs_days}, runs {done.runs_days} days"
    output.print_line(f"board {done.board}: {verb} {sum(row[0] for row in rows)} items ({days})")
    if rows:
        output.print_table(("items", "size", "oldest", "what"), rows, "")


# --- backup and restore --------------------------------------------------------------------------------------------


def backup(args: argparse.Namespace) -> None:
    """Write a verified snapshot of a board, or of every board into a folder."""
    chosen, target = _boards(args), Path(os.path.expanduser(args.file)).absolute() if args.file else None
    into = target if target is not None and (args.all or target.is_dir()) else None
    _check_backup(args, target, into)
    planned: list[Path] = []
    taken, removed = [], []
    for location in chosen:
        with Board(location, Clock()) as board:
            folder = into or snapshots.folder_of(location.root)
            alone = target is not None and into is None
            path = target if target is not None and alone else snapshots.path_for(location, board.clock.now(), folder)
            if args.dry_run:
                planned.append(path)
                continue
            with showing(quiet=args.json) as progress:
                taken.append(snapshots.take(board, path, progress, attachments=not args.no_attachments))
            if args.keep is not None:
                removed += snapshots.prune(folder, location.slug, args.keep)
    if args.json:
        plan = {"dry_run": args.dry_run, "would_write": [str(path) for path in planned]}
        return output.print_json({**plan, "snapshots": taken, "removed": [str(path) for path in removed]})
    for path in planned:
        output.print_line("would write", path)
    for snapshot in taken:
        _print_snapshot(snapshot)
    for path in removed:
        output.print_line("removed", path)
    return None


def _check_backup(args: argparse.Namespace, target: Path | None, into: Path | None) -> None:
    """Refuse before a byte is written what would end halfway."""
    if args.keep is not None and args.keep < 1:
        raise InvalidArgument(f"--keep is {args.keep}; the new snapshot itself is kept, so name 1 or more")
    if args.all and target is not None and target.exists() and not target.is_dir():
        raise InvalidArgument(f"{target} is a file; with --all name a folder, or none")
    if args.keep is not None and target is not None and into is None:
        raise InvalidArgument("--keep counts the snapshots in a folder; name a folder, or no file")
    if target is not None and into is None and target.exists():
        raise InvalidArgument(f"{target} exists already; name another file, or none for a name with the time in it")


def _print_snapshot(taken: Snapshot) -> None:
    what = f"{taken.tasks} tasks, {taken.runs} runs, {taken.events} events, {taken.attachments} attachments"
    output.print_line("wrote", taken.path, f"({size(taken.bytes)}: {what}), checked")
    for name in taken.left_out:
        output.print_line("left out: attachment", name, "(missing, no file, or larger than 950 MiB)")


def restore(args: argparse.Namespace) -> None:
    """Make a snapshot the board again; from a folder, the newest snapshot of each board in it."""
    chosen = _snapshots_at(Path(os.path.expanduser(args.file)).absolute(), args.board)
    plans = [(path, _target_of(path, args.board)) for path in chosen]
    databases = [location.database for _, location in plans]
    if len(set(databases)) < len(databases):
        raise InvalidArgument(
            f"these snapshots would all be restored to {databases[0]}, which HERMES_KANBAN_DB names; unset it, or "
            "restore one file"
        )
    plugin = configuration.load_or_default(locations.kanban_root()).plugin
    manager, done = Manager(plugin.block_plugins), []
    for path, location in plans:
        with showing(quiet=args.json) as progress:
            done.append(
                restoring.restore(
                    path, location, manager, Clock(), progress, force=args.force, dry_run=args.dry_run
                )
            )  # fmt: skip
        if not args.json:
            _print_restoration(done[-1])
    if args.json:
        output.print_json(done)


def _snapshots_at(path: Path, slug: str | None) -> list[Path]:
    if not path.is_dir():
        return [path]
    newest: dict[str, Path] = {}
    for snapshot in snapshots.listed(path, slug):
        newest.setdefault(snapshots.board_of(snapshot), snapshot)
    if not newest:
        raise InvalidArgument(f"{path} holds no snapshot by our names; name the file")
    return list(newest.values())


def _target_of(path: Path, slug: str | None) -> BoardLocation:
    """Return where a snapshot belongs: the named board, else the one it was taken of, else the current one."""
    return locations.locate(slug or snapshots.inspect(path).board or None)


def _print_restoration(done: Restoration) -> None:
    verb = "would restore" if done.dry_run else "restored"
    made = output.moment(done.made_at)
    output.print_line(f"{verb} board {done.board} as of {made}: {done.tasks} tasks", _instead(done))
    for obstacle in done.obstacles:
        output.print_line("  in use:" if done.dry_run else "  overruled:", obstacle)
    if done.voided:
        output.print_line("  claims taken back:", ", ".join(done.voided))
    if done.attachments:
        output.print_line(f"  attachments {'in it' if done.dry_run else 'written'}: {done.attachments}")
    if done.replaced is not None:
        output.print_line("  the board before is kept:", done.replaced)


def _instead(done: Restoration) -> str:
    return "(there was no board that could be read)" if done.tasks_before is None else f"instead of {done.tasks_before}"


# --- export --------------------------------------------------------------------------------------------------------


def export(args: argparse.Namespace) -> None:
    """Print the board as JSON lines, or write them to a new file."""
    target = None if args.file in (None, "-") else Path(args.file).expanduser()
    if target is None and isinstance(sys.stdout, io.StringIO):
        raise InvalidArgument("a chat cannot take a whole board; name a file: export FILE")
    with open_board(args.board) as board, showing(quiet=target is None) as progress, _stream_to(target) as stream:
        lines = 0
        for record in exporting.records(board, progress):
            stream.write(exporting.line_of(record) + "\n")
            lines += 1
    if target is not None:
        output.print_line("exported", f"{lines} lines to", target)


def _stream_to(target: Path | None) -> AbstractContextManager[TextIO]:
    if target is None:
        return nullcontext(sys.stdout)
    try:
        return target.open("x", encoding="utf-8")  # never over a file that is there, least of all a board
    except FileExistsError as problem:
        raise InvalidArgument(f"{target} exists already; name another file") from problem


# --- pause, resume, stats ------------------------------------------------------------------------------------------


def pause(args: argparse.Namespace) -> None:
    """Start nothing new on a board until it is resumed."""
    _each(args, lambda board: pausing.pause(board, args.reason or "", _actor(), dry_run=args.dry_run))


def resume(args: argparse.Namespace) -> None:
    """Let tasks of a board start again."""
    _each(args, lambda board: pausing.resume(board, _actor(), dry_run=args.dry_run))


def _each(args: argparse.Namespace, deed: Any) -> None:
    done = []
    for location in _boards(args):
        with Board(location, Clock()) as board:
            done.append(deed(board))
    if args.json:
        return output.print_json(done)
    for one in done:
        _print_pausing(one)
    return None


def _print_pausing(done: Pausing) -> None:
    would = "would be " if done.dry_run else ""
    if done.paused:
        state = f"{would}paused" if done.changed else f"{would}paused still"
        output.print_line(f"board {done.board}: {state}; {done.running} running go on")
        for task_id in done.returned:
            output.print_line("  not started, back in its column:", task_id)
        output.print_line(f"  go on with: hermes-kanban resume {done.board}")
    else:
        output.print_line(f"board {done.board}: {f'{would}resumed' if done.changed else 'was not paused'}")


def stats(args: argparse.Namespace) -> None:
    """Print the figures of the last day and week."""
    with open_board(args.board) as board:
        found = statistics.gather(board)
    output.print_json(found) if args.json else _print_statistics(found)


def _print_statistics(found: Statistics) -> None:
    rows: list[tuple[object, ...]] = [
        ("tasks created", *(window.created for window in found.windows)),
        ("tasks completed", *(window.completed for window in found.windows)),
        ("attempts started", *(window.started for window in found.windows)),
        ("start to done, median", *(_duration(window.cycle.median) for window in found.windows)),
        ("start to done, 9 of 10", *(_duration(window.cycle.p90) for window in found.windows)),
        ("created to done, median", *(_duration(window.lead.median) for window in found.windows)),
    ]
    for label, kind in (("failed", "failures"), ("lost", "setbacks")):
        counts = [getattr(window, kind) for window in found.windows]
        causes = dict.fromkeys(cause for count in counts[::-1] for cause in count)
        rows += [(f"{label}: {cause}", *(count.get(cause, 0) for count in counts)) for cause in causes]
    users = dict.fromkeys(name for window in found.windows[::-1] for name in window.tokens)
    for name in users:
        used = (sum(window.tokens.get(name, (0, 0))) for window in found.windows)
        rows.append((f"tokens: {name or 'nobody'}", *(f"{number:,}" for number in used)))
    output.print_table((f"board {found.board}", *(f"last {window.name}" for window in found.windows)), rows, "")
    output.print_line()
    ages = {column.name: column for column in found.columns}
    names = dict.fromkeys([*ages, *(name for window in found.windows for name in window.card_seconds)])
    lines = []
    for name in names:
        now = ages.get(name)
        ours: tuple[object, ...] = (0, "", "", "")
        if now is not None:
            ours = (now.cards, _duration(now.median_age), _duration(now.oldest_age), now.oldest_task)
        lines.append((name, *ours, *(_hours(window, name) for window in found.windows)))
    heads = ("column", "cards", "median", "oldest", "task", *(f"hours/{window.name}" for window in found.windows))
    output.print_table(heads, lines, "no open cards")


def _hours(window: Window, column: str) -> str:
    return f"{window.card_seconds.get(column, 0) / 3600:.1f}"


def _duration(seconds: int | None) -> str:
    return "-" if seconds is None else output.span(0, seconds)


# --- what they share -----------------------------------------------------------------------------------------------


def size(count: int) -> str:
    """Return a number of bytes for people."""
    value, unit = float(count), _SIZES[0]
    for unit in _SIZES:
        if value < 1024 or unit == _SIZES[-1]:
            break
        value /= 1024
    return f"{value:.0f} {unit}" if unit == _SIZES[0] else f"{value:.1f} {unit}"


def _actor() -> str:
    return acting.person_or_worker().profile


def _boards(args: argparse.Namespace) -> Sequence[BoardLocation]:
    """Return the boards that a verb is for: all, the named one, or the current one."""
    if getattr(args, "all", False):
        found = locations.serving_boards(locations.kanban_root())
        if args.board or getattr(args, "slug", None):
            raise InvalidArgument("--all is for every board; leave the name out, or leave --all out")
        if not found:
            location = locations.locate()
            raise UnknownBoard(location.slug, location.database)
        return found
    slug = getattr(args, "slug", None)
    if slug and args.board and slug != args.board:
        raise InvalidArgument(f"two boards are named, {slug!r} and --board {args.board!r}; name one")
    return [locations.locate_existing(slug or args.board)]
