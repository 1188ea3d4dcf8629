"""The host's judge decides on goal-mode tasks; where it cannot be asked, finished work is not held back."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.tools.conftest import Seat


class HostTools(ModuleType):
    """Stands where the host's tool module stands."""

    def __init__(self, verdict: str | Exception, *, reachable: bool = True) -> None:
        super().__init__("tools.kanban_tools")
        self.verdict, self.reachable = verdict, reachable
        self.asked: list[dict[str, Any]] = []

    def _goal_judge_available(self) -> bool:
        return self.reachable

    def judge_goal(self, **question: Any) -> tuple[Any, ...]:
        self.asked.append(question)
        if isinstance(self.verdict, Exception):
            raise self.verdict
        return self.verdict, "two lines are missing", False, None, False


@pytest.fixture
def judge(monkeypatch: pytest.MonkeyPatch) -> Callable[..., HostTools]:
    def install(verdict: str | Exception, **more: Any) -> HostTools:
        stand_in = HostTools(verdict, **more)
        monkeypatch.setitem(sys.modules, "tools.kanban_tools", stand_in)
        return stand_in

    return install


def test_objection_of_the_judge_is_the_refusal(
    seat: Seat, refused: Callable[..., str], judge: Callable[..., HostTools]
) -> None:
    asked = judge("continue").asked
    seat.work(title="write a poem", body="eight lines", goal_mode=True)
    assert "two lines are missing" in refused("kanban_complete", result="six lines")
    assert asked == [{"goal": "write a poem\n\neight lines", "last_response": "six lines"}]


def test_consent_of_the_judge_lets_it_pass(seat: Seat, judge: Callable[..., HostTools]) -> None:
    judge("done")
    lease = seat.work(goal_mode=True)
    assert seat.call("kanban_complete", summary="eight lines")["ok"] is True
    assert seat.board.runs(lease.task_id)[-1].metadata["goal_verified"] is True


@pytest.mark.parametrize(
    ("verdict", "reachable", "asked"), [("continue", False, 0), (RuntimeError("no model"), True, 1)]
)
def test_judge_that_cannot_be_asked_holds_nothing_back(
    seat: Seat, judge: Callable[..., HostTools], verdict: str | Exception, reachable: bool, asked: int
) -> None:
    stand_in = judge(verdict, reachable=reachable)
    lease = seat.work(goal_mode=True)
    assert seat.call("kanban_complete", summary="done", metadata={"goal_verified": True})["ok"] is True
    assert len(stand_in.asked) == asked
    kept = seat.board.runs(lease.task_id)[-1].metadata
    assert kept["goal_verified"] is False  # whatever the worker says of itself
    assert kept["unverified"]


def test_without_the_host_there_is_no_judge(seat: Seat, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "tools.kanban_tools", raising=False)
    seat.work(goal_mode=True)
    assert seat.call("kanban_complete", summary="done")["ok"] is True
