"""``schedule``: a task that waits for a time."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hermes_kanban_plugin.cli import acting, output, times
from hermes_kanban_plugin.errors import InvalidArgument
from hermes_kanban_plugin.store import timers

if TYPE_CHECKING:
    import argparse


def schedule(args: argparse.Namespace) -> None:
    """Park a task until a moment; the dispatcher brings it back then."""
    due_at = times.chosen(args.at, args.after, "--at", "--in")
    if due_at is None:
        raise InvalidArgument(
            f"until when? add --at or --in; to park it until somebody opens it: hermes kanban schedule {args.task_id}"
        )
    actor, reason = acting.person_or_worker().profile, " ".join(args.reason) or None
    with acting.board_or_copy(args) as board:
        timers.park(board.writer, args.task_id, due_at, reason, actor, board.clock.now())
    if args.json:
        said = {"task_id": args.task_id, "status": "scheduled", "due_at": due_at, "dry_run": args.dry_run}
        return output.print_json(said)
    return acting.tell(args, "schedule", "scheduled", args.task_id, f"until {output.moment(due_at)}")
