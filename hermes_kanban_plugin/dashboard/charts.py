"""The small charts of the page: what was done, what was rescued, what failed and why, in equal slices of time.

Counted from the history like ``stats`` does. Rows in, slices out; :func:`draw` reads the rows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from hermes_kanban_plugin.causes import Cause
from hermes_kanban_plugin.maintenance import journeys
from hermes_kanban_plugin.maintenance.statistics import FAILURES, spread
from hermes_kanban_plugin.store import history, snapshots
from hermes_kanban_plugin.store.connection import translating
from hermes_kanban_plugin.store.standins import Pane
from hermes_kanban_plugin.store.values import known

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable

    from hermes_kanban_plugin.board import Board

HOUR = 3600
# Name of the chart -> seconds of a slice, number of slices.
SPANS = {"day": (HOUR, 24), "week": (6 * HOUR, 28)}
# The attempt was lost through no fault of its task, which was taken back; the last two are the host's words for it.
RESCUES = frozenset(
    {Cause.INTERRUPTED.value, Cause.INFRASTRUCTURE.value, Cause.HEARTBEAT_STALE.value, "reclaimed", "stale"}
)

ENDINGS = f"""
SELECT task_runs.ended_at, COALESCE(kp_runs.cause, task_runs.outcome, 'unknown') AS cause
FROM task_runs LEFT JOIN kp_runs ON kp_runs.run_id = task_runs.id
WHERE task_runs.ended_at >= :since AND {history.ATTEMPT}"""


class Ending(NamedTuple):
    """One attempt that ended: when, epoch seconds, and why."""

    at: int
    cause: str

    @property
    def failed(self) -> bool:
        """Whether it is the task's failure."""
        return self.cause in FAILURES


class Done(NamedTuple):
    """One task that was completed: when, epoch seconds, and how long it took from its first start, seconds or None."""

    at: int
    seconds: int | None


def draw(board: Board) -> dict[str, list[dict[str, Any]]]:
    """Return the slices of each chart, oldest first.

    Raises:
        BoardUnusable: the board cannot be read.
    """
    now = board.clock.now()
    since = now - max(seconds * count for seconds, count in SPANS.values())
    with translating(board.path), snapshots.one_moment(board.reader) as reader:
        rows = [known(row) for row in Pane(reader).rows(ENDINGS, since=since)]
        done = list(_done(reader, since))
    endings = [Ending(row["ended_at"], str(row["cause"])) for row in rows if row["ended_at"] is not None]
    return {name: slices(endings, done, now, seconds, count) for name, (seconds, count) in SPANS.items()}


def _done(reader: sqlite3.Connection, since: int) -> Iterable[Done]:
    for card in history.cards(reader, since, journeys.KINDS):
        steps = (journeys.Step(*event) for event in card.events)
        for one in journeys.read(steps, card.created_at, card.status).rounds:
            yield Done(one.done, None if one.started is None else max(0, one.done - one.started))


def slices(endings: Iterable[Ending], done: Iterable[Done], now: int, seconds: int, count: int) -> list[dict[str, Any]]:
    """Return ``count`` slices of ``seconds`` each, the last of which ends now.

    Args:
        endings: attempts that ended, in any order; those outside are left out, those of a clock that ran ahead too.
        done: tasks that were completed, likewise.
        now: epoch seconds.
        seconds: length of a slice.
        count: number of slices.
    """
    start = now - seconds * count
    ended: list[list[Ending]] = [[] for _ in range(count)]
    finished: list[list[Done]] = [[] for _ in range(count)]
    for ending in endings:
        if start < ending.at <= now:
            ended[(ending.at - start - 1) // seconds].append(ending)
    for one in done:
        if start < one.at <= now:
            finished[(one.at - start - 1) // seconds].append(one)
    return [_slice(start + index * seconds, ended[index], finished[index]) for index in range(count)]


def _slice(start: int, endings: list[Ending], done: list[Done]) -> dict[str, Any]:
    failures: dict[str, int] = {}
    for ending in endings:
        if ending.failed:
            failures[ending.cause] = failures.get(ending.cause, 0) + 1
    return {
        "start": start,
        "completed": len(done),
        "rescues": sum(ending.cause in RESCUES for ending in endings),
        "failures": failures,
        "cycle_seconds": spread([one.seconds for one in done if one.seconds is not None]).median,
    }
