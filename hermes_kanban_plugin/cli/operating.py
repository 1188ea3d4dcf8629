"""Verbs of a person who puts right what hangs: reclaim, edit, stop."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hermes_kanban_plugin import locations
from hermes_kanban_plugin.errors import InvalidArgument

if TYPE_CHECKING:
    import argparse


def reclaim(args: argparse.Namespace) -> None:
    """Take one task back from its run, or with ``--stale`` every task whose run is proven gone.

    A supervised worker is stopped by its supervisor, and nothing starts beside it before it is gone; any other worker
    is stopped first.
    """
    if args.stale:
        if args.task_id:
            raise InvalidArgument(f"--stale looks at every run; leave {args.task_id} out, or leave --stale out")
        if args.reason:
            raise InvalidArgument("--stale keeps the reason that it finds for each task; leave --reason out")
        return _reclaim_stale(args)
    if not args.task_id:
        raise InvalidArgument("which task? hermes-kanban reclaim TASK, or all that are proven gone: reclaim --stale")
    from hermes_kanban_plugin.cli import acting
    from hermes_kanban_plugin.foreign import take_back

    with acting.board_or_copy(args) as board:
        task = board.task(args.task_id)
        landed = take_back(board, task, args.reason, acting.person_or_worker().profile, dry_run=args.dry_run)
    return acting.tell(args, "reclaim", "reclaimed", task.id, landed)


def _reclaim_stale(args: argparse.Namespace) -> None:
    from hermes_kanban_plugin.cli import acting, output
    from hermes_kanban_plugin.dispatch import stale
    from hermes_kanban_plugin.runtime import Runtime

    location = locations.locate_existing(args.board)
    runtime = Runtime(spare=True)
    try:
        actor = acting.person_or_worker().profile
        sweep = stale.take_back(runtime.open(location), runtime, actor, dry_run=args.dry_run)
    finally:
        runtime.close()
    if args.json:
        taken, doubtful = ([one.model_dump(mode="json") for one in many] for many in (sweep.taken, sweep.doubtful))
        return output.print_json({"dry_run": args.dry_run, "taken": taken, "doubtful": doubtful})
    verb = "would reclaim" if args.dry_run else "reclaimed"
    for one in sweep.taken:
        output.print_line(verb, one.task_id, f"run {one.run_id}: {one.reason}")
    for one in sweep.doubtful:
        output.print_line("in doubt", one.task_id, f"run {one.run_id}: {one.reason}; look again in a moment")
    if not sweep.taken:
        output.print_line("nothing is proven stale")
    return None


def edit(args: argparse.Namespace) -> None:
    """Mend a task: take away a claim that nobody stands behind, forget its skills, count its failures anew."""
    if not (args.clear_claim or args.clear_skills or args.reset_failures):
        raise InvalidArgument(
            "edit needs --clear-claim, --clear-skills or --reset-failures; the result of a finished task is changed "
            f"with: hermes kanban edit {args.task_id} --result TEXT"
        )
    from hermes_kanban_plugin.cli import acting, output
    from hermes_kanban_plugin.foreign import refuse_living

    actor = acting.person_or_worker().profile
    lines: list[tuple[str, ...]] = []
    with acting.board_or_copy(args) as board:
        task = board.task(args.task_id)
        if args.clear_claim:
            refuse_living(board, task)
            lines.append(("claim cleared", task.id, board.clear_claim(task, actor)))
        if args.clear_skills:
            board.clear_skills(task.id, actor)
            lines.append(("skills cleared", task.id))
        if args.reset_failures:
            board.reset_failures(task.id, actor)
            lines.append(("failures reset", task.id, f"it was {task.consecutive_failures}"))
        status = board.task(task.id).status
    if args.json:
        return output.print_json({"task_id": task.id, "status": status, "dry_run": args.dry_run})
    for line in lines:
        output.print_line(*(("would be",) if args.dry_run else ()), *line)
    if args.clear_skills and status == "blocked" and not args.dry_run:
        hint = f"it stays blocked until: hermes-kanban unblock {task.id}"
        output.print_line(output.addressed(hint, args.board))
    return None


def stop(args: argparse.Namespace) -> None:
    """End a task's worker and block the task until somebody unblocks it."""
    from hermes_kanban_plugin.cli import acting, output
    from hermes_kanban_plugin.foreign import stop_foreign_worker

    actor = acting.person_or_worker().profile
    reason = f"stopped by {actor}" + (f": {args.reason}" if args.reason else "")
    with acting.board_or_copy(args) as board:
        task = stop_foreign_worker(board, board.task(args.task_id), "stop", dry_run=args.dry_run)
        board.stop(task, reason, actor)
    go_on = output.addressed(f"go on with: hermes-kanban unblock {task.id}", args.board)
    acting.tell(args, "stop", "stopped", task.id, "blocked", go_on)
