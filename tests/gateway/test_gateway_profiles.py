"""A profile that was made after the setup is named by the dispatcher, with the command that enables it there."""

from __future__ import annotations

import json
from importlib import import_module
from pathlib import Path

import pytest

from hermes_kanban_plugin.dispatch.context import Phase, TickContext
from hermes_kanban_plugin.manager import Manager
from hermes_kanban_plugin.runtime import Runtime
from tests.conftest import Workshop

gateway_profiles = import_module("hermes_kanban_plugin.hooks.gateway_profiles")


@pytest.fixture(autouse=True)
def unmanaged(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HERMES_MANAGED_DIR", str(tmp_path / "managed"))


@pytest.fixture
def runtime(home: Path) -> Runtime:
    enable(home)
    return Runtime(home, manager=Manager(discover=False))


def enable(home: Path, *, enabled: bool = True, disabled: bool = False) -> None:
    home.mkdir(parents=True, exist_ok=True)
    lists = {"enabled": ["hermes-kanban"] * enabled, "disabled": ["hermes-kanban"] * disabled}
    (home / "config.yaml").write_text(json.dumps({"plugins": lists}))


def named(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.args[0] for record in caplog.records if "does not load this plugin" in record.msg]


def test_profiles_without_the_plugin_are_named_once(
    home: Path, runtime: Runtime, caplog: pytest.LogCaptureFixture
) -> None:
    enable(home / "profiles" / "good")
    enable(home / "profiles" / "off", disabled=True)
    (home / "profiles" / "bare").mkdir()
    gateway_profiles.kanban_gateway_startup(runtime=runtime)
    gateway_profiles.look(runtime)
    assert named(caplog) == ["bare", "off"]
    assert "hermes-kanban setup --profile bare" in caplog.text
    enable(home / "profiles" / "late", enabled=False)
    gateway_profiles.look(runtime)
    assert named(caplog) == ["bare", "off", "late"]
    enable(home / "profiles" / "late")
    enable(home / "profiles" / "good", enabled=False)
    gateway_profiles.look(runtime)
    assert named(caplog) == ["bare", "off", "late", "good"]


def test_where_the_root_does_not_load_it_nothing_is_said(
    home: Path, runtime: Runtime, caplog: pytest.LogCaptureFixture
) -> None:
    enable(home, enabled=False)
    enable(home / "profiles" / "bare", enabled=False)
    gateway_profiles.look(runtime)
    assert named(caplog) == []


def test_a_managed_machine_decides_by_itself(
    home: Path, runtime: Runtime, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    enable(tmp_path / "managed")
    enable(home / "profiles" / "bare", enabled=False)
    gateway_profiles.look(runtime)
    assert named(caplog) == []


def test_settings_that_nobody_understands_are_not_judged(
    home: Path, runtime: Runtime, caplog: pytest.LogCaptureFixture
) -> None:
    enable(home / "profiles" / "odd")
    (home / "profiles" / "odd" / "config.yaml").write_text("plugins: [\n")
    gateway_profiles.look(runtime)
    assert named(caplog) == []


@pytest.mark.parametrize(("serves", "full", "count"), [(True, True, 1), (True, False, 0), (False, True, 0)])
def test_only_full_sweeps_of_a_dispatcher_look(
    workshop: Workshop, caplog: pytest.LogCaptureFixture, serves: bool, full: bool, count: int
) -> None:
    enable(workshop.home)
    enable(workshop.home / "profiles" / "bare", enabled=False)
    workshop.runtime.watch = serves or None
    gateway_profiles.kanban_tick(context=TickContext(workshop.runtime, workshop.board, full=full), phase=Phase.REPORT)
    workshop.runtime.watch = None
    assert len(named(caplog)) == count
