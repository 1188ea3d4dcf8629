"""One test per hook, named after it: when it is called, with what, and what its answer does."""

from __future__ import annotations

import sqlite3
import subprocess
from collections.abc import Callable
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest
from sqlite_utils import Migrations

from hermes_kanban_plugin import toolkit
from hermes_kanban_plugin.dispatch.context import Phase, TickContext
from hermes_kanban_plugin.dispatch.loop import Dispatcher
from hermes_kanban_plugin.dispatch.ownership import ALLOW, Caller, Vote
from hermes_kanban_plugin.dispatch.reaper import KEEP, Action, Deed, Orphan
from hermes_kanban_plugin.errors import NotTheOwner
from hermes_kanban_plugin.identity import ProcessIdentity, Verdict
from hermes_kanban_plugin.manager import Manager
from hermes_kanban_plugin.models import Event, HeldRun
from hermes_kanban_plugin.store import queries
from hermes_kanban_plugin.toolkit import ToolArguments

if TYPE_CHECKING:
    from tests.conftest import Workshop
    from tests.hooks.conftest import Service

PERSON = Caller("", "", "", "ann", 1)
Sleeper = Callable[[str], subprocess.Popen[bytes]]


# --- start of a process --------------------------------------------------------------------------------------------


def test_kanban_configure(service: Service) -> None:
    told: list[Any] = []
    service.plug("late", kanban_configure=lambda settings: told.append(settings))
    assert told == [service.runtime.settings], "a plugin that comes late is told at once"
    service.manager.configure(service.runtime.settings)
    assert told == [service.runtime.settings] * 2

    def refuse(settings: Any) -> None:
        raise ValueError("a key is missing")

    service.plug("broken", kanban_configure=refuse)
    assert "broken" not in service.manager.names()
    assert "late" in service.manager.names()
    (failure,) = service.manager.take_failures()
    assert (failure.plugin, failure.hook, failure.error) == (
        "broken", "kanban_configure", "ValueError: a key is missing",
    )  # fmt: skip


def test_kanban_register_tools(service: Service) -> None:
    def tool(name: str) -> toolkit.Tool:
        return toolkit.Tool(name, "Say the weather.", ToolArguments, lambda call, arguments: {"weather": "rain"})

    def bring(register: Callable[[toolkit.Tool], None]) -> None:
        register(tool("kanban_weather"))
        register(tool("kanban_heartbeat"))
        register(tool("kanban_weather"))

    service.plug("weather", kanban_register_tools=bring)
    tools = toolkit.tools_of(service.manager)
    assert sorted(tools) == ["kanban_block", "kanban_complete", "kanban_heartbeat", "kanban_weather"]
    assert "weather" in tools["kanban_heartbeat"].description, "a plugin's tool replaces the built-in one"
    refused = [failure.error for failure in service.manager.take_failures()]
    assert len(refused) == 2, "the plugin's own second one, and the built-in one"
    assert "'kanban_weather' is registered already" in refused[0]
    answer = toolkit.perform(tools["kanban_weather"], service.manager, {"task_id": service.create()}, PERSON)
    assert answer == {"weather": "rain"}


def test_kanban_gateway_startup(service: Service) -> None:
    ready = service.create()
    service.hold(service.create("abandoned"))
    seen: list[tuple[str, str]] = []
    service.plug(
        kanban_gateway_startup=lambda runtime: seen.append(("startup", runtime.root.name)),
        kanban_run_phase=lambda context, phase: seen.append(("phase", str(phase))),
        kanban_spawn_worker=lambda context: pytest.fail("a start scan starts nothing"),
    )
    dispatcher = Dispatcher(service.runtime)
    dispatcher.stop("test")
    dispatcher.run()
    assert seen[0] == ("startup", service.home.name)
    assert seen[1:] == [("phase", str(phase)) for phase in Phase]
    assert {task.status for task in service.board.tasks()} == {"ready"}, "the dead run was rescued before any start"
    assert service.board.runs(ready) == []


def test_kanban_gateway_shutdown(service: Service) -> None:
    task_id = service.create()
    told: list[tuple[str, str]] = []

    def note(runtime: Any, reason: str) -> None:
        (location,) = [board.location for board in runtime._boards.values()] or [service.board.location]
        told.append((reason, runtime.open(location).task(task_id).status))

    service.plug(kanban_gateway_shutdown=note)
    dispatcher = Dispatcher(service.runtime)
    dispatcher.stop("SIGTERM")
    dispatcher.run()
    assert told == [("SIGTERM", "ready")], "once, and the boards are still open"
    assert service.runtime._boards == {}, "the built-in one closes them last"


# --- the tick ------------------------------------------------------------------------------------------------------


def test_kanban_run_phase(service: Service) -> None:
    task_id = service.create()
    ticked: list[Phase] = []
    service.plug(
        kanban_run_phase=lambda context, phase: True if phase is Phase.DISPATCH else None,
        kanban_tick=lambda context, phase: ticked.append(phase),
    )
    report = service.tick()
    assert ticked == [phase for phase in Phase if phase is not Phase.DISPATCH]
    assert (report.started, service.board.task(task_id).status) == ([], "ready"), "the answer replaced the dispatch"
    assert report.plugin_failures == []


def test_kanban_tick(service: Service) -> None:
    ticked: list[tuple[Phase, str, bool]] = []

    def note(context: TickContext, phase: Phase) -> str:
        ticked.append((phase, context.board.slug, context.dry_run))
        return "ignored"

    service.plug(kanban_tick=note)
    service.tick()
    assert ticked == [(phase, "default", False) for phase in Phase]


def test_kanban_worker_alive(service: Service, sleeper: Sleeper) -> None:
    task_id = service.create()
    process = sleeper("x")
    lease = service.hold(task_id, supervisor=process.pid, worker=process.pid)
    assert service.tick(may_start=False).rescued == [], "the built-in one sees the living process"
    asked: list[tuple[int | None, int, str]] = []

    def contradict(run: HeldRun, process: ProcessIdentity, lock: str) -> Verdict | None:
        asked.append((run.run_id, process.pid, lock))
        return Verdict.DEAD

    service.plug(kanban_worker_alive=contradict)
    (rescued,) = service.tick(may_start=False).rescued
    assert asked == [(lease.run_id, process.pid, lease.lock)] * 2, "for the supervisor and for the worker"
    assert (rescued.task_id, service.board.task(task_id).status) == (task_id, "ready")


def test_kanban_worker_alive_that_raises_knows_nothing(service: Service) -> None:
    service.hold(service.create(), seconds=60)

    def fall_over() -> None:
        raise RuntimeError("no container runtime")

    service.plug(kanban_worker_alive=fall_over)
    report = service.tick(may_start=False)
    assert report.rescued == [], "unknown waits for the lease, although both processes are dead"
    assert {failure.hook for failure in report.plugin_failures} == {"kanban_worker_alive"}
    service.clock.advance(60)
    assert service.tick(may_start=False).rescued == [], "one sweep does not act on what it cannot know"
    service.clock.advance(1)
    assert len(service.tick(may_start=False).rescued) == 1


@pytest.mark.parametrize(
    ("answer", "rescued"), [(KEEP, 0), (Action(Deed.RESCUE, "said so"), 1), (None, 1), (RuntimeError("no"), 1)]
)
def test_kanban_orphan_decide(service: Service, answer: Action | Exception | None, rescued: int) -> None:
    lease = service.hold(service.create())
    asked: list[tuple[int | None, Verdict, int]] = []

    def decide(orphan: Orphan, now: int) -> Action | None:
        asked.append((orphan.run.run_id, orphan.worker, now))
        if isinstance(answer, Exception):
            raise answer
        return answer

    service.plug(kanban_orphan_decide=decide)
    report = service.tick(may_start=False)
    assert asked == [(lease.run_id, Verdict.DEAD, service.clock.now())]
    assert len(report.rescued) == rescued
    if isinstance(answer, Action) and rescued:
        assert report.rescued[0].reason == "said so"


def test_kanban_before_dispatch(service: Service) -> None:
    held, free = service.create("held"), service.create("free")
    service.plug(
        "office",
        kanban_before_dispatch=lambda task, board: "outside office hours" if task.title == "held" else None,
        kanban_spawn_worker=lambda: True,
    )
    report = service.tick()
    assert [started.task_id for started in report.started] == [free]
    (skipped,) = report.skipped
    assert (skipped.task_id, skipped.reason) == (held, "held by office: outside office hours")
    assert service.board.task(held).status == "ready"


def test_kanban_spawn_worker(service: Service) -> None:
    task_id = service.create()
    seen: list[tuple[Any, ...]] = []

    def spawn(context: TickContext, task: Any, lease: Any, workspace: Any) -> bool:
        seen.append((task.id, task.status, lease.run_id, workspace.path.is_dir()))
        with closing(sqlite3.connect(context.board.path)) as other:
            seen.append(other.execute("SELECT status, claim_lock FROM tasks").fetchone() == ("running", lease.lock))
        return True

    service.plug(kanban_spawn_worker=spawn)
    (started,) = service.tick().started
    assert seen == [(task_id, "ready", started.run_id, True), True], "after the commit, in a workspace that is there"
    assert service.runtime.launched == [], "and the built-in supervisor was not started too"


def test_kanban_spawn_worker_that_raises_is_the_tasks_failure(service: Service) -> None:
    failing, healthy = service.create("failing", priority=1), service.create("healthy")

    def spawn(task: Any) -> bool:
        if task.title == "failing":
            raise OSError("no such image")
        return True

    service.plug(kanban_spawn_worker=spawn)
    report = service.tick()
    assert [one.task_id for one in report.started] == [healthy]
    assert [(one.task_id, one.reason) for one in report.failed] == [(failing, "no such image")]
    task = service.board.task(failing)
    assert (task.status, task.consecutive_failures, task.last_failure_error) == ("ready", 1, "no such image")


def test_kanban_spawn_worker_built_in_starts_a_supervised_process(workshop: Workshop) -> None:
    workshop.configure({"coder": "echo counted"})
    task_id = workshop.board.create_task(title="count words", assignee="coder")
    assert workshop.settle(task_id, "done", "blocked") == "done"
    run = workshop.ended(workshop.board.runs(task_id)[0].id)
    assert (run.outcome, run.exit_code, run.lane) == ("completed", 0, "command")
    assert "counted" in (run.summary or "")


@pytest.mark.parametrize(
    ("answer", "status"), [(True, "ready"), (False, "running"), (RuntimeError("no"), "running"), (None, "ready")]
)
def test_kanban_terminate_worker(
    service: Service, sleeper: Sleeper, answer: bool | Exception | None, status: str
) -> None:
    task_id = service.create()
    process = sleeper("x")
    lease = service.hold(task_id, worker=process.pid)
    asked: list[tuple[int | None, float]] = []

    def terminate(run: HeldRun, grace_seconds: float) -> bool | None:
        asked.append((run.run_id, grace_seconds))
        if isinstance(answer, Exception):
            raise answer
        return answer

    service.plug(kanban_terminate_worker=terminate)
    service.tick(may_start=False)
    assert asked == [(lease.run_id, 2.0)]
    assert service.board.task(task_id).status == status, "a worker that was not stopped keeps its lease"
    assert (process.poll() is not None) == (answer is None), "only the built-in one stops the process itself"


# --- questions and news --------------------------------------------------------------------------------------------


def test_kanban_check_ownership(service: Service) -> None:
    task_id = service.create()
    tool = toolkit.tools_of(service.manager)["kanban_block"]
    asked: list[tuple[Caller, str, str]] = []

    def check(caller: Caller, task_id: str, action: str) -> Vote:
        asked.append((caller, task_id, action))
        return Vote(False, "the board is frozen until Monday")

    service.plug("frozen", kanban_check_ownership=check)
    with pytest.raises(NotTheOwner, match="frozen until Monday"):
        toolkit.perform(tool, service.manager, {"task_id": task_id, "reason": "x"}, PERSON)
    assert asked == [(PERSON, task_id, "kanban_block")]
    assert service.board.task(task_id).status == "ready"
    plain = Manager(["frozen"], discover=False)
    assert toolkit.perform(tool, plain, {"task_id": task_id, "reason": "x"}, PERSON)["status"] == "blocked"


def test_kanban_task_event(service: Service) -> None:
    """At least once, in order, after the commit; the first tick on a board starts with what happens from then on."""
    service.create("before anybody served the board")
    told: list[int] = []
    dying = True

    def hear(event: Event, board: Any) -> None:
        with closing(sqlite3.connect(board.path)) as other:
            assert other.execute("SELECT kind FROM task_events WHERE id = ?", (event.id,)).fetchone() == (event.kind,)
        told.append(event.id)
        if dying and len(told) == 2:
            raise KeyboardInterrupt  # stands for the death of the process between two events

    service.plug(kanban_task_event=hear, kanban_before_dispatch=lambda: "not now")
    service.tick()
    assert told == []
    for number in range(3):
        service.create(f"task {number}")
    news = [event.id for event in queries.list_events(service.board.reader)][-3:]
    with pytest.raises(KeyboardInterrupt):
        service.tick()
    dying = False
    service.tick()
    service.tick()
    assert told == [*news[:2], *news], "those that nobody noted as told are told again, all in order, and then no more"


def test_kanban_migrations(service: Service) -> None:
    steps = Migrations("weather")

    @steps(name="0001_observations")
    def create(database: Any) -> None:
        database["weather_observations"].create({"id": int, "sky": str}, pk="id")

    service.plug("weather", kanban_migrations=lambda: [steps])
    service.runtime.forget(service.board.location)
    service.board.writer.execute("INSERT INTO weather_observations (sky) VALUES ('grey')")
    service.runtime.forget(service.board.location)
    rows = service.board.writer.execute("SELECT sky FROM weather_observations").fetchall()
    assert [row["sky"] for row in rows] == ["grey"], "made once, and kept when the board is opened again"


def test_kanban_check_ownership_abstention_is_no_consent(service: Service) -> None:
    service.plug("silent", kanban_check_ownership=lambda: None)
    closed = Manager(["ownership_check"], discover=False)
    tool = toolkit.tools_of(closed)["kanban_heartbeat"]
    with pytest.raises(NotTheOwner, match="no plugin's kanban_check_ownership allows it"):
        toolkit.perform(tool, closed, {"task_id": service.create()}, PERSON)
    assert ALLOW.allowed is True
