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

if TYPE_CHECKING:
    from hermes_kanban_plugin.board import Board
    from hermes_kanban_plugin.models import HeldRun, Task


def stop_foreign_worker(board: Board, task: Task, verb: str, *, dry_run: bool = False) -> None:
    """Stop the worker of a run that none of our supervisors watches, before the task is taken from it.

    Args:
        board: the board.
        task: the task as the decision was based on it.
        verb: what is about to be done, for the message.
        dry_run: only refuse what would be refused; stop nothing.

    Raises:
        ChangedMeanwhile: another run holds the task by now; nothing was stopped.
        WrongState: it cannot be proven to belong to the run, or it does not end.
    """
    run = board.held_run(task.id)
    if run is None or run.supervised or not run.task_worker_pid:
        return
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
