"""The harness itself, with the host alone: if this fails, no other live test says anything."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.live.house import LiveHouse

pytestmark = [pytest.mark.host, pytest.mark.xdist_group("live-harness")]


def test_a_gateway_of_the_host_alone_runs_a_task_and_tells_the_chat(new_house: Callable[..., LiveHouse]) -> None:
    house = new_house(plugin=False)
    house.open_chat()
    task = house.create("say hello", "BEATS=2 SLOW=2")
    house.hermes("kanban", "notify-subscribe", task, "--platform", "fakechat", "--chat-id", "c1")
    house.start_gateway()
    pid = house.parked(task)
    assert house.task(task)["worker_pid"] == pid
    assert house.settle(task) == "done"
    said = [entry["said"] for entry in house.server.requests(task) if entry["works"]]
    assert said[:4] == ["kanban_show", "kanban_heartbeat", "kanban_heartbeat", "kanban_complete"]
    assert [run["outcome"] for run in house.runs(task)] == ["completed"]
    house.wait_until(lambda: [said for said in house.heard() if task in said], "the message about it")
    known = len(house.heard())
    house.say("/kanban list")
    house.wait_until(lambda: [said for said in house.heard()[known:] if "say hello" in said], "the answer to a command")
