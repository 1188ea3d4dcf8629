"""The words that stand in two programs: verbs of ``hermes-kanban``, and in ``hermes kanban`` once we are enabled there.

Each is described here once and does the same in both. Importing this module loads nothing but argparse.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable


class Word(NamedTuple):
    """One word: its name, the function that does it (``module.function`` below ``cli``), and its arguments.

    ``ours`` are the destinations of the flags that make a call of the host's own word ours; a word without any is
    wholly ours. ``optional`` are the host's arguments that such a call does not need.
    """

    name: str
    run: str
    about: str
    add_flags: Callable[[argparse.ArgumentParser], None]
    ours: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()


def _add_status_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print JSON")


def _add_doctor_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--fix", action="store_true", help="mend what setup can mend, then look again")
    parser.add_argument("--json", action="store_true", help="print JSON")


def _add_stop_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("task_id")
    parser.add_argument("--reason", help="kept in the history")


def _add_reclaim_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--stale", action="store_true", help="instead of one task: every task whose run is proven gone")
    parser.add_argument("--dry-run", action="store_true", help="with --stale: say which, and change nothing")


def _add_edit_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--clear-claim", action="store_true", help="take away the claim of a run that has gone")
    parser.add_argument("--clear-skills", action="store_true", help="forget the skills that its worker must load")
    parser.add_argument("--reset-failures", action="store_true", help="count failures anew; a block stays")


NEW = (
    Word("status", "operating.status", "say who dispatches and what runs; changes nothing", _add_status_flags),
    Word("doctor", "installing.doctor", "look for what is wrong with the installation", _add_doctor_flags),
    Word("stop", "operating.stop", "end a task's worker and block the task until you unblock it", _add_stop_flags),
)
EXTENDED = (
    Word(
        "reclaim",
        "operating.reclaim",
        "take a task back from its run; the worker is stopped",
        _add_reclaim_flags,
        ("stale", "dry_run"),
        ("task_id",),
    ),
    Word(
        "edit",
        "operating.edit",
        "repair a task: its claim, its skills, its failure count",
        _add_edit_flags,
        ("clear_claim", "clear_skills", "reset_failures"),
        ("result",),
    ),
)
