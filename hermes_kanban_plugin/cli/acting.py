"""Verbs that change the board, for people in a terminal and for command workers."""

from __future__ import annotations

import getpass
import json
import os
import secrets
import socket
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from hermes_kanban_plugin import locations, toolkit
from hermes_kanban_plugin.board import create_board, open_board
from hermes_kanban_plugin.cli import output, times
from hermes_kanban_plugin.dispatch.ownership import Caller, caller_of
from hermes_kanban_plugin.errors import InvalidArgument, UnknownTask, WrongState
from hermes_kanban_plugin.foreign import stop_foreign_worker
from hermes_kanban_plugin.maintenance import pausing
from hermes_kanban_plugin.manager import Manager
from hermes_kanban_plugin.models import TERMINAL
from hermes_kanban_plugin.store import timers
from hermes_kanban_plugin.store.leases import ClaimTerms

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator, Mapping, Sequence

    from hermes_kanban_plugin.board import Board
    from hermes_kanban_plugin.models import Task

LONGEST_CLAIM_SECONDS = 30 * 86_400

# From where a verb for several tasks can be done (contract section 3), and how it is written.
_FROM = {
    "complete": ("running", "ready", "blocked"),
    "block": ("running", "ready"),
    "unblock": ("blocked", "scheduled"),
}
_HOW = {
    "complete": 'write: hermes-kanban complete TASK... --result "TEXT"',
    "block": 'write: hermes-kanban block TASK "REASON" --ids TASK...',
    "unblock": 'write: hermes-kanban unblock TASK... --reason "TEXT"',
}


def init(args: argparse.Namespace) -> None:
    """Make the board if it is missing; an existing one is left alone."""
    location = locations.locate(args.board)
    made = not location.database.exists() if args.dry_run else create_board(location)
    if not (args.dry_run and made):
        with open_board(args.board):
            pass  # an existing file must be a board
    if args.json:
        said = {"board": location.slug, "path": str(location.database), "created": made, "dry_run": args.dry_run}
        return output.print_json(said)
    done = ("would create" if args.dry_run else "created") if made else "exists already:"
    return output.print_line(done, f"board {location.slug}", location.database)


def create(args: argparse.Namespace) -> None:
    """Add a task; the default board is made on the way if there is none."""
    names = ("title", "body", "assignee", "tenant", "priority", "triage", "idempotency_key", "created_by", "skills")
    more = ("idempotency_scope", "max_retries", "goal_mode", "goal_max_turns", "initial_status")
    fields: dict[str, Any] = {name: getattr(args, name) for name in (*names, *more)}
    kind, path = args.workspace
    fields |= {"workspace_kind": kind, "workspace_path": path, "branch_name": args.branch, "parents": args.parent}
    fields |= {"start_at": times.chosen(args.start_at, args.start_in, "--start-at", "--start-in")}
    fields |= {"max_runtime_seconds": args.max_runtime, "session_id": os.environ.get("HERMES_SESSION_ID")}
    fits_any_board = locations.locate(args.board).slug == locations.DEFAULT_BOARD
    with board_or_copy(args, create=fits_any_board and not args.dry_run) as board:
        task = board.task(board.create_task(**fields))
        gates = _gates(board, args.parent)
    if args.json:
        return output.print_json(task)
    output.print_line("would create" if args.dry_run else "created", task.id, task.status)
    return _name_gates(gates, args.board)


def link(args: argparse.Namespace) -> None:
    """Make one task wait for another."""
    with board_or_copy(args) as board:
        board.link(args.parent_id, args.child_id)
        gates, status = _gates(board, [args.parent_id]), board.task(args.child_id).status
    if args.json:
        said = {"parent_id": args.parent_id, "child_id": args.child_id, "status": status, "dry_run": args.dry_run}
        return output.print_json(said)
    output.print_line("would link" if args.dry_run else "linked", args.parent_id, "->", args.child_id)
    return _name_gates(gates, args.board)


def _gates(board: Board, parents: Sequence[str]) -> list[Task]:
    """Return those of the tasks to wait for that only a person moves (failure mode J3)."""
    tasks = [board.task(parent) for parent in dict.fromkeys(parents)]
    gates = [task for task in tasks if task.status in ("blocked", "scheduled", "triage")]
    return [task for task in gates if task.status != "scheduled" or timers.due_at(board.reader, task.id) is None]


def _name_gates(gates: Sequence[Task], board: str | None) -> None:
    for task in gates:
        words = f"it waits for a person: {task.id} is {task.status}; see: hermes-kanban why {task.id}"
        output.print_line(output.addressed(words, board))


def claim(args: argparse.Namespace) -> None:
    """Take a ready task in a terminal: a lease without a supervisor, kept alive by ``heartbeat``."""
    if args.ttl > LONGEST_CLAIM_SECONDS:
        raise InvalidArgument(f"--ttl is {args.ttl} seconds; a claim lasts at most {LONGEST_CLAIM_SECONDS} (30 days)")
    with board_or_copy(args) as board:
        task = board.task(args.task_id)
        prefix = f"{socket.gethostname() or 'unknown'}:{os.getpid()}:{secrets.token_hex(4)}"
        leases = board.claim([task.id], ClaimTerms(prefix, board.clock.now() + args.ttl, TERMINAL))
        if not leases and pausing.find(board) is not None:
            go_on = f"let it go on with: hermes-kanban resume {board.slug}"
            raise WrongState(task.id, "claim", "on a paused board", "a board that is not", go_on)
        if not leases:
            raise WrongState(task.id, "claim", task.status, "a ready task without a claim and unfinished parents")
        task = board.task(task.id)
    if args.json:
        return output.print_json(task)
    until = output.moment(task.claim_expires)
    done = "would claim" if args.dry_run else "claimed"
    return output.print_line(done, task.id, f"run {task.current_run_id}, lease until {until}")


def heartbeat(args: argparse.Namespace) -> None:
    """Say that the work goes on."""
    _use_tool("kanban_heartbeat", args, [args.task_id], {"note": args.note})


def complete(args: argparse.Namespace) -> None:
    """Mark tasks done."""
    if len(args.task_ids) > 1 and (args.summary or args.metadata or args.artifact):
        raise InvalidArgument("--summary, --metadata and --artifact take one task; give several tasks only --result")
    fields = {
        "summary": args.summary,
        "result": args.result or (None if args.summary else "completed"),
        "metadata": _object(args.metadata),
        "artifacts": args.artifact,
    }
    _use_tool("kanban_complete", args, args.task_ids, fields)


def block(args: argparse.Namespace) -> None:
    """Park tasks."""
    reason = " ".join(args.reason) or "blocked without a reason"
    _use_tool("kanban_block", args, [args.task_id, *args.ids], {"reason": reason, "kind": args.kind})


def unblock(args: argparse.Namespace) -> None:
    """Open blocked or scheduled tasks again."""
    actor = person_or_worker().profile
    done = []
    with board_or_copy(args) as board:
        for task_id in _refuse_strangers(board, "unblock", args.task_ids):
            done.append((task_id, board.unblock(task_id, actor)))
            if args.reason:
                board.comment(task_id, actor, args.reason)
    if args.json:
        tasks = [{"task_id": task_id, "status": status, "dry_run": args.dry_run} for task_id, status in done]
        return output.print_json(tasks)
    for task_id, status in done:
        output.print_line("would have unblocked" if args.dry_run else "unblocked", task_id, status)
    return None


@contextmanager
def board_or_copy(args: argparse.Namespace, *, create: bool = False) -> Iterator[Board]:
    """Open the board of a verb or, with ``--dry-run``, a copy of it in memory on which everything may be tried."""
    with open_board(args.board, create=create) as board:
        if not args.dry_run:
            yield board
            return
        copy = board.rehearsal()
        try:
            yield copy
        finally:
            copy.close()


def tell(args: argparse.Namespace, verb: str, done: str, task_id: str, status: str, more: str = "") -> None:
    """Say what became of one task, as text or as JSON, and in a dry run what would have.

    Args:
        args: of the verb, with ``json`` and ``dry_run``.
        verb: for a dry run.
        done: for a deed.
        task_id: the task.
        status: where it is now.
        more: a sentence for people.
    """
    if args.json:
        return output.print_json({"task_id": task_id, "status": status, "dry_run": args.dry_run})
    text = f"{status}; {more}" if more else status
    return output.print_line(f"would {verb}" if args.dry_run else done, task_id, text)


def _use_tool(name: str, args: argparse.Namespace, task_ids: list[str], fields: dict[str, Any]) -> None:
    """Run an agent tool for each task, as the worker this process belongs to or else as a person."""
    manager, caller = Manager(), person_or_worker()
    tool, verb = toolkit.tools_of(manager)[name], name.removeprefix("kanban_")
    if len(task_ids) > 1:
        with open_board(args.board) as board:
            task_ids = _refuse_strangers(board, verb, task_ids)
    answers = []
    with board_or_copy(args) as board:
        for task_id in task_ids:
            given = {"task_id": task_id, "board": args.board, **fields}
            if verb != "heartbeat" and not caller.is_worker:
                stop_foreign_worker(board, board.task(task_id), verb, dry_run=args.dry_run)
            if args.dry_run:
                answers.append(toolkit.rehearse(board, tool, manager, given, caller))
                continue
            answers.append(toolkit.perform(tool, manager, given, caller))
            if not args.json:
                _print_answer(verb, answers[-1])
    if args.json:
        return output.print_json([{**answer, "dry_run": args.dry_run} for answer in answers])
    for answer in answers if args.dry_run else ():
        _print_answer(f"would {verb}", answer)
    return None


def _print_answer(verb: str, answer: Mapping[str, Any]) -> None:
    output.print_line(verb, *(f"{key}={value}" for key, value in answer.items()))


def _refuse_strangers(board: Board, verb: str, words: Sequence[str]) -> list[str]:
    """Return the task ids among the words of a verb, each once, if all are ids of tasks that it can be done to.

    Looked at before the first task is touched, because a reason without its flag would be taken for ids, and half of
    the tasks would be changed before anybody noticed (failure mode J10).

    Raises:
        InvalidArgument: a word is no task; nothing was changed.
        WrongState: a task is where the verb cannot be done; nothing was changed.
    """
    tasks = []
    for word in dict.fromkeys(words):
        try:
            tasks.append(board.task(word))
        except UnknownTask as problem:
            if len(words) == 1:
                raise
            raise InvalidArgument(
                f"{word!r} is no task of board {board.slug!r}, nothing was changed; {_HOW[verb]}"
            ) from problem
    for task in tasks:
        if len(tasks) > 1 and task.status not in _FROM[verb]:
            raise WrongState(task.id, verb, task.status, " or ".join(_FROM[verb]), "nothing was changed; leave it out")
    return [task.id for task in tasks]


def person_or_worker() -> Caller:
    """Return who calls: a worker by its environment, otherwise the person at the terminal."""
    caller = caller_of(os.environ, os.getpid())
    if caller.is_worker or os.environ.get("HERMES_PROFILE"):
        return caller
    return caller._replace(profile=_user())


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "user"


def _object(text: str | None) -> dict[str, Any] | None:
    if text is None:
        return None
    try:
        value = json.loads(text)
    except ValueError as problem:
        raise InvalidArgument(f"--metadata is not JSON: {problem}") from problem
    if not isinstance(value, dict):
        raise InvalidArgument(f"--metadata must be a JSON object, got {type(value).__name__}")
    return value
