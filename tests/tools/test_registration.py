"""The door for the host: our tools over the host's as soon as it has some, in its own words, and never an exception."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from pytest_mock import MockerFixture

from hermes_kanban_plugin import hookimpl, host, imports, manager, registration, toolkit
from hermes_kanban_plugin.host import agent_tools

if TYPE_CHECKING:
    from tests.tools.conftest import Seat

ROOT = Path(__file__).parents[2]
NAMES = list(agent_tools.NAMES)
HEAVY = {"pydantic", "pluggy", "sqlite_utils", "ruamel", "psutil", "rich"}


class PluginToolOverrideError(Exception):
    """The host's class of this name, for a plugin without leave."""


class Context:
    """The host's plugin context, which writes down what it is given."""

    def __init__(self, *, refuse: str = "", problem: Exception | None = None) -> None:
        self.tools: list[dict[str, Any]] = []
        self._refuse, self._problem = refuse, problem or ValueError("not this one")

    def register_tool(self, *, override: bool = False, **given: Any) -> None:
        if self._refuse in ("all", given["name"]):
            raise self._problem
        self.tools.append({**given, "override": override})

    def names(self) -> list[str]:
        return [tool["name"] for tool in self.tools]


class OldContext(Context):
    """As of hosts before 0.14, which know no override."""

    def register_tool(  # type: ignore[override]
        self, name: str, toolset: str, schema: Any, handler: Any, check_fn: Any = None
    ) -> None:
        self.tools.append({"name": name, "toolset": toolset, "schema": schema})


def host_tools(*names: str) -> ModuleType:
    """Return a module as the host's, with a registry that has tools of these names."""
    entries = {
        name: SimpleNamespace(
            schema={"name": name, "parameters": {"type": "object"}}, check_fn=len, description=f"what {name} does",
            emoji="!",
        )
        for name in names
    }  # fmt: skip
    module = ModuleType("tools.kanban_tools")
    module.registry = SimpleNamespace(get_entry=entries.get)  # type: ignore[attr-defined]
    return module


@pytest.fixture(autouse=True)
def fresh_process(mocker: MockerFixture, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Nothing is left of an earlier registration, no third-party plugin is installed."""
    caches = (toolkit.process_manager, toolkit.process_tools, agent_tools._has_third_parties)
    monkeypatch.setattr(imports, "_waiting", {})
    for cached in caches:
        cached.cache_clear()
    mocker.patch.object(agent_tools, "_has_third_parties", return_value=False)
    yield
    mocker.stopall()
    for cached in caches:
        cached.cache_clear()


def test_three_tools_replace_the_hosts_with_its_own_words() -> None:
    context, theirs = Context(), host_tools(*NAMES)
    agent_tools.replace_tools(context, theirs)
    assert context.names() == NAMES
    for tool in context.tools:
        entry = theirs.registry.get_entry(tool["name"])
        assert (tool["toolset"], tool["override"]) == ("kanban", True)
        assert (tool["schema"], tool["description"], tool["emoji"]) == (entry.schema, entry.description, entry.emoji)
        assert tool["check_fn"] is entry.check_fn


def test_an_old_host_gets_what_it_knows() -> None:
    context = OldContext()
    agent_tools.replace_tools(context, host_tools(*NAMES))
    assert context.names() == NAMES


def test_a_host_without_one_of_the_tools_keeps_the_others(caplog: pytest.LogCaptureFixture) -> None:
    context = Context()
    agent_tools.replace_tools(context, host_tools(*NAMES[1:]))
    assert context.names() == NAMES[1:]
    assert "this host has no such tool" in caplog.text


def test_nothing_is_done_before_the_host_has_its_tools(monkeypatch: pytest.MonkeyPatch) -> None:
    context = Context()
    agent_tools.install(context)
    assert context.tools == []
    monkeypatch.setitem(sys.modules, "tools.kanban_tools", host_tools(*NAMES))
    agent_tools.install(context)
    assert context.names() == NAMES


def test_handler_takes_what_the_host_passes_and_answers_json(seat: Seat) -> None:
    lease = seat.work()
    context = Context()
    agent_tools.replace_tools(context, host_tools(*NAMES))
    handler = context.tools[0]["handler"]
    answer = json.loads(handler({"note": "half"}, task_id="the agent's own", session_id="s", anything=object()))
    assert answer == {"ok": True, "task_id": lease.task_id}
    assert set(json.loads(handler(None))) == {"error"}


def test_a_handler_whose_parts_are_missing_still_answers(mocker: MockerFixture) -> None:
    mocker.patch.object(toolkit, "process_manager", side_effect=ModuleNotFoundError("No module named 'pluggy'"))
    answer = json.loads(agent_tools._answer("kanban_heartbeat", {}))
    assert "No module named 'pluggy'" in answer["error"]
    assert "hermes-kanban doctor" in answer["error"]


@pytest.mark.parametrize("refuse", ["all", *NAMES])
def test_host_that_refuses_a_tool_gets_the_others_and_no_exception(
    refuse: str, caplog: pytest.LogCaptureFixture
) -> None:
    context = Context(refuse=refuse)
    agent_tools.replace_tools(context, host_tools(*NAMES))
    assert context.names() == ([] if refuse == "all" else [name for name in NAMES if name != refuse])
    assert "the host's own one stays" in caplog.text


def test_without_leave_one_line_says_what_to_set(caplog: pytest.LogCaptureFixture) -> None:
    for problem in (PluginToolOverrideError("cannot override"), PermissionError("rejected")):
        caplog.clear()
        agent_tools.replace_tools(Context(refuse="all", problem=problem), host_tools(*NAMES))
        (record,) = caplog.records
        assert "plugins.entries.hermes-kanban.allow_tool_override" in record.getMessage()
        assert "hermes-kanban setup" in record.getMessage()


def test_context_of_another_host_version_raises_nothing(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "tools.kanban_tools", host_tools(*NAMES))
    registration.register(object())
    assert "the host's own one stays" in caplog.text


def test_a_part_that_fails_does_not_take_the_others_along(
    mocker: MockerFixture, caplog: pytest.LogCaptureFixture
) -> None:
    installed: list[str] = []

    def import_module(name: str) -> Any:
        if name.endswith("agent_tools"):
            raise ModuleNotFoundError("No module named 'x'")
        return SimpleNamespace(install=lambda ctx: installed.append(name))

    mocker.patch.object(registration, "import_module", import_module)
    registration.register(Context())
    assert len(installed) > 1
    assert "hermes-kanban goes on without agent_tools: No module named 'x'" in caplog.text


@pytest.mark.parametrize(
    ("version", "words", "said"),
    [
        ("0.19.4", "gateway run", False),
        ("0.20.0", "gateway run", True),
        ("0.12.9", "gateway run", True),
        ("new", "gateway run", True),
        ("0.20.0", "chat", False),
    ],
)
def test_a_host_that_nobody_tried_is_one_line_in_the_gateways_log(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, version: str, words: str, said: bool
) -> None:
    strange = ModuleType("hermes_cli")
    strange.__version__ = version  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "hermes_cli", strange)
    monkeypatch.setattr(sys, "argv", ["hermes", *words.split()])
    monkeypatch.setattr(registration, "import_module", lambda name: SimpleNamespace(install=lambda ctx: None))
    registration.register(None)
    lines = [(record.name, record.getMessage()) for record in caplog.records]
    assert len(lines) == said
    assert all(name == "gateway.hermes_kanban" and f"Hermes {version}" in line for name, line in lines)


# --- third parties -------------------------------------------------------------------------------------------------


def third_party(mocker: MockerFixture, *tools: Any) -> None:
    class Neighbour:
        @hookimpl
        def kanban_register_tools(self, register: Any) -> None:
            for tool in tools:
                register(tool)

    loaded = manager.Manager(discover=False)
    loaded.register(Neighbour(), "neighbour")
    mocker.patch.object(agent_tools, "_has_third_parties", return_value=True)
    mocker.patch.object(toolkit, "process_manager", return_value=loaded)
    toolkit.process_tools.cache_clear()


def test_a_tool_of_a_third_party_is_registered_too(mocker: MockerFixture) -> None:
    weather = toolkit.Tool("kanban_weather", "Say it rains.", toolkit.ToolArguments, lambda call, arguments: {}, "☂")
    third_party(mocker, weather)
    context = Context()
    agent_tools.replace_tools(context, host_tools(*NAMES))
    assert context.names() == [*NAMES, "kanban_weather"]
    assert context.tools[-1]["schema"] == weather.schema()
    assert context.tools[-1]["check_fn"] is agent_tools._gate


def test_a_third_party_in_the_place_of_ours_brings_its_own_words(mocker: MockerFixture) -> None:
    theirs = toolkit.Tool("kanban_block", "Block politely.", toolkit.ToolArguments, lambda call, arguments: {})
    third_party(mocker, theirs)
    context = Context()
    agent_tools.replace_tools(context, host_tools(*NAMES))
    assert sorted(context.names()) == sorted(NAMES)
    (block,) = [tool for tool in context.tools if tool["name"] == "kanban_block"]
    assert block["description"] == "Block politely."


def test_broken_tool_of_a_third_party_keeps_ours_in(mocker: MockerFixture, caplog: pytest.LogCaptureFixture) -> None:
    third_party(mocker, toolkit.Tool("kanban_weather", "Say it rains.", None, None))  # type: ignore[arg-type]
    context = Context()
    agent_tools.replace_tools(context, host_tools(*NAMES))
    assert context.names() == NAMES
    assert "kanban_weather of a third-party plugin is left out" in caplog.text


def test_gate_of_their_tools_opens_for_workers_and_for_profiles_with_the_toolset(
    monkeypatch: pytest.MonkeyPatch, mocker: MockerFixture
) -> None:
    config = mocker.Mock()
    mocker.patch.object(host, "is_installed", return_value=True)
    mocker.patch.object(host.importlib, "import_module", return_value=config)
    config.load_config.return_value = {"toolsets": ["files"]}
    assert agent_tools._gate() is False
    config.load_config.return_value = {"toolsets": None}
    assert agent_tools._gate() is False
    config.load_config.return_value = {"toolsets": ["files", "kanban"]}
    assert agent_tools._gate() is True
    config.load_config.side_effect = OSError("no configuration")
    assert agent_tools._gate() is False
    monkeypatch.setenv("HERMES_KANBAN_TASK", "t_00000001")
    assert agent_tools._gate() is True


# --- what it costs -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("role", ["chat", "worker"])
def test_registration_loads_no_dependency_and_no_module_of_the_host(role: str, seat: Seat) -> None:
    seat.work()  # its environment is inherited
    told = f"work kanban task {seat.board.tasks()[0].id}" if role == "worker" else "hello"
    code = f"""
import json, sys, types
sys.path.insert(0, {str(ROOT)!r})
# The host has read its configuration before it loads a plugin.
sys.modules["hermes_cli"] = types.ModuleType("hermes_cli")
config = sys.modules["hermes_cli.config"] = types.ModuleType("hermes_cli.config")
config.load_config = dict
from hermes_kanban_plugin import register
class Context:
    def __getattr__(self, name): return lambda *args, **kwargs: None
before = set(sys.modules)
register(Context())
register(Context())
print(json.dumps(sorted({{name.partition(".")[0] for name in set(sys.modules) - before}})))
"""
    done = subprocess.run([sys.executable, "-c", code, told], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    loaded = set(json.loads(done.stdout))
    assert "hermes_kanban_plugin" in loaded
    assert not loaded & HEAVY
    assert not loaded & {"hermes_cli", "gateway", "agent", "tools", "run_agent"}
