"""The place in the gateway: which loop is replaced and which is left alone, the operator's switches, the fallback."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Callable, Iterator
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from hermes_kanban_plugin import imports, locations
from hermes_kanban_plugin.host import dispatcher_watcher as watcher
from hermes_kanban_plugin.locks import FileLock
from tests.conftest import Workshop, lives, wait_for

GATEWAY_ARGUMENTS = ["hermes", "gateway", "run"]


async def hosts_loop(self: Any) -> str:
    return "the host dispatches"


def plain_loop(self: Any) -> str:
    return "the host dispatches"


async def other_loop(self: Any, interval: float = 1.0) -> str:
    return "the host dispatches"


@pytest.fixture(autouse=True)
def host(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    """A host whose configuration is this dictionary, and nothing of it imported before or after."""
    configuration: dict[str, Any] = {}
    config = ModuleType("hermes_cli.config")
    config.load_config = lambda: configuration  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "hermes_cli.config", config)
    for name in ("gateway.kanban_watchers", "gateway.run"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setattr(imports, "_waiting", {})
    monkeypatch.setattr(sys, "argv", ["hermes", "chat"])
    yield configuration
    sys.meta_path[:] = [finder for finder in sys.meta_path if finder is not imports._Finder]


@pytest.fixture
def kept(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Stand in for the dispatcher process; notes what its keeper was told when it asked whether it is wanted."""
    asked: list[bool] = []

    async def keep(is_wanted: Callable[[], bool]) -> bool:
        asked.append(is_wanted())
        return False

    monkeypatch.setattr(watcher, "_dispatcher", lambda: SimpleNamespace(keep=keep))
    return asked


def load(name: str, **names: object) -> ModuleType:
    """Import a module of the host: what waits for it is done."""
    module = ModuleType(name)
    vars(module).update(names)
    for action in imports._waiting.pop(name, {}).values():
        imports._run(action, module)
    return module


def gateway(loop: object, *, mixed_in: bool = True) -> type:
    """Load a gateway that has this loop: from its mixin (since 0.17), or in its own class."""
    watcher.install(None)
    members = {"_running": True, "_kanban_dispatcher_watcher": loop, "_kanban_notifier_watcher": hosts_loop}
    if not mixed_in:
        return load("gateway.run", GatewayRunner=type("GatewayRunner", (), members)).GatewayRunner
    mixin = type("GatewayKanbanWatchersMixin", (), {name: value for name, value in members.items() if value})
    load("gateway.kanban_watchers", GatewayKanbanWatchersMixin=mixin)
    return load("gateway.run", GatewayRunner=type("GatewayRunner", (mixin,), {})).GatewayRunner


def run(runner: type, method: str = "_kanban_dispatcher_watcher") -> object:
    return asyncio.run(getattr(runner(), method)())


@pytest.mark.parametrize("mixed_in", [True, False], ids=["since 0.17", "before 0.17"])
def test_the_loop_is_replaced_and_the_notifier_is_not(kept: list[bool], mixed_in: bool) -> None:
    runner = gateway(hosts_loop, mixed_in=mixed_in)
    assert run(runner) is None
    assert kept == [True]
    assert run(runner, "_kanban_notifier_watcher") == "the host dispatches"


def test_after_the_plugin_was_removed_the_host_dispatches(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    dispatched: list[Any] = []

    async def removed(is_wanted: Callable[[], bool]) -> bool:
        return True

    async def loop(self: Any) -> None:
        dispatched.append(self._running)

    monkeypatch.setattr(watcher, "_dispatcher", lambda: SimpleNamespace(keep=removed))
    run(gateway(loop))
    assert dispatched == [True]
    assert "Hermes dispatches by itself until this gateway ends" in caplog.text


def test_a_gateway_that_is_no_module_of_its_own_is_served_by_the_mixin(kept: list[bool]) -> None:
    """``python -m gateway.run``: the mixin is there when we are registered, gateway.run never is."""
    mixin = type("GatewayKanbanWatchersMixin", (), {"_running": False, "_kanban_dispatcher_watcher": hosts_loop})
    module = ModuleType("gateway.kanban_watchers")
    module.GatewayKanbanWatchersMixin = mixin  # type: ignore[attr-defined]
    sys.modules["gateway.kanban_watchers"] = module
    watcher.install(None)
    assert run(mixin) is None
    assert kept == [False]


def test_installing_again_changes_nothing(kept: list[bool]) -> None:
    runner = gateway(hosts_loop)
    before = runner._kanban_dispatcher_watcher
    watcher._replace_in_mixin(SimpleNamespace(GatewayKanbanWatchersMixin=runner.__mro__[1]))
    watcher._replace_in_runner(SimpleNamespace(GatewayRunner=runner))
    assert runner._kanban_dispatcher_watcher is before


def test_switched_off_the_host_dispatches(kept: list[bool], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HERMES_KANBAN_PLUGIN_TAKE_OVER_DISPATCHER", "false")
    monkeypatch.setattr(sys, "argv", GATEWAY_ARGUMENTS)
    assert run(gateway(hosts_loop)) == "the host dispatches"
    assert kept == []


@pytest.mark.parametrize("word", ["0", "false", "NO", " off "])
def test_the_hosts_variable_is_obeyed(
    kept: list[bool], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, word: str
) -> None:
    caplog.set_level(logging.INFO)
    monkeypatch.setenv("HERMES_KANBAN_DISPATCH_IN_GATEWAY", word)
    assert run(gateway(hosts_loop)) is None
    assert kept == []
    assert "HERMES_KANBAN_DISPATCH_IN_GATEWAY says no" in caplog.text


@pytest.mark.parametrize(
    ("section", "dispatches"),
    [({"dispatch_in_gateway": False}, False), ({"dispatch_in_gateway": True}, True), ({}, True), (None, True)],
)
def test_the_hosts_key_is_obeyed(kept: list[bool], host: dict[str, Any], section: object, dispatches: bool) -> None:
    host["kanban"] = section
    assert run(gateway(hosts_loop)) is None
    assert bool(kept) is dispatches


def test_a_configuration_that_cannot_be_read_is_a_no(
    kept: list[bool], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse() -> None:
        raise OSError("broken disk")

    monkeypatch.setattr(sys.modules["hermes_cli.config"], "load_config", refuse)
    monkeypatch.setenv("HERMES_KANBAN_PLUGIN_TAKE_OVER_DISPATCHER", "true")
    assert run(gateway(hosts_loop)) is None
    assert kept == []
    assert "broken disk" in caplog.text


@pytest.mark.parametrize("loop", [plain_loop, other_loop, None])
def test_what_is_not_known_is_left_alone(kept: list[bool], loop: object) -> None:
    runner = gateway(loop)
    assert getattr(runner, "_kanban_dispatcher_watcher", None) is loop
    assert kept == []


def test_a_module_without_the_classes_is_left_alone(kept: list[bool]) -> None:
    watcher.install(None)
    load("gateway.kanban_watchers")
    load("gateway.run")
    assert kept == []


@pytest.mark.parametrize("loop", [other_loop, None])
def test_in_an_unknown_gateway_the_lock_is_ours_before_the_host_asks(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, loop: object
) -> None:
    workshop.configure({"lane": "true"})
    monkeypatch.setattr(sys, "argv", GATEWAY_ARGUMENTS)
    running = SimpleNamespace(_running=False)
    watcher.install(None)
    members = {"_kanban_dispatcher_watcher": loop} if loop else {}
    load("gateway.run", GatewayRunner=type("GatewayRunner", (), members), _gateway_runner_ref=lambda: running)
    assert not FileLock(locations.dispatcher_lock(workshop.home)).acquire()  # what the host asks for a moment later
    assert "kept from leading by the lock" in caplog.text
    running._running = True  # the gateway is up now
    task_id = workshop.board.create_task(title="x", assignee="lane")
    wait_for(lambda: workshop.board.task(task_id).status == "done", "the task to be done")
    row = workshop.board.reader.execute("SELECT pid FROM kp_dispatchers").fetchone()
    running._running = False  # and ends
    wait_for(lambda: not lives(row["pid"]), "the dispatcher to end")
    assert FileLock(locations.dispatcher_lock(workshop.home)).acquire()


def test_an_unknown_gateway_obeys_the_operator_too(
    kept: list[bool], monkeypatch: pytest.MonkeyPatch, host: dict[str, Any]
) -> None:
    monkeypatch.setattr(sys, "argv", GATEWAY_ARGUMENTS)
    host["kanban"] = {"dispatch_in_gateway": False}
    gateway(other_loop)
    assert kept == []


def test_when_somebody_else_keeps_the_lock_from_us_it_is_said(
    kept: list[bool], home: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(sys, "argv", GATEWAY_ARGUMENTS)
    monkeypatch.setattr(watcher, "LOCK_SECONDS", 0.2)
    gateway(other_loop)  # its dispatcher is a stand-in that takes no lock
    assert "may lead until the gateway is started again" in caplog.text


def test_a_gateway_that_is_gone_after_it_ran_is_over() -> None:
    runners: list[Any] = [None, SimpleNamespace(_running=False), SimpleNamespace(_running=True), None]
    lifetime = watcher._Lifetime(SimpleNamespace(_gateway_runner_ref=lambda: runners.pop(0)))
    assert [lifetime.goes_on() for _ in range(4)] == [True, True, True, False]


def test_a_gateway_that_tells_nothing_goes_on() -> None:
    assert watcher._Lifetime(SimpleNamespace()).goes_on()
