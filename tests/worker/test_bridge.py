"""What is replaced in a worker's host, and what is left alone because it is not what we know."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from types import ModuleType, SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from pytest_mock import MockerFixture

from hermes_kanban_plugin import imports
from hermes_kanban_plugin.host import worker_bridge
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


def test_the_hosts_own_bridge_is_silenced_where_it_is_known(seat: worker_bridge.Seat) -> None:
    known = module(heartbeat_current_worker_from_env=lambda: True)
    worker_bridge.silence_bridge(seat, known)
    assert known.heartbeat_current_worker_from_env() is False
    unknown = module(heartbeat_current_worker_from_env=lambda board: board)
    worker_bridge.silence_bridge(seat, unknown)
    assert unknown.heartbeat_current_worker_from_env(7) == 7
    worker_bridge.silence_bridge(seat, module())  # before 0.16


def test_switched_off_the_host_is_as_it_was(seat: worker_bridge.Seat, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HERMES_KANBAN_PLUGIN_BRIDGE_ACTIVITY", "off")
    found = module(AIAgent=agent_class(), heartbeat_current_worker_from_env=lambda: True)
    worker_bridge.follow_activity(seat, found)
    worker_bridge.silence_bridge(seat, found)
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


# --- budget and goals ----------------------------------------------------------------------------------------------


class Host:
    """The host's two functions, which write down that they were called."""

    def __init__(self) -> None:
        self.calls: list[Any] = []

    def _record_task_failure(
        self,
        conn: Any,
        task_id: str,
        error: str,
        *,
        outcome: str,
        failure_limit: int | None = None,
        force_trip: bool = False,
        release_claim: bool = False,
        end_run: bool = False,
        event_payload_extra: dict[str, Any] | None = None,
    ) -> bool:
        self.calls.append((task_id, outcome))
        return True

    def block_task(self, conn: Any, task_id: str, *, reason: str, expected_run_id: int | None = None) -> bool:
        self.calls.append((task_id, expected_run_id))
        return True


@pytest.fixture
def host(endings: Endings) -> tuple[ModuleType, Host]:
    real = Host()
    found = module(_record_task_failure=real._record_task_failure, block_task=real.block_task)
    worker_bridge.fence_failures(endings, found)
    worker_bridge.fence_failures(endings, found)
    return found, real


def exhaust(found: ModuleType, task_id: str, **changed: Any) -> bool:
    fields = {"outcome": "timed_out", "release_claim": True, "end_run": True, "event_payload_extra": {"budget_used": 6}}
    return bool(found._record_task_failure(None, task_id, error="budget exhausted (6/6)", **{**fields, **changed}))


def test_a_used_up_budget_is_booked_once_for_this_run_only(post: Post, host: tuple[ModuleType, Host]) -> None:
    found, real = host
    assert exhaust(found, post.lease.task_id) is False
    assert (post.run()["outcome"], post.task()["consecutive_failures"]) == ("timed_out", 1)
    assert exhaust(found, post.lease.task_id) is False
    assert post.task()["consecutive_failures"] == 1
    assert real.calls == []


def test_a_used_up_budget_of_an_old_run_leaves_the_new_one_alone(post: Post, host: tuple[ModuleType, Host]) -> None:
    new = post.supersede()
    exhaust(host[0], post.lease.task_id)
    assert (post.task()["current_run_id"], post.task()["consecutive_failures"]) == (new.run_id, 0)


def test_the_setting_of_the_kanban_home_decides_when_to_give_up(post: Post, host: tuple[ModuleType, Host]) -> None:
    (post.board.location.root / "config.yaml").write_text("kanban: {failure_limit: 1}")
    assert exhaust(host[0], post.lease.task_id) is True
    assert post.task()["status"] == "blocked"


@pytest.mark.parametrize(
    "changed", [{"outcome": "crashed"}, {"release_claim": False}, {"end_run": False}, {"task_id": "t_00000000"}]
)
def test_everything_else_stays_the_hosts(post: Post, host: tuple[ModuleType, Host], changed: dict[str, Any]) -> None:
    task_id = changed.pop("task_id", post.lease.task_id)
    assert exhaust(host[0], task_id, **changed) is True
    assert host[1].calls == [(task_id, changed.get("outcome", "timed_out"))]


def test_a_goal_that_is_given_up_blocks_this_run_only(post: Post, host: tuple[ModuleType, Host]) -> None:
    found, real = host
    found.block_task(None, post.lease.task_id, reason="turns used up")
    found.block_task(None, post.lease.task_id, reason="x", expected_run_id=99)
    found.block_task(None, "t_00000000", reason="x")
    assert real.calls == [(post.lease.task_id, post.lease.run_id), (post.lease.task_id, 99), ("t_00000000", None)]


def test_functions_of_another_shape_are_left_alone(endings: Endings) -> None:
    found = module(_record_task_failure=lambda conn, task_id: 1, block_task=lambda conn, task_id: 2)
    worker_bridge.fence_failures(endings, found)
    assert (found._record_task_failure(0, 0), found.block_task(0, 0)) == (1, 2)
    worker_bridge.fence_failures(endings, module())  # before 0.16


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
    assert sorted(first.hooks) == sorted(second.hooks) == ["api_request_error", "post_api_request", "post_tool_call"]
    assert fresh.call_count == 1
    assert sorted(imports._waiting) == ["hermes_cli.kanban_db", "run_agent", "tools.kanban_tools"]


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
