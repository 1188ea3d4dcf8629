"""A board to spoil, and the surroundings of a diagnosis as the test wants them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from hermes_kanban_plugin.board import Board
from hermes_kanban_plugin.diagnosis import why
from hermes_kanban_plugin.diagnosis.answer import Answer
from hermes_kanban_plugin.diagnosis.collection import Surroundings, collect
from hermes_kanban_plugin.diagnosis.facts import BoardFacts, Dispatching, Machine, MissingSkill
from hermes_kanban_plugin.diagnosis.finding import Finding
from hermes_kanban_plugin.diagnosis.rulebook import diagnose
from hermes_kanban_plugin.dispatch.admission import Limits
from hermes_kanban_plugin.dispatch.reaper import Orphan
from hermes_kanban_plugin.dispatch.standing import State
from hermes_kanban_plugin.identity import Verdict
from hermes_kanban_plugin.models import HeldRun
from hermes_kanban_plugin.store import failure_tables
from hermes_kanban_plugin.store.connection import columns_of
from hermes_kanban_plugin.store.schema import wrap
from hermes_kanban_plugin.testing import FakeClock

MENDED = (3, 51, 3)


class Scene:
    """A board whose processes, profiles and plugins are what the test says; a dispatcher serves it."""

    def __init__(self, board: Board, clock: FakeClock) -> None:
        self.board, self.clock = board, clock
        self.verdicts: dict[int, tuple[Verdict, Verdict]] = {}
        self.profiles: dict[str, str] = {"coder": "hermes", "worker": "command"}
        self.lacking: dict[str, set[str]] = {}
        self.toolsets: set[str] = set()
        self.held: dict[str, str] = {}
        self.dispatching = Dispatching(state=State.SERVING, pid=1, last_tick_at=clock.now())
        self.machine = Machine(MENDED, "", board.path, "ext4", "/", clock.now(), "/backups")
        self.limits = Limits()
        self.more: dict[str, Any] = {}
        if not columns_of(board.writer, "kp_outages"):
            failure_tables.create(wrap(board.writer))

    def around(self) -> Surroundings:
        return Surroundings(
            examine=self._examine,
            lane_of=self.profiles.get,
            missing_skills=self._missing,
            held_by=lambda task: self.held.get(task.id),
            machine=self.machine,
            limits=self.limits,
            dispatching=self.dispatching,
            **self.more,
        )

    def _examine(self, run: HeldRun) -> Orphan:
        return Orphan(run, *self.verdicts.get(run.run_id or 0, (Verdict.ALIVE, Verdict.ALIVE)))

    def _missing(self, profile: str, wanted: Any) -> list[MissingSkill]:
        lacking = self.lacking.get(profile, set())
        return [MissingSkill(name, ("/skills",), name in self.toolsets) for name in wanted if name in lacking]

    def facts(self, only: str | None = None) -> BoardFacts:
        return collect(self.board.reader, self.board.slug, self.clock.now(), self.around(), only)

    def findings(self, kind: str | None = None) -> list[Finding]:
        return [found for found in diagnose(self.facts()) if kind in (None, found.kind)]

    def finding(self, kind: str) -> Finding:
        """Return the one finding of a kind."""
        (found,) = self.findings(kind)
        return found

    def kinds(self) -> set[str]:
        return {found.kind for found in self.findings()}

    def why(self, task_id: str) -> Answer:
        facts = self.facts(task_id)
        case = facts.case(task_id)
        assert case is not None
        return why.explain(case, facts)

    def add(self, **fields: Any) -> str:
        return self.board.create_task(**{"title": "a task", "assignee": "worker", **fields})

    def spoil(self, statement: str, *values: object) -> None:
        """Do to the board what no function of ours would do."""
        self.board.writer.execute(statement, values)

    def event(self, task_id: str, kind: str, payload: str | None = None, at: int | None = None) -> None:
        when = self.clock.now() if at is None else at
        self.spoil(
            "INSERT INTO task_events (task_id, kind, payload, created_at) VALUES (?, ?, ?, ?)",
            task_id, kind, payload, when,
        )  # fmt: skip

    def closed_run(self, task_id: str, outcome: str, ago: int = 10, **facts: Any) -> int:
        """Add an attempt that ended; ``facts`` go to what its supervisor saw."""
        now = self.clock.now()
        added = self.board.writer.execute(
            "INSERT INTO task_runs (task_id, status, outcome, started_at, ended_at, error, summary) "
            "VALUES (?, ?, ?, ?, ?, ?, ?) RETURNING id",
            (
                task_id,
                outcome,
                outcome,
                now - ago - 60,
                now - ago,
                facts.pop("error", None),
                facts.pop("summary", None),
            ),
        ).fetchone()
        run_id = int(added["id"])
        columns = {"run_id": run_id, "task_id": task_id, "lane": "command", "source_status": "ready",
                   "claimed_at": now - ago - 60, "launch_deadline": now - ago, "accepted_at": now - ago - 60,
                   "ended_at": now - ago, **facts}  # fmt: skip
        names = ", ".join(columns)
        marks = ", ".join("?" for _ in columns)
        self.spoil(f"INSERT INTO kp_runs ({names}) VALUES ({marks})", *columns.values())
        return run_id


@pytest.fixture
def scene(board: Board, clock: FakeClock) -> Scene:
    return Scene(board, clock)


@pytest.fixture
def old_boards() -> Path:
    """The folder of the boards that real host versions made; copy them, never open them."""
    return Path(__file__).parents[1] / "fixtures" / "boards"
