"""All hooks of one tick, in their order, compared whole."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from hermes_kanban_plugin import hookimpl

if TYPE_CHECKING:
    from tests.hooks.conftest import Service


class Diary:
    """A plugin that writes down every call of a tick, and answers only where no process may be touched."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    @hookimpl
    def kanban_run_phase(self, phase: Any) -> None:
        self.calls.append(f"run_phase {phase}")

    @hookimpl
    def kanban_tick(self, phase: Any) -> None:
        self.calls.append(f"tick {phase}")

    @hookimpl
    def kanban_worker_alive(self, run: Any, process: Any) -> None:
        who = "supervisor" if process == run.supervisor else "worker"
        self.calls.append(f"worker_alive {who}")

    @hookimpl
    def kanban_orphan_decide(self, orphan: Any) -> None:
        self.calls.append(f"orphan_decide {orphan.supervisor} {orphan.worker}")

    @hookimpl
    def kanban_terminate_worker(self) -> bool:
        self.calls.append("terminate_worker")
        return True

    @hookimpl
    def kanban_before_dispatch(self, task: Any) -> None:
        self.calls.append(f"before_dispatch {task.title}")

    @hookimpl
    def kanban_spawn_worker(self, task: Any) -> bool:
        self.calls.append(f"spawn_worker {task.title}")
        return True

    @hookimpl
    def kanban_task_event(self, event: Any) -> None:
        self.calls.append(f"task_event {event.kind}")


def test_hooks_of_a_tick_come_in_this_order(
    service: Service, sleeper: Callable[[str], subprocess.Popen[bytes]]
) -> None:
    abandoned = service.create("abandoned", priority=2)
    service.hold(abandoned, worker=sleeper("x").pid)
    parent = service.create("parent")
    service.create("child", priority=1, parents=[parent])
    service.board.writer.execute("UPDATE tasks SET status = 'done' WHERE id = ?", (parent,))
    service.manager.ask("kanban_run_phase", context=_context(service), phase=_report())  # the news start here
    diary = Diary()
    service.manager.register(diary, "diary")
    service.tick()
    assert diary.calls == [
        "run_phase reap",
        "tick reap",
        "run_phase verify",
        "tick verify",
        "worker_alive supervisor",
        "worker_alive worker",
        "run_phase rescue",
        "tick rescue",
        "orphan_decide dead alive",
        "terminate_worker",
        "run_phase promote",
        "tick promote",
        "run_phase dispatch",
        "tick dispatch",
        "before_dispatch abandoned",
        "before_dispatch child",
        "spawn_worker abandoned",
        "spawn_worker child",
        "run_phase report",
        "tick report",
        "task_event reclaimed",
        "task_event promoted",
        "task_event claimed",
        "task_event claimed",
    ]


def _context(service: Service) -> Any:
    from hermes_kanban_plugin.dispatch.context import TickContext

    return TickContext(service.runtime, service.board)


def _report() -> Any:
    from hermes_kanban_plugin.dispatch.context import Phase

    return Phase.REPORT
