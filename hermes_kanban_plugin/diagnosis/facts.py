"""What a diagnosis knows of a board: frozen facts of one moment, which the rules judge without looking again.

Times are epoch seconds. Lists are bounded; ``BoardFacts.cut`` names those that had to be cut.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

from pydantic import field_validator

from hermes_kanban_plugin.dispatch.standing import State
from hermes_kanban_plugin.models import Frozen, Task

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from hermes_kanban_plugin.dispatch.admission import Limits
    from hermes_kanban_plugin.dispatch.reaper import Orphan
    from hermes_kanban_plugin.store.rows import Unreadable


class Thresholds(NamedTuple):
    """From when on something is worth a finding; seconds and counts (contract section 4, ``diagnostics.*``)."""

    failure_threshold: int = 2
    blocked_stale_seconds: int = 24 * 3600
    stranded_seconds: int = 1800
    block_cycle_threshold: int = 3
    block_cycle_window_seconds: int = 24 * 3600


THRESHOLDS = Thresholds()


class Ending(Frozen):
    """The newest attempt at a task; open while ``ended_at`` is None."""

    id: int
    status: str | None = None
    outcome: str | None = None
    started_at: int | None = None
    ended_at: int | None = None
    error: str | None = None
    summary: str | None = None
    cause: str | None = None
    signature: str | None = None
    retry_at: int | None = None
    exit_code: int | None = None
    exit_signal: int | None = None
    last_output: str | None = None


class Turn(Frozen):
    """The event that brought a task into its column."""

    kind: str
    payload: dict[str, Any] = {}
    at: int

    @field_validator("payload", mode="before")
    @classmethod
    def _read_payload(cls, stored: Any) -> dict[str, Any]:
        """Read the column; what is no JSON object says nothing."""
        try:
            read = json.loads(stored) if isinstance(stored, str) else stored
        except ValueError:
            return {}
        return read if isinstance(read, dict) else {}

    def word(self, name: str) -> str:
        """Return one word of the event, or nothing."""
        value = self.payload.get(name)
        return str(value) if value else ""


class MissingSkill(NamedTuple):
    """A skill that a worker would not find: its name, where was looked, and whether it is a toolset's name."""

    name: str
    looked_in: tuple[str, ...]
    is_toolset: bool


class Case(Frozen):
    """One task with everything that decides whether it can run.

    ``open_parents`` counts the unfinished tasks it waits for; ``unproven_run`` is an earlier run whose processes were
    not proven gone; ``late_run`` a completion that came too late and waits for a person; ``starts`` are the moments of
    the last hour in which it was started; ``lane`` is None when nobody can be started for the assignee; ``held_by`` is
    a plugin's reason; ``due_at`` is when a parked task comes back by itself.
    """

    task: Task
    turn: Turn | None = None
    last: Ending | None = None
    open_parents: int = 0
    unproven_run: int | None = None
    late_run: int | None = None
    starts: tuple[int, ...] = ()
    commented_at: int | None = None
    assignee: str = ""
    lane: str | None = None
    missing_skills: tuple[MissingSkill, ...] = ()
    held_by: str | None = None
    due_at: int | None = None

    @property
    def gave_up(self) -> bool:
        """Whether the circuit breaker closed the gate and not somebody's word."""
        if self.task.status != "blocked" or self.turn is None:
            return False
        said = self.turn.word("reason").startswith("gave up after") and self.task.consecutive_failures > 0
        return self.turn.kind == "gave_up" or said

    @property
    def lacks_skills(self) -> bool:
        """Whether the dispatcher blocked the task because its worker would not find its skills."""
        turn = self.turn
        by_us = turn is not None and turn.kind == "blocked" and turn.word("actor") == "dispatcher"
        return self.task.status == "blocked" and by_us and bool(self.missing_skills)

    @property
    def since(self) -> int:
        """Since when the task is in its column."""
        return self.turn.at if self.turn else self.task.created_at


class Gate(NamedTuple):
    """A gate that closed or opened: which event, of which task, when, and the reason if one was given."""

    event_id: int
    task_id: str
    kind: str
    at: int
    reason: str


class Linked(NamedTuple):
    """An unfinished task in the graph; ``due_at`` is when it comes back by itself if it is parked."""

    id: str
    status: str
    title: str
    created_at: int
    due_at: int | None = None


class Stray(NamedTuple):
    """A task or run that carries what it may not: the task, its status (None when it is gone), the run, the lock."""

    task_id: str
    status: str | None
    run_id: int | None
    lock: str | None = None


class Unstoppable(NamedTuple):
    """A run that was told to end, and processes of it that would not: since when, epoch seconds, and their pids."""

    task_id: str
    run_id: int
    at: int
    pids: tuple[str, ...]


class Outage(Frozen):
    """Several tasks that fail the same way: they wait for a probe."""

    id: int
    signature: str
    cause: str | None = None
    began_at: int
    last_seen_at: int | None = None
    failures: int = 0
    next_probe_at: int | None = None
    probe_task_id: str | None = None
    probe_run_id: int | None = None

    def lets_in(self, task_id: str) -> bool:
        """Say whether a task was chosen to try whether it works again."""
        return self.probe_task_id == task_id and self.probe_run_id is None


class Pause(Frozen):
    """That a person lets nothing start on the board: who, since when, and the reason if one was given."""

    actor: str
    since: int
    value: str = ""


class Dispatching(Frozen):
    """Who starts the tasks of this board, as ``dispatch.standing`` sees it; times of the newest term of one of ours."""

    state: State = State.NEVER
    pid: int | None = None
    last_tick_at: int | None = None
    ended_at: int | None = None

    @property
    def serves(self) -> bool:
        """Whether somebody ticks the board: a dispatcher of ours at work, or the one of the host."""
        return self.state in (State.SERVING, State.ELSEWHERE, State.HERMES)


class Timeline(NamedTuple):
    """What the stamps of the newest events say about the clock; seconds, 0 when nothing is wrong.

    ``ahead`` is how far the newest stamp lies in the future, ``set_back`` the largest step back between two events
    that follow each other, ``at_event`` the event after that step, ``future_tasks`` how many tasks are from the future.
    """

    ahead: int = 0
    set_back: int = 0
    at_event: int | None = None
    future_tasks: int = 0


NOBODY = Dispatching()
STRAIGHT = Timeline()


class Machine(NamedTuple):
    """The ground the board stands on; None for what could not be found out."""

    sqlite_version: tuple[int, int, int]
    journal_mode: str
    path: str
    file_system: str | None = None
    mount_point: str | None = None
    backup_at: int | None = None
    backup_folder: str | None = None


@dataclass(frozen=True, kw_only=True)
class BoardFacts:
    """Everything that is known of a board at one moment.

    ``limits`` are the caps, ``cooldown_seconds`` the pause after "try later", ``max_starts_per_hour`` the bound for
    one task (None: no bound). ``decomposes`` says that new cards in triage are handed to the host's decomposer.
    ``running`` counts running tasks by assignee over all boards. ``only`` is the task that was asked for; the lists
    then hold what concerns it.
    """

    board: str
    now: int
    machine: Machine
    limits: Limits
    thresholds: Thresholds = THRESHOLDS
    cooldown_seconds: int = 300
    max_starts_per_hour: int | None = None
    lease_seconds: int = 120
    aging_seconds: int = 0
    decomposes: bool = False
    only: str | None = None
    counts: Mapping[str, int] = field(default_factory=dict)
    running: Mapping[str, int] = field(default_factory=dict)
    oldest_task_at: int | None = None
    paused: Pause | None = None
    cases: tuple[Case, ...] = ()
    orphans: tuple[Orphan, ...] = ()
    lingering: tuple[Orphan, ...] = ()
    runless: tuple[Stray, ...] = ()
    stray_locks: tuple[Stray, ...] = ()
    stray_runs: tuple[Stray, ...] = ()
    unstoppable: tuple[Unstoppable, ...] = ()
    gates: tuple[Gate, ...] = ()
    links: tuple[tuple[str, str], ...] = ()
    linked: Mapping[str, Linked] = field(default_factory=dict)
    outages: tuple[Outage, ...] = ()
    dispatching: Dispatching = NOBODY
    timeline: Timeline = STRAIGHT
    unreadable: tuple[Unreadable, ...] = ()
    cut: tuple[str, ...] = ()

    def case(self, task_id: str) -> Case | None:
        """Return the case of a task if it is among those that were looked at."""
        return self._cases.get(task_id)

    @cached_property
    def _cases(self) -> dict[str, Case]:
        return {case.task.id: case for case in self.cases}

    @cached_property
    def parents(self) -> Mapping[str, tuple[str, ...]]:
        """The unfinished tasks that each unfinished task waits for."""
        return _grouped((child, parent) for parent, child in self.links)

    @cached_property
    def children(self) -> Mapping[str, tuple[str, ...]]:
        """The unfinished tasks that wait for each unfinished task."""
        return _grouped(self.links)

    @property
    def unfinished(self) -> int:
        """How many tasks are neither done nor archived."""
        return sum(number for status, number in self.counts.items() if status not in ("done", "archived"))


def _grouped(pairs: Iterable[tuple[str, str]]) -> dict[str, tuple[str, ...]]:
    found: dict[str, list[str]] = {}
    for name, other in pairs:
        found.setdefault(name, []).append(other)
    return {name: tuple(others) for name, others in found.items()}
