"""The worker behind a claim, before a person takes the claim away: stopped if it is foreign, respected if it lives.

A foreign worker is one that none of our supervisors watches: taking its task away would leave it running (contract
W18).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hermes_kanban_plugin import configuration, identity, processes
from hermes_kanban_plugin.dispatch import examination
from hermes_kanban_plugin.errors import ChangedMeanwhile, WrongState
from hermes_kanban_plugin.identity import Verdict
from hermes_kanban_plugin.manager import Manager
from hermes_kanban_plugin.processes import Badge
from hermes_kanban_plugin.store.moves import Seen

if TYPE_CHECKING:
    from hermes_kanban_plugin.board import Board
    from hermes_kanban_plugin.models import HeldRun, Task


def take_back(board: Board, task: Task, reason: str | None, actor: str, *, dry_run: bool = False) -> str:
    """Take a task from its run, whose worker is stopped first if it is foreign; returns the column it is in then.

    Args:
        board: the board.
        task: the task as the decision was based on it.
        reason: for the history.
        actor: for whom it is done.
        dry_run: stop nothing; the board is a copy.

    Raises:
        as :func:`stop_foreign_worker` and ``Board.reclaim``.
    """
    left = stop_foreign_worker(board, task, "reclaim", dry_run=dry_run)
    return left.status if left is not task else board.reclaim(task, reason, actor)


def stop_foreign_worker(board: Board, task: Task, verb: str, *, dry_run: bool = False) -> Task:
    """Stop the worker of a run that none of our supervisors watches, before the task is taken from it.

    Returns the task as it was given, or as its worker left it: one that loaded this plugin gives its task back when it
    is told to end.

    Args:
        board: the board.
        task: the task as the decision was based on it.
        verb: what is about to be done, for the message.
        dry_run: only refuse what would be refused; stop nothing.

    Raises:
        ChangedMeanwhile: another run holds the task by now, and nothing was stopped; or its worker finished it.
        WrongState: it cannot be proven to belong to the run, or it does not end.
    """
    run = board.held_run(task.id)
    if run is None or run.supervised or not run.task_worker_pid:
        return task
    if (run.run_id, run.lock) != (task.current_run_id, task.claim_lock):
        raise ChangedMeanwhile(task.id)
    plugin = configuration.load_or_default(board.location.root).plugin
    grace = plugin.terminate_grace_seconds
    ends = (
        _is_provable(run)
        if dry_run
        else Manager(plugin.block_plugins).ask("kanban_terminate_worker", run=run, grace_seconds=grace)
    )
    if not ends:
        raise WrongState(
            task.id, verb, f"held by pid {run.task_worker_pid}", "a worker that is gone or provably ours",
            f"stop that process yourself, then: hermes-kanban {verb} {task.id}",
        )  # fmt: skip
    return _left_by_worker(board, task)


def _left_by_worker(board: Board, task: Task) -> Task:
    """Return the task itself if its worker ended without a word, or the task as the worker gave it back."""
    now = board.task(task.id)
    if Seen.of(now.model_dump()) == Seen.of(task.model_dump()):
        return task
    newest = max(board.runs(task.id), key=lambda run: run.id, default=None)
    given_back = newest is not None and newest.id == task.current_run_id and newest.outcome == "reclaimed"
    if not given_back or now.current_run_id is not None:
        raise ChangedMeanwhile(task.id)
    return now


def _is_provable(run: HeldRun) -> bool:
    """Say whether the process behind a claim has gone or carries the lock and the id of its run."""
    pid = run.task_worker_pid or 0
    seen = identity.sight(pid)
    return bool(not seen.exists or seen.zombie or processes.wears(pid, Badge(run.lock or "", str(run.run_id or ""))))


def refuse_living(board: Board, task: Task) -> None:
    """Refuse when somebody proven alive stands behind the claim of a task: then ``reclaim`` stops it first.

    Raises:
        WrongState: the supervisor or the worker lives.
    """
    run = board.held_run(task.id)
    if run is None:
        return
    orphan = examination.examine(Manager(), run)
    for name, verdict in (("supervisor", orphan.supervisor), ("worker", orphan.worker)):
        if verdict is Verdict.ALIVE:
            raise WrongState(
                task.id, "clear-claim", f"running, and its {name} lives", "a run whose processes are gone",
                f"stop it and take the task back: hermes-kanban reclaim {task.id}",
            )  # fmt: skip
    elsewhere = run.task_worker_pid and not run.supervised and orphan.worker is Verdict.UNKNOWN
    if elsewhere and board.clock.now() < (run.claim_expires or 0):
        raise WrongState(
            task.id, "clear-claim", f"leased, and its worker {run.task_worker_pid} cannot be seen from here",
            "a run that is proven gone or whose lease has ended", f"wait for the lease: hermes-kanban why {task.id}",
        )  # fmt: skip
