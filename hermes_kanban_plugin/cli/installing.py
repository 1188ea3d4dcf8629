"""Verbs that put the plugin into Hermes, take it out again, and look whether it is in."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from hermes_kanban_plugin import locations, requirements
from hermes_kanban_plugin.cli import output
from hermes_kanban_plugin.configuration import PLUGIN_ID
from hermes_kanban_plugin.errors import InvalidArgument, KanbanError, MissingPackages
from hermes_kanban_plugin.installation import plan, start_file
from hermes_kanban_plugin.requirements import DISTRIBUTION

if TYPE_CHECKING:
    import argparse

    from hermes_kanban_plugin.installation.changes import Change
    from hermes_kanban_plugin.installation.plan import Plan

NEXT_AFTER_SETUP = "next: hermes gateway restart, then: hermes-kanban status"


def setup(args: argparse.Namespace) -> int:
    """Enable the plugin in Hermes, or take that back.

    The exit status is 1 if something is in the way, and with ``--check`` if something is missing.
    """
    if args.check and args.undo:
        raise InvalidArgument("--check looks for what setup would do; to see what --undo would do: --undo --dry-run")
    if not args.undo:
        _refuse_what_could_not_run()
    make = plan.for_undo if args.undo else plan.for_setup
    made = make(locations.hermes_root(), args.profile, start_file.find())
    if args.undo and not args.profile:
        made.notes.extend(_farewells())
    looks_only = args.check or args.dry_run
    tell = _Teller() if not args.json else (lambda _: None)
    if not looks_only:
        plan.carry_out(made, tell)
    elif made.changes and not args.json:
        output.print_line("missing:" if args.check else "would be done:")
        for change in made.changes:
            tell(change)
    if args.json:
        output.print_json(_as_json(made, done=not looks_only))
    else:
        _print_end(made, undo=args.undo, looks_only=looks_only)
    return 1 if made.obstacles or (args.check and made.changes) else 0


def _refuse_what_could_not_run() -> None:
    lacking = requirements.unfit()
    if lacking:
        raise MissingPackages(requirements.advice(lacking))


class _Teller:
    """Prints changes as they come: what is done once, and below it the files that it is done to."""

    def __init__(self) -> None:
        self._last = ""

    def __call__(self, change: Change) -> None:
        if change.what != self._last:
            output.print_line(change.what)
            self._last = change.what
        output.print_line(f"  {change.path}")


def _print_end(made: Plan, *, undo: bool, looks_only: bool) -> None:
    for note in made.notes:
        output.print_line("note:", note)
    for obstacle in made.obstacles:
        output.print_line("in the way:", obstacle)
    if not made.changes:
        output.print_line(f"nothing {'more ' if made.obstacles else ''}{'to take back' if undo else 'is missing'}")
    elif not looks_only:
        output.print_line(_next_after_undo() if undo else NEXT_AFTER_SETUP)


def _farewells() -> list[str]:
    """Return what Hermes alone will not heed on the boards; nothing where a part of us that reads them is missing."""
    try:
        from hermes_kanban_plugin.configuration import load_or_default
        from hermes_kanban_plugin.installation import parting
    except ImportError:
        return []
    root = locations.kanban_root()
    lanes = load_or_default(root, lenient=True).plugin.lanes
    return [line for board in locations.serving_boards(root) for line in parting.left_behind(board, lanes)]


def _next_after_undo() -> str:
    """Return what remains to be done, in the words of this kind of installation."""
    if start_file.find().clone is None:
        return f"next: hermes gateway restart; then the package may go: {requirements.pip('uninstall', DISTRIBUTION)}"
    return f"next: hermes gateway restart; then the folder may go: hermes plugins remove {PLUGIN_ID}"


def _as_json(made: Plan, *, done: bool) -> dict[str, Any]:
    changes = [{"path": str(change.path), "what": change.what, "done": done} for change in made.changes]
    complete = not made.obstacles and (done or not made.changes)
    return {"changes": changes, "notes": made.notes, "obstacles": made.obstacles, "complete": complete}


# --- doctor --------------------------------------------------------------------------------------------------------


def doctor(args: argparse.Namespace) -> int:
    """Say what is wrong with the installation and on the boards, and how to mend it; status 1 if something is."""
    _refuse_what_could_not_run()
    from hermes_kanban_plugin.cli import explaining
    from hermes_kanban_plugin.diagnosis.finding import worst_first
    from hermes_kanban_plugin.installation import checks

    mended = _mend(quiet=args.json) if args.fix else []
    found = checks.run(args.board)
    told = {one.kind for one in found}
    found = worst_first([*found, *(one for one in explaining.board_findings(args.board) if one.kind not in told)])
    if args.json:
        output.print_json({"findings": [one.model_dump(mode="json") for one in found], "mended": mended})
    else:
        explaining.print_findings(found)
    return 1 if any(one.holds_up for one in found) else 0


def _mend(*, quiet: bool) -> list[dict[str, str]]:
    """Do what setup would do; returns what was changed. What keeps it from that is told, and the look goes on."""
    try:
        made = plan.for_setup(locations.hermes_root(), None, start_file.find())
        plan.carry_out(made, (lambda _: None) if quiet else _Teller())
    except KanbanError as problem:
        print(f"hermes-kanban: nothing was mended: {output.clean(problem)}", file=sys.stderr)
        return []
    return [{"path": str(change.path), "what": change.what} for change in made.changes]
