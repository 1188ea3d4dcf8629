"""A board made by the real host, worked by us through the command line and real workers, read by the host again."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

import pytest

from hermes_kanban_plugin.testing import violations

if TYPE_CHECKING:
    from tests.host.conftest import House

pytestmark = [pytest.mark.host, pytest.mark.xdist_group("host board in ours")]

COUNT = "import os, sys; print(sys.argv[1], 'counted by', os.environ['HERMES_KANBAN_TASK'])"


@pytest.fixture(scope="module")
def tasks(shared_house: House) -> dict[str, str]:
    """Create with the host, work with us; returns the ids by title."""
    house = shared_house
    house.configure(counter=[sys.executable, "-c", COUNT, "{title}"], broken=["false"])
    house.hermes("init")
    ids: dict[str, str] = {}

    def create(title: str, *flags: str) -> None:
        ids[title] = json.loads(house.hermes("create", title, "--json", *flags))["id"]

    create("first", "--assignee", "counter")
    create("second", "--assignee", "counter", "--parent", ids["first"])
    create("fragile", "--assignee", "broken", "--max-retries", "1")
    create("handed over", "--assignee", "somebody")

    def settled(title: str) -> bool:
        return house.rows(f"SELECT 1 FROM kp_runs WHERE task_id = '{ids[title]}' AND ended_at IS NOT NULL") != []

    report = json.loads(house.hermes_kanban("dispatch", "--json"))
    assert {started["task_id"] for started in report["started"]} == {ids["first"], ids["fragile"]}
    house.wait_until(lambda: settled("first") and settled("fragile"), "the first workers end")
    report = json.loads(house.hermes_kanban("dispatch", "--json"))
    assert [started["task_id"] for started in report["started"]] == [ids["second"]]
    house.wait_until(lambda: settled("second"), "the second worker ends")
    house.hermes_kanban("claim", ids["handed over"])
    house.hermes_kanban("heartbeat", ids["handed over"], "--note", "looking")
    house.hermes_kanban("block", ids["handed over"], "which", "one", "--kind", "needs_input")
    return ids


def test_host_reads_our_work(shared_house: House, tasks: dict[str, str]) -> None:
    seen = {task["title"]: task for task in json.loads(shared_house.hermes("list", "--json"))}
    del seen["handed over"]  # another test moves it
    assert {title: task["status"] for title, task in seen.items()} == {
        "first": "done",
        "second": "done",
        "fragile": "blocked",
    }
    shown = json.loads(shared_house.hermes("show", tasks["second"], "--json"))
    assert shown["latest_summary"] == f"second counted by {tasks['second']}"
    assert shown["parents"] == [tasks["first"]]
    assert [(run["status"], run["outcome"]) for run in shown["runs"]] == [("done", "completed")]
    kinds = [event["kind"] for event in shown["events"]]
    assert kinds == ["created", "promoted", "claimed", "spawned", "completed"]


def test_host_reads_our_failure(shared_house: House, tasks: dict[str, str]) -> None:
    (run,) = json.loads(shared_house.hermes("runs", tasks["fragile"], "--json"))
    assert (run["outcome"], run["ended_at"] is not None) == ("crashed", True)
    assert "1" in run["error"]


def test_host_goes_on_where_we_stopped(shared_house: House, tasks: dict[str, str]) -> None:
    shared_house.hermes("unblock", tasks["handed over"])
    shared_house.hermes("complete", tasks["handed over"], "--summary", "the left one")
    shown = json.loads(shared_house.hermes_kanban("show", tasks["handed over"], "--json"))
    assert [run["outcome"] for run in shown["runs"]] == ["blocked", "completed"]
    assert shown["runs"][1]["summary"] == "the left one"
    kinds = [event["kind"] for event in shown["events"]]
    assert kinds == ["created", "claimed", "heartbeat", "blocked", "unblocked", "completed"]
    assert violations(shared_house.database) == []
