"""What is replaced in a worker's host, and what is left alone because it is not what we know."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from types import ModuleType, SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from pytest_mock import MockerFixture

from hermes_kanban_plugin import imports
from hermes_kanban_plugin.host import heartbeat_bridge, worker_bridge
from hermes_kanban_plugin.testing import FakeClock
from hermes_kanban_plugin.worker.endings import Endings

if TYPE_CHECKING:
    from tests.worker.conftest import Post


def module(**names: Any) -> ModuleType:
    made = ModuleType("a_module_of_the_host")
    for name, value in names.items():
        setattr(made, name, value)
    return made


@pytest.fixture
def seat(post: Post, mocker: MockerFixture) -> worker_bridge.Seat:
    made = worker_bridge.Seat()
    mocker.spy(made.reporter, "describe")
    return made


@pytest.fixture
def endings(post: Post) -> Endings:
    post.accept()
    return Endings(post.assignment, post.clock)


# --- activity ------------------------------------------------------------------------------------------------------


def agent_class() -> Any:
    class AIAgent:
        said = ""

        def _touch_activity(self, desc: str) -> None:
            self.said = desc

        @staticmethod
        def _extract_api_error_context(error: Exception) -> dict[str, Any]:
            return {"reset_at": getattr(error, "reset", None)}

    return AIAgent


def test_what_an_agent_says_is_heard_once(seat: worker_bridge.Seat) -> None:
    found = module(AIAgent=agent_class())
    worker_bridge.follow_activity(seat, found)
    worker_bridge.follow_activity(seat, found)  # the host may register us again
    agent = found.AIAgent()
    agent._touch_activity("receiving stream response")
    assert agent.said == "receiving stream response"
    assert seat.reporter.describe.call_args_list == [(("receiving stream response",),)]  # type: ignore[attr-defined]


def test_an_agent_that_describes_itself_otherwise_is_left_alone(
    seat: worker_bridge.Seat, caplog: pytest.LogCaptureFixture
) -> None:
    class AIAgent:
        def _touch_activity(self, desc: str, kind: int) -> None:
            """Take an argument more than we know."""

    before = AIAgent._touch_activity
    worker_bridge.follow_activity(seat, module(AIAgent=AIAgent))
    assert AIAgent._touch_activity is before
    assert "otherwise" in caplog.text


def test_switched_off_the_host_is_as_it_was(seat: worker_bridge.Seat, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HERMES_KANBAN_PLUGIN_BRIDGE_ACTIVITY", "off")
    found = module(AIAgent=agent_class(), heartbeat_current_worker_from_env=lambda: True)
    worker_bridge.follow_activity(seat, found)
    heartbeat_bridge.silence_bridge(found)
    found.AIAgent()._touch_activity("receiving stream response")
    assert found.heartbeat_current_worker_from_env() is True
    assert seat.reporter.describe.call_args_list == []  # type: ignore[attr-defined]


# --- provider limits -----------------------------------------------------------------------------------------------


class Refused(Exception):
    """What a provider's client raises; the host reads the reset time from its headers."""

    reset: Any = None


def refuse(endings: Endings, reset: Any, **said: Any) -> None:
    found = module(AIAgent=agent_class())
    worker_bridge.note_limits(endings, found)
    worker_bridge.note_limits(endings, found)
    problem = Refused()
    problem.reset = reset
    assert found.AIAgent._extract_api_error_context(problem) == {"reset_at": reset}
    worker_bridge._refused(endings, **said)


def test_a_limit_that_is_not_lifted_gives_the_task_back_at_the_end(post: Post, endings: Endings) -> None:
    refuse(endings, post.clock.now() + 77, status_code=429, reason="rate_limit", error={"message": "slow down"})
    endings.process_ends()
    assert (post.run()["outcome"], post.known()["retry_at"]) == ("rate_limited", post.clock.now() + 77)
    assert "slow down" in post.run()["error"]


def test_a_limit_that_was_lifted_says_nothing(post: Post, endings: Endings) -> None:
    refuse(endings, 30, status_code=429, error="text")
    endings.provider_answered()
    endings.process_ends()
    assert post.run()["outcome"] is None


def test_another_failure_is_no_limit_and_takes_its_reset_time_along(post: Post, endings: Endings) -> None:
    refuse(endings, 30, status_code=500, reason="server_error", error={"message": "boom"})
    endings.process_ends()
    assert post.run()["outcome"] is None
    worker_bridge._refused(endings, status_code=429)
    endings.process_ends()
    assert post.known()["retry_at"] == post.clock.now() + 300  # the cooldown, not the 30 s that the other one named


def test_switched_off_a_limit_lasts_as_long_as_the_cooldown(
    post: Post, endings: Endings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HERMES_KANBAN_PLUGIN_NOTE_LIMITS", "off")
    refuse(endings, post.clock.now() + 77, status_code=429, reason="rate_limit")
    endings.process_ends()
    assert (post.run()["outcome"], post.known()["retry_at"]) == ("rate_limited", post.clock.now() + 300)


def test_a_later_failure_of_another_kind_is_what_ends_the_worker(post: Post, endings: Endings) -> None:
    """A refusal for the limit, and then one for good: the run is no longer one that waits for the provider."""
    refuse(endings, 30, status_code=429, reason="rate_limit")
    worker_bridge._refused(endings, status_code=401, reason="auth", error={"message": "no such key"})
    endings.process_ends()
    assert post.run()["outcome"] is None


def test_a_limit_after_the_final_word_changes_nothing(post: Post, endings: Endings) -> None:
    refuse(endings, 30, status_code=429)
    post.board.complete(post.lease.task_id, _handoff(), "ann")
    endings.process_ends()
    assert post.task()["status"] == "done"


def test_secrets_of_a_provider_do_not_reach_the_board(post: Post, endings: Endings) -> None:
    refuse(endings, None, status_code=429, error={"message": "key token=abcdef123456 is over its limit"})
    endings.process_ends()
    assert "abcdef123456" not in post.run()["error"]


def _handoff() -> Any:
    from hermes_kanban_plugin.store.outcomes import Handoff

    return Handoff("by hand")


# --- installation --------------------------------------------------------------------------------------------------


class Context:
    def __init__(self) -> None:
        self.hooks: dict[str, list[Callable[..., None]]] = {}

    def register_hook(self, name: str, callback: Callable[..., None]) -> None:
        self.hooks.setdefault(name, []).append(callback)


@pytest.fixture
def fresh(monkeypatch: pytest.MonkeyPatch, mocker: MockerFixture) -> Iterator[Any]:
    """No seat is taken yet, and nothing is left to be done at the end of this process."""
    monkeypatch.setattr(worker_bridge, "_seats", [])
    monkeypatch.setattr(imports, "_waiting", {})
    return mocker.patch.object(worker_bridge.atexit, "register")


def test_a_worker_gets_all_of_it_and_once(post: Post, fresh: Any) -> None:
    first, second = Context(), Context()
    worker_bridge.install(first)
    worker_bridge.install(second)
    assert sorted(first.hooks) == sorted(second.hooks) == [
        "api_request_error", "post_api_request", "post_tool_call", "subagent_start"
    ]  # fmt: skip
    assert fresh.call_count == 1
    assert sorted(imports._waiting) == [
        "agent.turn_finalizer",
        "hermes_cli.kanban_db",
        "run_agent",
        "tools.kanban_tools",
    ]


def test_switched_off_no_hook_reports(post: Post, fresh: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HERMES_KANBAN_PLUGIN_BRIDGE_ACTIVITY", "off")
    context = Context()
    worker_bridge.install(context)
    for name in ("post_api_request", "post_tool_call"):
        for callback in context.hooks[name]:
            callback(model="x", tool_name="x", anything=object())
    assert post.task()["last_heartbeat_at"] is None


def test_a_hook_that_the_host_does_not_have_is_not_asked_for(
    post: Post, fresh: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    plugins = SimpleNamespace(VALID_HOOKS={"post_tool_call", "post_api_request"})
    monkeypatch.setitem(sys.modules, "hermes_cli.plugins", plugins)
    context = Context()
    worker_bridge.install(context)
    assert sorted(context.hooks) == ["post_api_request", "post_tool_call"]


def test_hooks_take_what_newer_hosts_say_and_report_it(post: Post, fresh: Any, mocker: MockerFixture) -> None:
    mocker.patch("hermes_kanban_plugin.worker.reporting.Clock", FakeClock)
    context = Context()
    worker_bridge.install(context)
    (called,) = context.hooks["post_tool_call"]
    called(tool_name="terminal", args={"command": "ls"}, result="x", status="ok", new_in_a_later_version=1)
    called(tool_name="terminal", args="not an object")
    (answered,) = context.hooks["post_api_request"]
    answered(model="m", usage={}, new_in_a_later_version=1)
    assert post.task()["last_heartbeat_at"] == FakeClock().now()
