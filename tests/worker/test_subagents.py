"""A subagent works in the worker's own process and does not end its run."""

from __future__ import annotations

import json
import threading
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from hermes_kanban_plugin.host import agent_tools, worker_bridge
from hermes_kanban_plugin.worker import subagents
from hermes_kanban_plugin.worker.endings import Endings
from tests.worker.test_bridge import module

if TYPE_CHECKING:
    from tests.worker.conftest import Post


@pytest.fixture(autouse=True)
def nobody_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subagents, "_sessions", set())


def call(name: str, session_id: str, **arguments: Any) -> dict[str, Any]:
    """Call a tool as the host does."""
    said = agent_tools._answer(name, arguments, task_id="x", session_id=session_id, user_task=None)
    answer: dict[str, Any] = json.loads(said)
    return answer


@pytest.mark.parametrize(
    ("tool", "arguments"), [("kanban_complete", {"summary": "x"}), ("kanban_block", {"reason": "x"})]
)
def test_it_may_not_end_the_task_and_the_worker_may(post: Post, tool: str, arguments: dict[str, str]) -> None:
    post.accept()
    worker_bridge._delegated(
        parent_session_id="mine", child_session_id="child", child_goal="x", new_in_a_later_version=1
    )
    assert "a subagent cannot" in call(tool, "child", **arguments)["error"]
    assert post.run()["outcome"] is None
    assert call(tool, "mine", **arguments)["ok"] is True


def test_it_may_give_a_sign_of_life(post: Post) -> None:
    post.accept()
    worker_bridge._delegated(child_session_id="child")
    assert call("kanban_heartbeat", "child")["ok"] is True


def test_outside_a_worker_it_is_not_ours_to_judge(post: Post, monkeypatch: pytest.MonkeyPatch) -> None:
    worker_bridge._delegated(child_session_id="child")
    monkeypatch.delenv("HERMES_KANBAN_TASK")
    assert subagents.refusal("kanban_complete", "child") is None


def test_a_host_that_does_not_say_whose_call_it_is(post: Post) -> None:
    worker_bridge._delegated(child_session_id=None)
    assert subagents.refusal("kanban_complete", "") is None


class Turn:
    """The host's end of a turn, which books a used-up budget on the way."""

    def __init__(self, endings: Endings) -> None:
        self.booked: list[bool] = []
        self._endings = endings

    def __call__(self, agent: Any, *, final_response: str) -> str:
        self.booked.append(subagents.is_ending())
        self._endings.budget_exhausted("budget exhausted (2/2)", {})
        return final_response


def finalizer(post: Post) -> tuple[Any, Turn]:
    post.accept()
    turn = Turn(Endings(post.assignment, post.clock))
    found = module(finalize_turn=lambda agent, **more: turn(agent, **more))
    worker_bridge.tell_subagents(found)
    worker_bridge.tell_subagents(found)  # the host may register us again
    return found, turn


def test_its_used_up_budget_is_not_the_tasks(post: Post) -> None:
    found, turn = finalizer(post)
    child = SimpleNamespace(_delegate_depth=1)
    thread = threading.Thread(target=found.finalize_turn, args=[child], kwargs={"final_response": "x"})
    thread.start()
    thread.join()
    assert (turn.booked, post.run()["outcome"]) == ([True], None)
    assert found.finalize_turn(SimpleNamespace(_delegate_depth=0), final_response="said") == "said"
    assert (turn.booked, post.run()["outcome"]) == ([True, False], "timed_out")


def test_a_subagents_end_is_over_when_its_turn_fails(post: Post) -> None:
    with pytest.raises(ZeroDivisionError), subagents.ending(1):
        raise ZeroDivisionError
    assert subagents.is_ending() is False


def test_switched_off_it_may_do_what_the_worker_may(post: Post, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HERMES_KANBAN_PLUGIN_FENCE_SUBAGENTS", "off")
    found, _ = finalizer(post)
    worker_bridge._delegated(child_session_id="child")
    found.finalize_turn(SimpleNamespace(_delegate_depth=1), final_response="x")
    assert post.run()["outcome"] == "timed_out"
    assert subagents.refusal("kanban_complete", "child") is None


def test_an_end_of_another_shape_is_left_alone(caplog: pytest.LogCaptureFixture) -> None:
    def finalize_turn(turn: int) -> int:
        return turn

    found = module(finalize_turn=finalize_turn)
    worker_bridge.tell_subagents(found)
    assert found.finalize_turn is finalize_turn
    assert "otherwise" in caplog.text
    worker_bridge.tell_subagents(module())  # a host that ends its turns elsewhere
