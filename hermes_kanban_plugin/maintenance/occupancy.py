"""Who is at work on a board now: the reasons why it must not be replaced under them."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NamedTuple

from hermes_kanban_plugin.dispatch.examination import examine
from hermes_kanban_plugin.identity import Verdict
from hermes_kanban_plugin.models import HeldRun
from hermes_kanban_plugin.store import statements
from hermes_kanban_plugin.store.standins import Pane

if TYPE_CHECKING:
    import sqlite3

    from hermes_kanban_plugin.manager import Manager


class Occupant(NamedTuple):
    """One who is at work: a sentence for people, and the run if it is one that certainly lives."""

    sentence: str
    living_run: int | None = None


def workers(connection: sqlite3.Connection, manager: Manager, now: int) -> list[Occupant]:
    """Return the runs that hold a task and are not proven gone, and closed ones whose processes live.

    A run that cannot be seen from here (another machine, a terminal) counts until its lease ends.
    """
    found = []
    pane = Pane(connection)
    for run in _runs(pane, statements.HELD):
        orphan = examine(manager, run)
        if Verdict.ALIVE in (orphan.supervisor, orphan.worker):
            pid = run.worker_pid or run.task_worker_pid
            found.append(Occupant(f"task {run.task_id} is being worked on by pid {pid}", run.run_id))
        elif orphan.worker is not Verdict.DEAD and now < (run.claim_expires or 0):
            until = time.strftime("%H:%M:%S", time.localtime(run.claim_expires))
            found.append(Occupant(f"task {run.task_id} is claimed until {until} by somebody who cannot be seen"))
    for run in _runs(pane, statements.LINGERING):
        orphan = examine(manager, run)
        if Verdict.ALIVE in (orphan.supervisor, orphan.worker):
            sentence = f"processes of run {run.run_id} of task {run.task_id} still live"
            found.append(Occupant(sentence, run.run_id))
    return found


def _runs(pane: Pane, statement: str) -> list[HeldRun]:
    return [HeldRun.model_validate(row) for row in pane.rows(statement)]
