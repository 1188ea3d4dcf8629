"""The words that stand in two programs: verbs of ``hermes-kanban``, and in ``hermes kanban`` once we are enabled there.

Each is described here once and does the same in both. Importing this module loads nothing but argparse.
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, NamedTuple

from hermes_kanban_plugin.cli.times import duration, moment

if TYPE_CHECKING:
    from collections.abc import Callable


class Word(NamedTuple):
    """One word: its name, the function that does it (``module.function`` below ``cli``), and its arguments.

    ``ours`` are the destinations of the flags that make a call of the host's own word ours; a word without any is
    wholly ours. ``optional`` are the host's arguments that such a call does not need. ``in_chats`` makes every call in
    a chat ours, because the host's word never ends there.
    """

    name: str
    run: str
    about: str
    add_flags: Callable[[argparse.ArgumentParser], None]
    ours: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()
    in_chats: bool = False


def named(text: str) -> str:
    """Return a name or path that is not empty: a variable that is not set must not mean another board or folder."""
    if not text.strip():
        raise argparse.ArgumentTypeError("an empty name; leave it out, or name one")
    return text


def _add_status_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--probe", action="store_true", help="one line, and an exit status for each state")
    parser.add_argument("--json", action="store_true", help="print JSON")


def _add_doctor_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--fix", action="store_true", help="mend what setup can mend, then look again")
    parser.add_argument("--json", action="store_true", help="print JSON")


def _add_why_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("task_id")
    parser.add_argument("--json", action="store_true", help="print JSON")


def _add_stop_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("task_id")
    parser.add_argument("--reason", help="kept in the history")
    add_trying_flags(parser)


def add_trying_flags(parser: argparse.ArgumentParser) -> None:
    """Add what every verb has that changes something."""
    parser.add_argument("--dry-run", action="store_true", help="say what would happen and change nothing")
    parser.add_argument("--json", action="store_true", help="print JSON")


def _add_reclaim_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--stale", action="store_true", help="instead of one task: every task whose run is proven gone")
    add_trying_flags(parser)


def _add_edit_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--clear-claim", action="store_true", help="take away the claim of a run that has gone")
    parser.add_argument("--clear-skills", action="store_true", help="forget the skills that its worker must load")
    parser.add_argument("--reset-failures", action="store_true", help="count failures anew; a block stays")
    add_trying_flags(parser)


def _add_accept_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("task_id")
    parser.add_argument("--reject", action="store_true", help="refuse it instead; the task goes on from where it is")
    parser.add_argument("--dry-run", action="store_true", help="show what was handed over and change nothing")
    parser.add_argument("--json", action="store_true", help="print JSON")


def _add_board_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--all", action="store_true", help="every board of the kanban home")
    add_trying_flags(parser)


def _add_pause_flags(parser: argparse.ArgumentParser) -> None:
    _add_resume_flags(parser)
    parser.add_argument("--reason", help="for whoever wonders later")


def _add_resume_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("slug", nargs="?", type=named, metavar="BOARD", help="the board (default: the current one)")
    _add_board_flags(parser)


def _add_backup_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "file", nargs="?", type=named, metavar="FILE", help="a new file, or a folder (default: kanban/backups)"
    )
    parser.add_argument("--keep", type=int, metavar="N", help="then keep only the N newest of this board in the folder")
    parser.add_argument("--no-attachments", action="store_true", help="leave the attachments out")
    _add_board_flags(parser)


def _add_restore_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", type=named, metavar="FILE", help="a snapshot, or a folder of them")
    parser.add_argument("--force", action="store_true", help="although somebody is at work; they are fenced off")
    parser.add_argument("--dry-run", action="store_true", help="check everything and change nothing")
    parser.add_argument("--json", action="store_true", help="print JSON")


def _add_cancel_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("task_id")
    parser.add_argument("--subtree", action="store_true", help="and every task that waits for it")
    parser.add_argument("--reason", help="kept in the history")
    add_trying_flags(parser)


def _add_schedule_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--at", type=moment, metavar="WHEN", help="until then: 2027-03-01, 09:30, or both")
    parser.add_argument("--in", type=duration, dest="after", metavar="TIME", help="for so long: 90s, 30m, 2h, 1d")
    add_trying_flags(parser)


def _add_watch_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--once", action="store_true", help="print one picture of the board and end")
    parser.add_argument("--json", action="store_true", help="print JSON")


def _add_export_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", nargs="?", type=named, metavar="FILE", help="a new file (default: standard output)")


NEW = (
    Word("status", "status.status", "say who dispatches and what runs; changes nothing", _add_status_flags),
    Word("why", "explaining.explain", "say why a task is not running, and what happens next", _add_why_flags),
    Word("doctor", "installing.doctor", "look for what is wrong, here and on the boards", _add_doctor_flags),
    Word("stop", "operating.stop", "end a task's worker and block the task until you unblock it", _add_stop_flags),
    Word(
        "accept",
        "deciding.accept",
        "take what a worker handed over too late for the end of its task",
        _add_accept_flags,
    ),
    Word("cancel", "cancelling.cancel", "put a task away that is not wanted any more", _add_cancel_flags),
    Word("pause", "keeping.pause", "start nothing new on a board; what runs goes on", _add_pause_flags),
    Word("resume", "keeping.resume", "let the tasks of a paused board start again", _add_resume_flags),
    Word("backup", "keeping.backup", "write a checked snapshot while everything goes on", _add_backup_flags),
    Word("restore", "keeping.restore", "make a snapshot the board again; claims are voided", _add_restore_flags),
    Word("export", "keeping.export", "print the board as JSON lines, without secrets", _add_export_flags),
)
EXTENDED = (
    Word(
        "schedule",
        "scheduling.schedule",
        "park a task until a time comes, when it starts by itself",
        _add_schedule_flags,
        ("at", "after", "dry_run", "json"),
    ),
    Word(
        "reclaim",
        "operating.reclaim",
        "take a task back from its run; the worker is stopped",
        _add_reclaim_flags,
        ("stale", "dry_run", "json"),
        ("task_id",),
    ),
    Word(
        "edit",
        "operating.edit",
        "repair a task: its claim, its skills, its failure count",
        _add_edit_flags,
        ("clear_claim", "clear_skills", "reset_failures", "dry_run", "json"),
        ("result",),
    ),
    Word(
        "watch",
        "watching.watch",
        "show the board live; a key takes a task back",
        _add_watch_flags,
        ("once", "json"),
        in_chats=True,
    ),
)
