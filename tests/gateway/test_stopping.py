"""A tick that is under way when the dispatcher is stopped launches nothing more."""

from __future__ import annotations

from typing import Any

from hermes_kanban_plugin.hookspecs import hookimpl
from tests.conftest import Workshop


class StopsAtFirstLaunch:
    """The gateway begins to stop while the first of three workers is being launched."""

    def __init__(self) -> None:
        self.done = False

    @hookimpl
    def kanban_spawn_worker(self, context: Any) -> None:
        if not self.done:
            context.runtime.stopping.set()
        self.done = True


def test_what_was_claimed_and_not_launched_is_given_back(workshop: Workshop) -> None:
    workshop.configure({"lane": "true"})
    ids = [workshop.board.create_task(title=str(number), assignee="lane") for number in range(3)]
    workshop.runtime.manager.register(StopsAtFirstLaunch(), "stopper")
    report = workshop.tick()
    (started,) = report.started
    left = [workshop.board.task(task_id) for task_id in ids if task_id != started.task_id]
    assert [(task.status, task.consecutive_failures) for task in left] == [("ready", 0)] * 2
    assert [run.outcome for task in left for run in workshop.board.runs(task.id)] == ["reclaimed"] * 2
    assert workshop.tick().started == []
    workshop.runtime.stopping.clear()
    for task_id in ids:
        workshop.settle(task_id, "done")


def test_a_stopped_dispatcher_claims_nothing(workshop: Workshop) -> None:
    workshop.configure({"lane": "true"})
    task_id = workshop.board.create_task(title="x", assignee="lane")
    workshop.runtime.stopping.set()
    assert workshop.tick().started == []
    assert workshop.board.runs(task_id) == []
