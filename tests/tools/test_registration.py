"""The door for the host: register(ctx) brings three tools into toolset kanban, again and again, and never raises."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest
from pytest_mock import MockerFixture

from hermes_kanban_plugin import hookimpl, host, manager, register, registration, toolkit

if TYPE_CHECKING:
    from tests.tools.conftest import Seat

NAMES = ["kanban_heartbeat", "kanban_block", "kanban_complete"]


class Context:
    """The host's plugin context, which writes down what it is given."""

    def __init__(self, *, refuse: str = "") -> None:
        self.tools: list[dict[str, Any]] = []
        self._refuse = refuse

    def register_tool(self, **given: Any) -> None:
        if self._refuse in ("all", given["name"]):
            raise PermissionError("tool override is not allowed in the configuration")
        self.tools.append(given)


@pytest.fixture(autouse=True)
def fresh_process(mocker: MockerFixture) -> Iterator[None]:
    """Nothing is left of an earlier registration, and no host module is loaded into this process."""
    registration._manager.cache_clear()
    mocker.patch.object(registration, "_import_host_tools")
    yield
    registration._manager.cache_clear()


def test_three_tools_replace_the_hosts() -> None:
    context = Context()
    register(context)
    assert [tool["name"] for tool in context.tools] == NAMES
    for tool in context.tools:
        assert (tool["toolset"], tool["override"]) == ("kanban", True)
        assert tool["schema"]["name"] == tool["name"]
        assert tool["schema"]["parameters"]["type"] == "object"
        assert tool["description"] == tool["schema"]["description"]
        assert tool["check_fn"] is registration._gate


def test_registering_again_registers_the_same() -> None:
    first, second = Context(), Context()
    register(first)
    register(second)
    compared = ("name", "toolset", "schema", "check_fn", "description", "emoji", "override")
    assert [[tool[key] for key in compared] for tool in first.tools] == [
        [tool[key] for key in compared] for tool in second.tools
    ]


def test_handler_takes_what_the_host_passes_and_answers_json(seat: Seat) -> None:
    lease = seat.work()
    context = Context()
    register(context)
    handler = context.tools[0]["handler"]
    answer = json.loads(handler({"note": "half"}, task_id="the agent's own", session_id="s", anything=object()))
    assert answer == {"ok": True, "task_id": lease.task_id}
    assert set(json.loads(handler(None))) == {"error"}


@pytest.mark.parametrize("refuse", ["all", *NAMES])
def test_host_that_refuses_a_tool_gets_the_others_and_no_exception(
    refuse: str, caplog: pytest.LogCaptureFixture
) -> None:
    context = Context(refuse=refuse)
    register(context)
    expected = [] if refuse == "all" else [name for name in NAMES if name != refuse]
    assert [tool["name"] for tool in context.tools] == expected
    assert "tool override is not allowed" in caplog.text


def test_context_of_another_host_version_raises_nothing(caplog: pytest.LogCaptureFixture) -> None:
    register(object())
    assert "the host's own one stays" in caplog.text


def test_without_the_host_registration_says_so_and_raises_nothing(
    mocker: MockerFixture, caplog: pytest.LogCaptureFixture
) -> None:
    mocker.patch.object(registration, "_import_host_tools", side_effect=ModuleNotFoundError("No module named 'tools'"))
    context = Context()
    register(context)
    assert context.tools == []
    assert "hermes-kanban is not active" in caplog.text


def test_broken_tool_of_a_third_party_keeps_ours_in(mocker: MockerFixture) -> None:
    class Neighbour:
        @hookimpl
        def kanban_register_tools(self, register: Any) -> None:
            register(toolkit.Tool("kanban_weather", "Say it rains.", None, None))  # type: ignore[arg-type]

    loaded = manager.Manager(discover=False)
    loaded.register(Neighbour(), "neighbour")
    mocker.patch.object(registration, "_manager", return_value=loaded)
    context = Context()
    register(context)
    assert [tool["name"] for tool in context.tools] == NAMES


def test_gate_opens_for_workers_and_for_profiles_with_the_toolset(
    monkeypatch: pytest.MonkeyPatch, mocker: MockerFixture
) -> None:
    config = mocker.Mock()
    mocker.patch.object(host, "is_installed", return_value=True)
    mocker.patch.object(host.importlib, "import_module", return_value=config)
    config.load_config.return_value = {"toolsets": ["files"]}
    assert registration._gate() is False
    config.load_config.return_value = {"toolsets": None}
    assert registration._gate() is False
    config.load_config.return_value = {"toolsets": ["files", "kanban"]}
    assert registration._gate() is True
    config.load_config.side_effect = OSError("no configuration")
    assert registration._gate() is False
    monkeypatch.setenv("HERMES_KANBAN_TASK", "t_00000001")
    assert registration._gate() is True


def test_registration_loads_no_module_of_the_host_but_its_tools(mocker: MockerFixture) -> None:
    imported = mocker.patch.object(registration, "_import_host_tools")
    before = {name for name in sys.modules if name.partition(".")[0] in ("hermes_cli", "gateway", "agent")}
    register(Context())
    after = {name for name in sys.modules if name.partition(".")[0] in ("hermes_cli", "gateway", "agent")}
    imported.assert_called_once_with()
    assert after == before
