"""Workers of the real host that pursue a goal over several turns: reached, given up, and refused by the provider."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from hermes_kanban_plugin.testing import violations
from tests.live.model_server import ModelServer
from tests.live.test_worker import ended, outcomes_of, run_of, set_agent

if TYPE_CHECKING:
    from tests.live.house import LiveHouse
    from tests.live.model_server import Answer, Conversation

pytestmark = [pytest.mark.host, pytest.mark.xdist_group("live-goals")]


def pursue(house: LiveHouse, body: str, turns: int = 2) -> str:
    """Create a goal-mode task; returns its id."""
    return house.create("x", body, "worker", "--goal", "--goal-max-turns", str(turns))


def test_a_goal_is_pursued_until_it_is_reached_or_given_up(live_house: LiveHouse) -> None:
    """Two answers without an end: the host asks for one by itself, and then its goal loop goes on."""
    house = live_house
    reached, given_up = pursue(house, "EXIT0_FIRST2=1"), pursue(house, "EXIT0=1")
    house.start_dispatcher()
    assert house.settle(reached) == "done", house.describe()
    assert house.settle(given_up, "blocked") == "blocked"
    assert outcomes_of(house, reached) == ["completed"]
    assert outcomes_of(house, given_up) == ["blocked"]
    (blocked,) = [event for event in house.events(given_up) if event["kind"] == "blocked"]
    assert blocked["run_id"] == run_of(house, given_up)["id"]
    assert "turn budget" in blocked["payload"]["reason"]
    assert house.task(given_up)["consecutive_failures"] == 0
    assert violations(house.database) == []


class Closed(ModelServer):
    """A provider that answers nothing but the judge after it refused once."""

    refusing: str | None = None

    def answer(self, body: dict[str, Any]) -> tuple[Conversation, Answer]:
        talk, said = super().answer(body)
        self.refusing = self.refusing or said.refused_for
        return talk, said if talk.judged else said._replace(refused_for=self.refusing)


def test_a_goal_that_the_provider_refuses_waits_for_the_provider(live_house: LiveHouse) -> None:
    house = live_house
    with Closed() as house.server:
        house.configure()
        set_agent(house, api_max_retries=1)
        task = pursue(house, "RATE=999")
        house.start_dispatcher()
        first = ended(house, task)
    assert (first["outcome"], house.task(task)["status"]) == ("rate_limited", "ready"), house.describe()
    assert 990 <= run_of(house, task)["retry_at"] - first["ended_at"] <= 1000
    assert house.task(task)["consecutive_failures"] == 0
    assert "blocked" not in house.kinds(task)
    assert violations(house.database) == []
