"""A stage for failure modes: the real dispatcher with a clock to move, and puppets where workers would be.

A puppet is what a supervisor makes of a worker: it accepts the claim, keeps the lease, and tells the store how it
ended, in the words that the supervisor uses. Rows that need real processes use the ``workshop``.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from hermes_kanban_plugin import identity, toolkit
from hermes_kanban_plugin.board import Board, create_board
from hermes_kanban_plugin.breaker import Terms
from hermes_kanban_plugin.causes import Cause
from hermes_kanban_plugin.diagnosis import surroundings, why
from hermes_kanban_plugin.diagnosis.answer import Answer
from hermes_kanban_plugin.diagnosis.facts import BoardFacts, Dispatching
from hermes_kanban_plugin.dispatch.ownership import Caller
from hermes_kanban_plugin.dispatch.standing import State
from hermes_kanban_plugin.dispatch.tick import tick
from hermes_kanban_plugin.hookspecs import hookimpl
from hermes_kanban_plugin.identity import Verdict
from hermes_kanban_plugin.manager import Manager
from hermes_kanban_plugin.models import TickReport
from hermes_kanban_plugin.runtime import Runtime
from hermes_kanban_plugin.store import leases, outcomes
from hermes_kanban_plugin.store.leases import Lease
from hermes_kanban_plugin.store.outcomes import ExitFacts, Failure, Handoff
from hermes_kanban_plugin.store.transaction import immediate
from hermes_kanban_plugin.testing import FakeClock, place_of, violations


class Puppets:
    """The plugin that starts puppets and says whether they live."""

    def __init__(self, clock: FakeClock) -> None:
        self.clock = clock
        self.living: dict[str, Lease] = {}
        self.starts: list[tuple[str, int]] = []
        self.obstacle: OSError | None = None

    @hookimpl
    def kanban_spawn_worker(self, context: Any, task: Any, lease: Lease) -> bool:
        if self.obstacle is not None:
            raise self.obstacle
        me, now = identity.capture(os.getpid()), self.clock.now()
        leases.accept(context.board.writer, lease, me, me, now + 120, now)
        self.living[task.id] = lease
        self.starts.append((task.id, now))
        return True

    @hookimpl
    def kanban_worker_alive(self, run: Any) -> Verdict:
        lease = self.living.get(run.task_id)
        return Verdict.ALIVE if lease is not None and lease.run_id == run.run_id else Verdict.DEAD


class Stage:
    """A board that is dispatched by hand, in a time that passes when a test says so."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.clock = FakeClock()
        self.puppets = Puppets(self.clock)
        self._location = place_of(home / "kanban.db")
        create_board(self._location)
        self._runtime: Runtime | None = None
        self.configure()

    def configure(self, kanban: dict[str, Any] | None = None, more_lanes: Sequence[str] = (), **plugin: Any) -> None:
        """Write the settings: keys of the host's section, and ours; the lane ``puppet`` is always there."""
        entry = {**plugin, "lanes": {name: {"command": ["true"]} for name in ("puppet", *more_lanes)}}
        document = {"kanban": kanban or {}, "plugins": {"entries": {"hermes-kanban": entry}}}
        (self.home / "config.yaml").write_text(json.dumps(document))
        self.restart()

    def restart(self) -> None:
        """Forget what only a process knows."""
        if self._runtime is not None:
            self._runtime.close()
            self._runtime = None

    @property
    def runtime(self) -> Runtime:
        if self._runtime is None:
            manager = Manager(discover=False)
            manager.register(self.puppets, "puppets")
            self._runtime = Runtime(self.home, clock=self.clock, manager=manager)
        return self._runtime

    @property
    def board(self) -> Board:
        return self.runtime.open(self._location)

    @property
    def now(self) -> int:
        return self.clock.now()

    def create(self, **fields: Any) -> str:
        return self.board.create_task(**{"title": "work", "assignee": "puppet", **fields})

    def tick(self, seconds: float = 0) -> TickReport:
        """Let time pass, keep the puppets' leases as their supervisors would, then tick once."""
        self.clock.advance(seconds)
        for lease in list(self.puppets.living.values()):
            leases.renew(self.board.writer, lease, self.now + 120)
        return tick(self.board, self.runtime)

    def started(self, seconds: float = 0) -> list[str]:
        """Tick once and return which tasks were started."""
        return [started.task_id for started in self.tick(seconds).started]

    def run_until(self, end: int, step: int = 30) -> Iterator[list[str]]:
        """Tick step by step until a moment; yields the living tasks after each tick."""
        while self.now < end:
            self.tick(step)
            yield list(self.puppets.living)

    @contextmanager
    def scarcity(self, number: int) -> Iterator[None]:
        """Let no puppet be started within a ``with``, for an error of the machine."""
        self.puppets.obstacle = OSError(number, os.strerror(number))
        yield
        self.puppets.obstacle = None

    # --- how a puppet ends ---

    def _bury(self, task_id: str, exit_code: int | None = 0) -> Lease:
        lease = self.puppets.living.pop(task_id)
        outcomes.record_exit(self.board.writer, lease, ExitFacts(exit_code), self.now)
        return lease

    def complete(self, task_id: str, summary: str = "done") -> list[str]:
        lease = self.puppets.living[task_id]
        promoted = self.board.complete_run(lease, Handoff(summary))
        self._bury(task_id)
        return promoted

    def block(self, task_id: str, reason: str = "stuck", kind: str | None = None) -> str:
        status = self.board.block_run(self.puppets.living[task_id], reason, kind)
        self._bury(task_id)
        return status

    def fail(self, task_id: str, cause: Cause = Cause.CRASHED, error: str = "exit 7") -> str:
        with immediate(self.board.writer) as writer:
            failure = Failure(cause, error, {}, self.terms())
            status = outcomes.fail(writer, self.puppets.living[task_id], failure, self.now)
        self._bury(task_id, 1)
        return status

    def release(self, task_id: str, cause: Cause = Cause.INTERRUPTED, reset_at: int | None = None) -> str:
        lease = self.puppets.living[task_id]
        with immediate(self.board.writer) as writer:
            if reset_at is not None:
                outcomes.note_retry(writer, lease, reset_at)
            status = outcomes.release(writer, lease, cause, "stop", {}, self.now, self.terms())
        self._bury(task_id, 75 if cause is Cause.RATE_LIMITED else None)
        return status

    def vanish(self, *task_ids: str) -> None:
        """Let puppets die together with whoever would have written how they ended."""
        for task_id in task_ids:
            del self.puppets.living[task_id]

    def terms(self) -> Terms:
        self.runtime.reload()
        return self.runtime.settings.failure_terms

    # --- what stands on the board ---

    def columns(self, task_id: str, *names: str) -> tuple[Any, ...]:
        row = self.board.reader.execute("SELECT * FROM tasks WHERE id = :id", {"id": task_id}).fetchone()
        return tuple(row[name] for name in names)

    def status(self, task_id: str) -> str:
        return self.columns(task_id, "status")[0]

    def kinds(self, task_id: str) -> list[str]:
        return [event.kind for event in self.board.events(task_id)]

    def runs(self, task_id: str) -> int:
        return len(self.board.runs(task_id))

    def execute(self, sql: str, **values: Any) -> list[dict[str, Any]]:
        """Read or write past every rule of ours, as another program would."""
        return [dict(row) for row in self.board.writer.execute(sql, values)]

    def starts_within_an_hour(self) -> int:
        """Return the most starts of one task within any hour."""
        most = 0
        for task_id in {task_id for task_id, _ in self.puppets.starts}:
            times = [at for one, at in self.puppets.starts if one == task_id]
            most = max(most, *(len([at for at in times if start <= at < start + 3600]) for start in times))
        return most


@pytest.fixture
def stage(home: Path) -> Iterator[Stage]:
    made = Stage(home)
    yield made
    made.restart()
    assert violations(home / "kanban.db") == []


def perform(stage: Stage, name: str, lease: Lease, **arguments: Any) -> dict[str, Any]:
    """Call an agent tool as the worker of a lease, in the time of the stage."""
    manager = Manager(discover=False)
    me = Caller(lease.task_id, str(lease.run_id), lease.lock, "puppet", os.getpid(), str(os.getpid()))
    with mock.patch("hermes_kanban_plugin.board.Clock", return_value=stage.clock):
        return toolkit.perform(toolkit.tools_of(manager)[name], manager, {"task_id": lease.task_id, **arguments}, me)


def served(stage: Stage, only: str | None = None) -> BoardFacts:
    """The facts of a board, or around one task, whose dispatcher is this very test."""
    facts = surroundings.look(stage.runtime, stage.board, only)
    return replace(facts, dispatching=Dispatching(state=State.SERVING))


def reason(stage: Stage, task_id: str) -> Answer:
    """Why a task does not run, as ``hermes-kanban why`` says it."""
    facts = served(stage, task_id)
    case = facts.case(task_id)
    assert case is not None
    return why.explain(case, facts)
