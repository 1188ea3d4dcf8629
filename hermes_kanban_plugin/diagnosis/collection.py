"""The one read-only pass over a board: rows, the clock and the process table in, facts out.

Bounded everywhere, so that a board of any size is looked at quickly: what matters most comes first, and what was cut
off is named.
"""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

from hermes_kanban_plugin import lanes
from hermes_kanban_plugin.diagnosis import dependencies
from hermes_kanban_plugin.diagnosis.facts import (
    NOBODY,
    THRESHOLDS,
    BoardFacts,
    Case,
    Dispatching,
    Ending,
    Gate,
    Linked,
    Machine,
    Outage,
    Pause,
    Stray,
    Thresholds,
    Timeline,
    Turn,
    Unstoppable,
)
from hermes_kanban_plugin.models import HeldRun, Task
from hermes_kanban_plugin.store.flags import PAUSED
from hermes_kanban_plugin.store.rows import Sieve
from hermes_kanban_plugin.store.survey import Survey
from hermes_kanban_plugin.store.values import number

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Mapping, Sequence

    from hermes_kanban_plugin.diagnosis.facts import MissingSkill
    from hermes_kanban_plugin.dispatch.admission import Limits
    from hermes_kanban_plugin.dispatch.reaper import Orphan

    Row = Mapping[str, Any]

CASES = 500
RUNS = 2_000
STRAYS = 200
GATES = 20_000
LINKS = 200_000
NEIGHBOURS = 500
ROOTS = 20
NEWEST = 1_000
# Stamps of two machines, or of one whose clock is being corrected, may differ by this much.
CLOCK_MARGIN_SECONDS = 60
# A clock that was set back is told for a day; after that it has done what it could do.
REMEMBERED_SECONDS = 86_400


class Surroundings(NamedTuple):
    """What is not on the board: how to look at processes, profiles, skills and plugins, and the machine's facts.

    ``examine`` gives the verdicts on a run; ``lane_of`` the lane of an assignee; ``missing_skills`` what a profile's
    worker would not find; ``held_by`` a plugin's reason to hold a task. ``elsewhere`` counts running tasks by assignee
    on the other boards.
    """

    examine: Callable[[HeldRun], Orphan]
    lane_of: Callable[[str], str | None]
    missing_skills: Callable[[str, Sequence[str]], Sequence[MissingSkill]]
    held_by: Callable[[Task], str | None]
    machine: Machine
    limits: Limits
    thresholds: Thresholds = THRESHOLDS
    cooldown_seconds: int = 300
    max_starts_per_hour: int | None = None
    lease_seconds: int = 120
    aging_seconds: int = 0
    decomposes: bool = False
    elsewhere: Mapping[str, int] = {}
    dispatching: Dispatching = NOBODY


def collect(
    connection: sqlite3.Connection, board: str, now: int, around: Surroundings, only: str | None = None
) -> BoardFacts:
    """Look at a board once and return the facts.

    Args:
        connection: a reader or writer of the board; not a byte is changed.
        board: the board's name.
        now: epoch seconds.
        around: what is not on the board.
        only: the id of the one task that is asked about; None looks at the whole board.
    """
    sieve = Sieve()
    with Survey.begin(connection) as survey:
        rows, more_tasks = _rows(survey, now, around, only)
        often = [str(row["id"]) for row in rows if row["recent_starts"]] if around.max_starts_per_hour else []
        starts = {task_id: survey.starts(task_id, now) for task_id in often}
        held = survey.held(RUNS) if only is None else survey.held_by(only)
        lingering = [row for row in survey.lingering(RUNS) if only in (None, row["task_id"])]
        running = survey.running_by_assignee()
        flags = {str(row["name"]): row for row in survey.flags(STRAYS)}
        paused = flags.get(PAUSED)
        gates = survey.gate_events(now - around.thresholds.block_cycle_window_seconds, GATES)
        rows_of_links, linked = survey.graph(LINKS) if only is None else survey.neighbourhood(only, NEIGHBOURS)
        links = [(str(row["parent_id"]), str(row["child_id"])) for row in rows_of_links]
        facts = BoardFacts(
            board=board,
            now=now,
            machine=around.machine._replace(journal_mode=survey.journal_mode()),
            thresholds=around.thresholds,
            limits=around.limits,
            cooldown_seconds=around.cooldown_seconds,
            max_starts_per_hour=around.max_starts_per_hour,
            lease_seconds=around.lease_seconds,
            aging_seconds=around.aging_seconds,
            decomposes=around.decomposes,
            only=only,
            counts=survey.counts(),
            running=_added(running, around.elsewhere),
            paused=sieve.one(Pause, paused) if paused else None,
            runless=tuple(_runless(row) for row in survey.runless(STRAYS)),
            stray_locks=tuple(_stray_lock(row) for row in survey.stray_locks(STRAYS)),
            stray_runs=tuple(_stray_run(row) for row in survey.stray_runs(STRAYS)),
            unstoppable=tuple(_unstoppable(row) for row in survey.unstoppable(STRAYS)),
            gates=tuple(_gate(row) for row in gates),
            links=tuple(links),
            linked={str(row["id"]): _linked(row) for row in linked},
            outages=tuple(sieve.all(Outage, survey.outages(STRAYS))),
            oldest_task_at=survey.oldest_task_at(),
            dispatching=around.dispatching,
            timeline=_timeline(survey, now),
            cut=_cut(only, {"tasks": more_tasks, "runs": len(held) >= RUNS, "links": len(links) >= LINKS}),
        )
        rows += [] if only is None else _rows_above(survey, facts, only, {str(row["id"]) for row in rows})
    cases = [_case(row, task, sieve, around, starts) for row in rows if (task := sieve.one(Task, row)) is not None]
    orphans = [around.examine(run) for run in sieve.all(HeldRun, held)]
    left_over = [around.examine(run) for run in sieve.all(HeldRun, lingering)]
    return replace(
        facts, cases=tuple(cases), orphans=tuple(orphans), lingering=tuple(left_over), unreadable=sieve.unreadable
    )


def _rows(survey: Survey, now: int, around: Surroundings, only: str | None) -> tuple[list[dict[str, Any]], bool]:
    """Return the cases and whether there are more; one that waits for a slot comes with those that stand before it."""
    if only is None:
        return survey.cases(now, CASES)
    rows = survey.one(only, now)
    if around.limits.bind and rows and rows[0]["status"] in ("ready", "review"):
        rows += [row for row in survey.waiting(now, CASES) if row["id"] != only]
    return rows, False


def _rows_above(survey: Survey, facts: BoardFacts, only: str, known: set[str]) -> list[dict[str, Any]]:
    """Return the tasks that hold the one that is asked about, from which whoever has to move is seen."""
    roots = [root.id for root in dependencies.roots_above(only, facts) if root.id not in known]
    return [row for root in roots[:ROOTS] for row in survey.one(root, facts.now)]


def _added(here: Mapping[str, int], elsewhere: Mapping[str, int]) -> dict[str, int]:
    return {name: here.get(name, 0) + elsewhere.get(name, 0) for name in {*here, *elsewhere}}


def _case(row: Row, task: Task, sieve: Sieve, around: Surroundings, starts: Mapping[str, Sequence[int]]) -> Case:
    """Make a case of a row; what is asked of profiles and plugins is asked only for tasks that could start."""
    assignee = (task.assignee or around.limits.default_assignee).strip().lower()
    lane = around.lane_of(assignee) if assignee else None
    ended = {name.removeprefix("last_"): value for name, value in row.items() if name.startswith("last_")}
    ended["last_output"] = row["last_last_output"]
    waiting = task.status in ("ready", "review")
    return Case(
        task=task,
        turn=_turn(row, task),
        last=sieve.one(Ending, {"task_id": task.id, **ended}) if ended["id"] is not None else None,
        open_parents=row["open_parents"],
        unproven_run=row["unproven_run"],
        late_run=row["late_run"],
        starts=tuple(starts.get(task.id, ())),
        commented_at=row["commented_at"],
        due_at=row["due_at"],
        assignee=assignee,
        lane=lane,
        missing_skills=tuple(around.missing_skills(assignee, lanes.skills_of(task))) if lane == lanes.HERMES else (),
        held_by=around.held_by(task) if waiting and lane is not None else None,
    )


def _turn(row: Row, task: Task) -> Turn | None:
    if row["turn_kind"] is None:
        return None
    at = task.created_at if row["turn_at"] is None else row["turn_at"]
    return Turn(kind=row["turn_kind"], payload=row["turn_payload"], at=at)


def _gate(row: Row) -> Gate:
    turn = Turn(kind=row["kind"], payload=row["payload"], at=row["created_at"])
    return Gate(row["id"], row["task_id"], turn.kind, turn.at, turn.word("reason"))


def _linked(row: Row) -> Linked:
    return Linked(row["id"], row["status"], row["title"], row["created_at"] or 0, row["due_at"])


def _runless(row: Row) -> Stray:
    return Stray(row["id"], "running", row["current_run_id"], row["claim_lock"])


def _stray_lock(row: Row) -> Stray:
    return Stray(row["id"], row["status"], row["current_run_id"], row["claim_lock"])


def _stray_run(row: Row) -> Stray:
    return Stray(row["task_id"], row["status"], row["id"])


def _unstoppable(row: Row) -> Unstoppable:
    try:
        pids = json.loads(row["payload"])["pids"]
    except (KeyError, TypeError, ValueError):
        pids = []  # somebody else wrote it; that they would not end is true all the same
    listed = pids if isinstance(pids, list) else []
    known = tuple(str(pid) for pid in listed if type(pid) is int)
    return Unstoppable(row["task_id"], row["run_id"], number(row["created_at"]) or 0, known)


def _timeline(survey: Survey, now: int) -> Timeline:
    """Compare the newest stamps with the clock and with each other; ids are in the order in which things happened."""
    stamps = [(row["id"], row["created_at"]) for row in survey.newest_events(NEWEST)]
    ahead = max((at - now for _, at in stamps), default=0)
    back, at_event = 0, None
    for (event, at), (_, before) in pairwise(stamps):
        if before - at > back and now - at < REMEMBERED_SECONDS:
            back, at_event = before - at, event
    set_back = back if back > CLOCK_MARGIN_SECONDS else 0
    return Timeline(
        ahead=ahead if ahead > CLOCK_MARGIN_SECONDS else 0,
        set_back=set_back,
        at_event=at_event if set_back else None,
        future_tasks=survey.tasks_after(now + CLOCK_MARGIN_SECONDS),
    )


def _cut(only: str | None, lists: Mapping[str, bool]) -> tuple[str, ...]:
    return () if only else tuple(name for name, more in lists.items() if more)
