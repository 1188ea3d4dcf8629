"""Verbs that read: they change no byte of the board."""

from __future__ import annotations

import json
import os
import time
from typing import TYPE_CHECKING

from hermes_kanban_plugin import locations
from hermes_kanban_plugin.board import open_board
from hermes_kanban_plugin.cli import output
from hermes_kanban_plugin.errors import InvalidArgument
from hermes_kanban_plugin.store import queries
from hermes_kanban_plugin.store.rows import Sieve

if TYPE_CHECKING:
    import argparse

    from hermes_kanban_plugin.models import Event, Run, Task

FOLLOW_SECONDS = 0.2
ASKED_ONE_BY_ONE = 200


def list_tasks(args: argparse.Namespace) -> None:
    """Print the tasks that match, with ``--why`` each with the reason why it does not run."""
    assignee = os.environ.get("HERMES_PROFILE", "").strip() if args.mine else args.assignee
    if args.mine and not assignee:
        raise InvalidArgument("--mine needs a profile; set HERMES_PROFILE, or use: hermes-kanban list --assignee NAME")
    sieve = Sieve()
    with open_board(args.board) as board:
        wanted = {"status": args.status, "assignee": assignee, "tenant": args.tenant, "archived": args.archived}
        tasks = board.tasks(**wanted, sieve=sieve)
    reasons = _reasons(args.board, tasks) if args.why else {}
    if args.json:
        found = [task.model_dump(mode="json") for task in tasks]
        return output.print_json([{**task, "why": reasons.get(task["id"])} for task in found] if args.why else found)
    heads = ("id", "status", "assignee", "prio", "title", *(("why",) if args.why else ()))
    rows = [
        (task.id, task.status, task.assignee, task.priority, task.title, *((reasons.get(task.id),) if args.why else ()))
        for task in tasks
    ]
    output.print_table(heads, rows, "no tasks")
    for row in sieve.unreadable:
        output.print_line(row.task_id, f"cannot be read ({row.sentence}); see: hermes-kanban diagnostics")
    return None


def _reasons(slug: str | None, tasks: list[Task]) -> dict[str, str]:
    """Return why each unfinished task does not run, or that it does, as far as is looked (failure mode E9)."""
    from hermes_kanban_plugin.diagnosis import surroundings, why
    from hermes_kanban_plugin.runtime import Runtime

    runtime = Runtime(spare=True)
    try:
        board = runtime.open(locations.locate_existing(slug))
        found = why.explain_all(surroundings.look(runtime, board))
        # A diagnosis of a board passes over what waits for others or runs as it should.
        others = [task.id for task in tasks if task.id not in found and task.status not in ("done", "archived")]
        for task_id in others[:ASKED_ONE_BY_ONE]:
            facts = surroundings.look(runtime, board, task_id)
            case = facts.case(task_id)
            if case is not None:
                found[task_id] = why.explain(case, facts)
        return {task_id: one.reason for task_id, one in found.items()}
    finally:
        runtime.close()


def show(args: argparse.Namespace) -> None:
    """Print everything about one task."""
    with open_board(args.board) as board:
        task = board.task(args.task_id)
        runs, events = board.runs(task.id), board.events(task.id)
        comments = queries.list_comments(board.reader, task.id)
        parents, children = queries.parents_of(board.reader, task.id), queries.children_of(board.reader, task.id)
    summaries = [run.summary for run in runs if run.summary]
    if args.json:
        return output.print_json(
            {
                "task": task,
                "latest_summary": summaries[-1] if summaries else None,
                "parents": parents,
                "children": children,
                "comments": comments,
                "events": events,
                "runs": runs,
            }
        )
    output.print_line(task.id, task.status, task.title)
    for name in ("assignee", "body", "result", "workspace_path", "claim_lock", "last_failure_error"):
        if getattr(task, name):
            output.print_text(f"  {name}:", getattr(task, name))
    tokens = [(run.input_tokens or 0, run.output_tokens or 0) for run in runs]
    sent, received = (sum(counts) for counts in zip(*tokens, strict=True)) if tokens else (0, 0)
    if sent or received:
        output.print_line("  tokens:", f"{sent:,} in, {received:,} out, {len(runs)} runs")
    for name, ids in (("waits for", parents), ("before", children)):
        if ids:
            output.print_line(f"  {name}:", ", ".join(ids))
    for comment in comments:
        output.print_text(f"  comment by {comment['author']}:", comment["body"])
    _print_runs(runs)
    for event in events:
        _print_event(event)
    return None


def list_runs(args: argparse.Namespace) -> None:
    """Print the attempts at a task."""
    with open_board(args.board) as board:
        runs = board.runs(args.task_id)
    return output.print_json(runs) if args.json else _print_runs(runs)


def list_events(args: argparse.Namespace) -> None:
    """Print the history, and with ``--follow`` what is added to it."""
    with open_board(args.board) as board:
        if args.task_id:
            board.task(args.task_id)
        after = args.after
        while True:
            version = board.data_version()
            while events := board.events(args.task_id, after):
                for event in events:
                    _print_event(event, as_json=args.json)
                after = events[-1].id
            if not args.follow:
                return
            while board.data_version() == version:
                time.sleep(FOLLOW_SECONDS)


def _print_runs(runs: list[Run]) -> None:
    rows = [
        (
            run.id,
            run.outcome or run.status,
            run.lane,
            output.moment(run.started_at),
            _took(run),
            run.summary or run.error,
        )
        for run in runs
    ]
    output.print_table(("run", "outcome", "lane", "started", "took", "title"), rows, "no runs")


def _took(run: Run) -> str:
    return output.span(run.started_at, run.ended_at)


def _print_event(event: Event, *, as_json: bool = False) -> None:
    if as_json:
        # At once, because whoever follows reads from a pipe.
        return print(json.dumps(event.model_dump(mode="json"), ensure_ascii=False), flush=True)
    payload = json.dumps(event.payload, ensure_ascii=False) if event.payload else ""
    return output.print_line(event.id, output.moment(event.created_at), event.task_id, event.kind, payload)
