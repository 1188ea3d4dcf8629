"""What a button does: the same operations of the store as the command line's, done on what the page showed.

A row that is not what was shown any more is left alone, and the answer says so.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from hermes_kanban_plugin.dashboard.evidence import headed, life_of
from hermes_kanban_plugin.dispatch import stale
from hermes_kanban_plugin.errors import ChangedMeanwhile, InvalidArgument, WrongState
from hermes_kanban_plugin.foreign import refuse_living, stop_foreign_worker
from hermes_kanban_plugin.store import queries
from hermes_kanban_plugin.store.connection import translating
from hermes_kanban_plugin.store.moves import Seen
from hermes_kanban_plugin.store.transaction import immediate
from hermes_kanban_plugin.store.values import known

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from hermes_kanban_plugin.board import Board
    from hermes_kanban_plugin.models import Rescued, Task
    from hermes_kanban_plugin.runtime import Runtime

ACTOR = "dashboard"
REPAIR = "repair"
NEWER = "SELECT 1 FROM task_events WHERE task_id = :task_id AND id > :as_of LIMIT 1"


class Press(NamedTuple):
    """One button pressed: what it does, to which task, what was shown of it, and up to which event of the history.

    ``life`` are the signs of life of a claim that was called stale; None if the button does not depend on them.
    """

    verb: str
    task_id: str
    seen: Seen
    as_of: int
    life: str | None = None


def _reclaim(board: Board, task: Task) -> str:
    return f"{task.id} was reclaimed and is {board.reclaim(task, 'reclaimed in the dashboard', ACTOR)}"


def _stop(board: Board, task: Task) -> str:
    board.stop(task, "stopped in the dashboard", ACTOR)
    return f"{task.id} was stopped and is blocked until you unblock it"


def _unblock(board: Board, task: Task) -> str:
    return f"{task.id} was unblocked and is {board.unblock(task.id, ACTOR)}"


def _clear_claim(board: Board, task: Task) -> str:
    return f"the claim of {task.id} was cleared, it is {board.clear_claim(task, ACTOR)}"


def _clear_skills(board: Board, task: Task) -> str:
    board.clear_skills(task.id, ACTOR)
    return f"{task.id} does not ask for skills any more"


def _reset_failures(board: Board, task: Task) -> str:
    board.reset_failures(task.id, ACTOR)
    return f"the failures of {task.id} are counted anew"


def _accept(board: Board, task: Task) -> str:
    board.accept(task.id, ACTOR)
    return f"the finished work of {task.id} was accepted, it is done"


def _retry(board: Board, task: Task) -> str:
    board.retry_now(task.id, ACTOR)
    return f"{task.id} does not wait any longer"


_DEEDS: dict[str, Callable[[Board, Task], str]] = {
    "reclaim": _reclaim,
    "stop": _stop,
    "unblock": _unblock,
    "clear-claim": _clear_claim,
    "clear-skills": _clear_skills,
    "reset-failures": _reset_failures,
    "accept": _accept,
    "retry": _retry,
}
VERBS = (*_DEEDS, REPAIR)
# These take a task from a run, whose worker has to be stopped first where no supervisor of ours does it.
_ENDING = ("reclaim", "stop")


def act(runtime: Runtime, board: Board, press: Press) -> str:
    """Do what a button says, if the task is still what was shown; returns a sentence that says what was done.

    Raises:
        InvalidArgument: there is no such button.
        ChangedMeanwhile: the task is not what was shown; nothing was done.
        KanbanError: it was refused, and says why.
    """
    if press.verb not in VERBS:
        raise InvalidArgument(f"unknown action {press.verb!r}; use one of: {', '.join(sorted(VERBS))}")
    if press.verb == REPAIR:
        return _repair(runtime, board, press)
    task = _as_shown(board, press)
    if press.verb in _ENDING:
        left = stop_foreign_worker(board, task, press.verb)
        if left is not task:
            return _go_on(board, press.verb, left)
    elif press.verb == "clear-claim":
        refuse_living(board, task)
    with translating(board.path), immediate(board.writer):
        return _DEEDS[press.verb](board, _as_shown(board, press))


def _go_on(board: Board, verb: str, left: Task) -> str:
    """Do the rest on a task that its worker gave back when it was stopped."""
    if verb == "reclaim":
        return f"{left.id} was given back by its worker and is {left.status}"
    return _stop(board, left)


def _as_shown(board: Board, press: Press) -> Task:
    """Return the task if it is what was shown, and nothing has happened to one that does not run.

    Raises:
        ChangedMeanwhile: it is not.
        UnknownTask: it is gone.
    """
    task = board.task(press.task_id)
    if Seen(task.status, task.current_run_id or 0, task.claim_lock or "") != press.seen:
        raise ChangedMeanwhile(task.id)
    if press.life is not None and life_of(task.claim_expires, task.last_heartbeat_at) != press.life:
        raise ChangedMeanwhile(task.id)  # it was called stale, and its worker has come back
    # A run is its own version; a task without one may have gone round and come back to the same column.
    newer = {"task_id": task.id, "as_of": press.as_of}
    if not task.current_run_id and board.reader.execute(NEWER, newer).fetchone():
        raise ChangedMeanwhile(task.id)
    return task


def _repair(runtime: Runtime, board: Board, press: Press) -> str:
    """End what is left of a run that does not hold its task, as a sweep would.

    Raises:
        ChangedMeanwhile: nothing is left of it.
        WrongState: its processes could not be proven gone.
    """
    pair = (press.task_id, press.seen.run_id)
    before = _left_of(board, pair)
    taken = stale.take_back(board, runtime, ACTOR, only=[pair]).taken
    if not taken and not before:
        raise ChangedMeanwhile(press.task_id)
    if _left_of(board, pair):
        raise WrongState(
            press.task_id, "end", f"with processes of run {pair[1]} that could not be proven gone",
            "a run whose processes can be stopped", "look at them with: hermes-kanban scan",
        )  # fmt: skip
    return f"nothing is left of run {pair[1]} of {press.task_id}"


def _left_of(board: Board, pair: tuple[str, int]) -> bool:
    return pair in {(run.task_id, run.run_id or 0) for run in queries.lingering_runs(board.writer)}


# --- all that is stale ---------------------------------------------------------------------------------------------


def preview_stale(runtime: Runtime, board: Board) -> dict[str, Any]:
    """Return what "Reclaim all stale" would do now, tried on a copy of the board; nothing is done."""
    sweep = stale.take_back(board, runtime, ACTOR, dry_run=True)
    return {"taken": _rows(board, sweep.taken, sweep.columns), "doubtful": _rows(board, sweep.doubtful, {})}


def _rows(board: Board, found: Iterable[Rescued], columns: Mapping[str, str]) -> list[dict[str, Any]]:
    """Return what stands in the preview: each task with what is known, and the column that it would be in then."""
    rows = []
    for one in found:
        row = board.reader.execute("SELECT title FROM tasks WHERE id = :id", {"id": one.task_id}).fetchone()
        title = headed(known(dict(row))["title"]) if row else one.task_id
        rows.append(
            {"task_id": one.task_id, "run_id": one.run_id or 0, "title": title, "reason": one.reason,
             "then": columns.get(one.task_id)}
        )  # fmt: skip
    return rows


def reclaim_stale(runtime: Runtime, board: Board, shown: Sequence[tuple[str, int]]) -> dict[str, str]:
    """Take back what is proven stale and was shown; returns the tasks of which something was taken back or repaired,
    and the columns in which those are that were taken from their runs.

    Args:
        runtime: this process.
        board: the board.
        shown: task and run of each row of the preview.

    Raises:
        ChangedMeanwhile: nothing of what was shown is stale any more; nothing was done.
    """
    sweep = stale.take_back(board, runtime, ACTOR, only=shown)
    if shown and not sweep.taken:
        raise ChangedMeanwhile(shown[0][0])
    return {one.task_id: sweep.columns.get(one.task_id, "") for one in sweep.taken}
