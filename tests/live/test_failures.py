"""Failures of workers of the real host: what is kept of an unfinished attempt reaches the model of the next one."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from hermes_kanban_plugin.testing import violations

if TYPE_CHECKING:
    from tests.live.house import LiveHouse

pytestmark = [pytest.mark.host, pytest.mark.xdist_group("live-failures")]


def test_the_next_attempt_reads_what_the_last_one_left(live_house: LiveHouse) -> None:
    """The model forgets its final call once; the next one is told what is there, and finishes (failure mode D1)."""
    house = live_house
    house.environment["HERMES_KANBAN_STOP_NUDGE"] = "0"  # the host would remind it, which is a turn of its own here
    task = house.create("write it", "TERM=touch+report.md EXIT0_FIRST=1")
    house.start_dispatcher()
    assert house.settle(task) == "done", house.describe()
    first, second = house.rows(
        "SELECT task_runs.*, kp_runs.cause FROM task_runs JOIN kp_runs ON kp_runs.run_id = task_runs.id "
        "WHERE task_runs.task_id = ? ORDER BY task_runs.id", [task]
    )  # fmt: skip
    assert [(run["cause"], run["outcome"]) for run in (first, second)] == [
        ("protocol_violation", "crashed"), ("completed", "completed"),
    ]  # fmt: skip
    left = json.loads(first["metadata"])["unfinished"]
    assert left["changed_files"] == ["report.md"]
    assert left["last_words"]
    shown = [entry["result"] for entry in house.server.requests(task) if entry["works"] and entry["result"]]
    told = [text for text in shown if "do not begin from scratch" in text]
    assert told, "kanban_show of the second attempt"
    assert "report.md" in told[0]
    assert house.task(task)["consecutive_failures"] == 0
    assert violations(house.database) == []
