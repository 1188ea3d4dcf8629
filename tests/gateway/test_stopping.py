"""A tick that is under way when the dispatcher is stopped launches nothing more."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from hermes_kanban_plugin.hookspecs import hookimpl
from hermes_kanban_plugin.supervisor import launcher, program
from tests.conftest import Workshop, wait_for


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


class IsReplaced:
    """The plugin is upgraded while the first worker is being launched, or before: its files are others from then on."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.patch = monkeypatch

    @hookimpl
    def kanban_spawn_worker(self) -> None:
        self.patch.setattr(program, "stamp", lambda: None)


def test_what_was_claimed_when_the_plugin_was_replaced_is_given_back(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    workshop.configure({"lane": "true"})
    ids = [workshop.board.create_task(title=str(number), assignee="lane") for number in range(3)]
    workshop.runtime.manager.register(IsReplaced(monkeypatch), "upgrade")
    (started,) = workshop.tick().started
    left = [workshop.board.task(task_id) for task_id in ids if task_id != started.task_id]
    assert [(task.status, task.consecutive_failures) for task in left] == [("ready", 0)] * 2


def test_a_launch_that_failed_under_an_upgrade_is_no_failure(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The supervisor was started a moment before its files were replaced, and could not read them any more."""
    workshop.configure({"lane": "true"})
    task_id = workshop.board.create_task(title="x", assignee="lane")
    monkeypatch.setattr(launcher, "ENTRY", tmp_path / "gone.py")
    assert len(workshop.tick().started) == 1
    monkeypatch.setattr(program, "stamp", lambda: None)

    def is_back() -> bool:
        workshop.tick()
        return workshop.board.task(task_id).status == "ready"

    wait_for(is_back, "the launch to be settled")
    assert workshop.board.task(task_id).consecutive_failures == 0
    assert {run.outcome for run in workshop.board.runs(task_id)} == {"reclaimed"}
