"""``cancel``: a task that is not wanted any more, and with ``--subtree`` all that waits for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hermes_kanban_plugin.board import open_board
from hermes_kanban_plugin.cli import acting, output
from hermes_kanban_plugin.foreign import stop_foreign_worker
from hermes_kanban_plugin.models import Task
from hermes_kanban_plugin.store import cancelling
from hermes_kanban_plugin.store.moves import Seen
from hermes_kanban_plugin.store.rows import read

if TYPE_CHECKING:
    import argparse


def cancel(args: argparse.Namespace) -> None:
    """Put a task away; supervised workers are stopped by their supervisors, others are stopped first."""
    actor = acting.person_or_worker().profile
    with open_board(args.board) as board:
        rows = cancelling.listed(board.reader, args.task_id, subtree=args.subtree)
        tasks = [read(Task, dict(row), board.reader) for row in rows]
        left = [stop_foreign_worker(board, task, "cancel", dry_run=args.dry_run) for task in tasks]
        if not args.dry_run:
            seen = {task.id: Seen.of(task.model_dump()) for task in left}
            cancelling.cancel(board.writer, args.task_id, args.reason, actor, board.clock.now(), seen)
    if args.json:
        return output.print_json(
            {"dry_run": args.dry_run, "cancelled": [{"task_id": task.id, "status": task.status} for task in tasks]}
        )
    for task in tasks:
        output.print_line(
            "would cancel" if args.dry_run else "cancelled", task.id, f"(it was {task.status})", task.title
        )
    return None
