"""The verb that decides about a late completion: accept it or reject it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hermes_kanban_plugin.board import open_board
from hermes_kanban_plugin.cli import output
from hermes_kanban_plugin.cli.acting import person_or_worker
from hermes_kanban_plugin.errors import NoLateCompletion
from hermes_kanban_plugin.store import completions

if TYPE_CHECKING:
    import argparse

    from hermes_kanban_plugin.store.completions import LateCompletion


def accept(args: argparse.Namespace) -> None:
    """Accept or reject what a worker handed over after its run was closed."""
    actor = person_or_worker().profile
    promoted: list[str] = []
    with open_board(args.board) as board:
        task = board.task(args.task_id)
        late = completions.pending(board.writer, task.id)
        if late is None:
            raise NoLateCompletion(task.id)
        if args.dry_run:
            pass
        elif args.reject:
            board.reject(task.id, actor)
        else:
            promoted = board.accept(task.id, actor)
        status = board.task(task.id).status
    if args.json:
        return output.print_json(_as_json(late, args, status, promoted))
    done = "rejected" if args.reject else "accepted"
    output.print_line(f"would be {done}" if args.dry_run else done, late.task_id, f"run {late.run_id}, {status}")
    if late.handoff.summary or late.handoff.result:
        output.print_line(late.handoff.summary or late.handoff.result)
    for artifact in late.handoff.artifacts:
        output.print_line("file", artifact.filename, f"{artifact.size} bytes")
    if promoted:
        output.print_line("ready now:", *promoted)
    return None


def _as_json(late: LateCompletion, args: argparse.Namespace, status: str, promoted: list[str]) -> dict[str, Any]:
    handoff = late.handoff
    return {
        "task_id": late.task_id,
        "run_id": late.run_id,
        "decision": "rejected" if args.reject else "accepted",
        "dry_run": args.dry_run,
        "status": status,
        "promoted": promoted,
        "handed_over_at": late.at,
        "summary": handoff.summary,
        "result": handoff.result,
        "metadata": handoff.metadata,
        "created_cards": list(handoff.verified_cards),
        "artifacts": [artifact._asdict() for artifact in handoff.artifacts],
    }
