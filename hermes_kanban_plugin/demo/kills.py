"""What the demo kills, each part once, and how long it takes until the work goes on."""

from __future__ import annotations

import os
import signal
import time
from typing import TYPE_CHECKING, NamedTuple

from hermes_kanban_plugin.store import dispatchers

if TYPE_CHECKING:
    from hermes_kanban_plugin.board import Board
    from hermes_kanban_plugin.demo.service import Service
    from hermes_kanban_plugin.models import HeldRun

# A worker is killed in the middle: after it has worked for this long.
AFTER_SECONDS = 0.8


class Plan(NamedTuple):
    """One kill: which part, while which task's worker is at work."""

    part: str
    task: str


PLANS = (Plan("worker", "index"), Plan("supervisor", "words"), Plan("dispatcher", "merge"))


class Kill:
    """One planned kill on its way: waiting for its moment, done, recovered."""

    def __init__(self, plan: Plan, task_id: str) -> None:
        self.plan = plan
        self.seconds: float | None = None
        self._task_id = task_id
        self._seen_at: float | None = None
        self._killed_at: float | None = None
        self._mark = 0

    def step(self, board: Board, service: Service) -> str | None:
        """Look at the board and act; returns news when something happened."""
        if self.seconds is not None:
            return None
        run = board.held_run(self._task_id)
        if self._killed_at is None:
            return self._strike(board, service, run)
        if self._has_recovered(board, run):
            self.seconds = time.monotonic() - self._killed_at
            return f"the {self.plan.part} was killed; the work goes on after {self.seconds * 1000:.0f} ms"
        return None

    def _strike(self, board: Board, service: Service, run: HeldRun | None) -> str | None:
        if run is None or not run.worker_pid or not run.supervisor_pid:
            return None
        self._seen_at = self._seen_at or time.monotonic()
        if time.monotonic() - self._seen_at < AFTER_SECONDS:
            return None
        self._killed_at = time.monotonic()
        if self.plan.part == "dispatcher":
            self._mark = _term(board)
            service.kill_and_restart()
        else:
            self._mark = run.run_id or 0
            os.kill(run.worker_pid if self.plan.part == "worker" else run.supervisor_pid, signal.SIGKILL)
        return f"the {self.plan.part} of {self.plan.task!r} was killed with SIGKILL in the middle"

    def _has_recovered(self, board: Board, run: HeldRun | None) -> bool:
        """Say whether a next attempt works, or a next dispatcher serves."""
        if self.plan.part == "dispatcher":
            return _term(board) > self._mark
        return run is not None and (run.run_id or 0) > self._mark and bool(run.worker_pid)


def _term(board: Board) -> int:
    term = dispatchers.latest(board.reader)
    return term.term if term else 0
