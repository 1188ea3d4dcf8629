"""``gc``: what grows without end is cut down to a number of days, and only what nobody needs any more.

Looking at it and doing it count by the same conditions; tasks themselves, their runs, comments, links and attachments
are never touched. Rule source: contract section 10 (``gc``) and W25, failure modes G9 and G13.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from hermes_kanban_plugin.errors import InvalidArgument
from hermes_kanban_plugin.maintenance.progress import silent
from hermes_kanban_plugin.models import Frozen
from hermes_kanban_plugin.store import retention
from hermes_kanban_plugin.store.connection import translating

if TYPE_CHECKING:
    from pathlib import Path

    from hermes_kanban_plugin.board import Board
    from hermes_kanban_plugin.maintenance.progress import Progress

DAY = 86_400
LOGS = "logs of finished tasks"
# Less would take what a person still looks at, more is a slip of the finger.
LEAST_DAYS, MOST_DAYS = 1, 3650

# A task's worker log, or one with a word for another kind of work, and its older generations.
_LOG_NAME = re.compile(r"(?P<task>[^/.]+)(?:\.[a-z]+)?\.log(?:\.\d+)?")


class Policy(NamedTuple):
    """For how many days things are kept after a task is finished."""

    events_days: int = 30
    logs_days: int = 30
    runs_days: int = 90

    def check(self) -> None:
        """Refuse impossible values.

        Raises:
            InvalidArgument: a number is not between 1 and 3650 days; nothing was removed.
        """
        for name, days in self._asdict().items():
            if isinstance(days, bool) or not isinstance(days, int) or not LEAST_DAYS <= days <= MOST_DAYS:
                flag = f"--{name.replace('_', '-')}"
                raise InvalidArgument(
                    f"{flag} is {days!r}, and must be a whole number from {LEAST_DAYS} to {MOST_DAYS} days; nothing "
                    "was removed. See what would go with: hermes-kanban gc --dry-run"
                )


class Heap(Frozen):
    """What one rule removes: how many items, their bytes (files only), when the oldest of them was written."""

    name: str
    items: int
    bytes: int | None = None
    oldest: int | None = None


class Cleaning(Frozen):
    """What was removed from a board or, in a dry run, would be."""

    board: str
    dry_run: bool
    events_days: int
    logs_days: int
    runs_days: int
    heaps: list[Heap]

    @property
    def items(self) -> int:
        """How many rows and files in all."""
        return sum(heap.items for heap in self.heaps)


def survey(board: Board, policy: Policy) -> Cleaning:
    """Return what :func:`clean` would remove now; changes nothing.

    Raises:
        InvalidArgument: a number of days is impossible.
    """
    policy.check()
    now = board.clock.now()
    with translating(board.path):
        heaps = _count_rows(board, cutoffs_of(policy, now))
    heaps.append(_heap_of(old_logs(board, now - policy.logs_days * DAY)))
    return Cleaning(board=board.slug, dry_run=True, heaps=heaps, **policy._asdict())


def clean(board: Board, policy: Policy, progress: Progress = silent) -> Cleaning:
    """Remove what is older than the policy allows; returns what was removed.

    Raises:
        InvalidArgument: a number of days is impossible; nothing was removed.
        BoardUnusable: the board cannot be written.
    """
    policy.check()
    now = board.clock.now()
    cutoffs, heaps = cutoffs_of(policy, now), []
    with translating(board.path):
        counted = {heap.name: heap for heap in _count_rows(board, cutoffs)}
        for rule in retention.known_rules(board.writer):
            removed = 0
            for rows, share in retention.remove(board.writer, rule, cutoffs):
                removed += rows
                progress(rule.name, share)
            oldest = counted[rule.name].oldest if rule.name in counted and removed else None
            heaps.append(Heap(name=rule.name, items=removed, oldest=oldest))
    heaps.append(_remove_logs(board, now - policy.logs_days * DAY, progress))
    return Cleaning(board=board.slug, dry_run=False, heaps=heaps, **policy._asdict())


def cutoffs_of(policy: Policy, now: int) -> retention.Cutoffs:
    """Return the moments before which things go, epoch seconds."""
    repeats = now - min(policy.events_days * DAY, retention.COALESCE_SECONDS)
    return retention.Cutoffs(now - policy.events_days * DAY, repeats, now - policy.runs_days * DAY)


def old_logs(board: Board, before: int) -> list[Path]:
    """Return the log files of tasks that are finished or gone, last written before a moment; oldest first.

    Logs of unfinished tasks stay whatever their age, and so does every file that is no worker log.
    """
    unfinished = retention.unfinished(board.reader)
    found = []
    for path in sorted(board.location.logs.glob("*.log*")):
        name = _LOG_NAME.fullmatch(path.name)
        if name and name["task"] not in unfinished and path.is_file() and not path.is_symlink():
            written = path.stat().st_mtime
            if written < before:
                found.append((written, path))
    return [path for _, path in sorted(found)]


def _count_rows(board: Board, cutoffs: retention.Cutoffs) -> list[Heap]:
    heaps = []
    for rule in retention.known_rules(board.reader):
        amount = retention.count(board.reader, rule, cutoffs)
        heaps.append(Heap(name=rule.name, items=amount.rows, oldest=amount.oldest))
    return heaps


def _heap_of(paths: list[Path]) -> Heap:
    sizes = [path.stat() for path in paths]
    oldest = min((int(seen.st_mtime) for seen in sizes), default=None)
    return Heap(name=LOGS, items=len(paths), bytes=sum(seen.st_size for seen in sizes), oldest=oldest)


def _remove_logs(board: Board, before: int, progress: Progress) -> Heap:
    paths = old_logs(board, before)
    heap = _heap_of(paths)
    for number, path in enumerate(paths, 1):
        path.unlink(missing_ok=True)
        progress(LOGS, number / len(paths))
    return heap
