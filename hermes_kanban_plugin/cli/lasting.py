"""``outages``: what fails the same way for several tasks and is nobody's fault, and saying that it is over."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hermes_kanban_plugin.board import open_board
from hermes_kanban_plugin.cli import acting, output
from hermes_kanban_plugin.store import outages
from hermes_kanban_plugin.store.connection import columns_of

if TYPE_CHECKING:
    import argparse
    import sqlite3

    from hermes_kanban_plugin.store.outages import Outage


def list_or_close(args: argparse.Namespace) -> None:
    """Print the outages that last, or close one."""
    if args.close is not None:
        return _close(args)
    with open_board(args.board) as board:
        found = _open(board.reader)
        waiting = {one.id: [task.task_id for task in outages.waiting(board.reader, one.signature)] for one in found}
        now = board.clock.now()
    if args.json:
        return output.print_json([{**one._asdict(), "waiting": waiting[one.id]} for one in found])
    rows = [
        (one.id, output.span(one.began_at, now), len(waiting[one.id]), _next_try(one, now), one.signature)
        for one in found
    ]
    return output.print_table(("outage", "since", "tasks", "next try", "title"), rows, "no outage")


def _open(reader: sqlite3.Connection) -> list[Outage]:
    return outages.open_outages(reader) if columns_of(reader, "kp_outages") else []


def _next_try(outage: Outage, now: int) -> str:
    if outage.probe_task_id is not None:
        return f"{outage.probe_task_id} tries"
    at = outage.next_probe_at
    return f"in {output.span(now, at)}" if at is not None and at > now else "due"


def _close(args: argparse.Namespace) -> None:
    actor = acting.person_or_worker().profile
    with acting.board_or_copy(args) as board:
        tasks = outages.close(board.writer, args.close, actor, board.clock.now())
    if args.json:
        return output.print_json({"outage": args.close, "tasks": tasks, "dry_run": args.dry_run})
    done = "would close" if args.dry_run else "closed"
    output.print_line(done, f"outage {args.close};", f"{len(tasks)} tasks come back, one after the other")
    return None
