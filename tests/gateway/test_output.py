"""What the gateway makes of a dispatcher's output: log records, and claims that plugins of the host are told of."""

from __future__ import annotations

import json
import logging
import threading
from typing import Any

import pytest

from hermes_kanban_plugin.gateway import output
from hermes_kanban_plugin.gateway.output import Claims, claims_in
from hermes_kanban_plugin.models import Skipped, Started, TickReport
from tests.conftest import wait_for


def report(*started: Started) -> str:
    return TickReport(
        board="b2", started=list(started), skipped=[Skipped(task_id="t_9", reason="full")]
    ).model_dump_json()


def started(task_id: str, *, review: bool = False) -> Started:
    return Started(task_id=task_id, run_id=7, assignee="worker", lane="hermes", review=review)


def test_a_claim_has_what_the_contract_names() -> None:
    assert list(claims_in(report(started("t_1")))) == [
        {"task_id": "t_1", "board": "b2", "assignee": "worker", "run_id": 7}
    ]


def test_claims_of_reviews_are_not_told() -> None:
    assert [claim["task_id"] for claim in claims_in(report(started("t_1", review=True), started("t_2")))] == ["t_2"]


@pytest.mark.parametrize("line", ["", "not json", report()])
def test_other_lines_hold_no_claim(line: str) -> None:
    assert list(claims_in(line)) == []


def test_claims_are_told_in_order_and_one_that_raises_stops_nobody(caplog: pytest.LogCaptureFixture) -> None:
    told: list[str] = []

    def tell(claim: dict[str, Any]) -> None:
        told.append(claim["task_id"])
        if claim["task_id"] == "t_1":
            raise RuntimeError("no")

    claims = Claims(tell)
    claims.take(report(started("t_1"), started("t_2")))
    claims.take(report(started("t_3")))
    wait_for(lambda: told == ["t_1", "t_2", "t_3"], "all three")
    assert "claim of t_1: no" in caplog.text


def test_a_plugin_that_hangs_holds_nobody_up(caplog: pytest.LogCaptureFixture) -> None:
    release, told = threading.Event(), []

    def hang(claim: dict[str, Any]) -> None:
        release.wait(30)
        told.append(claim["task_id"])

    claims = Claims(hang)
    for number in range(output.WAITING_CLAIMS + 10):
        claims.take(report(started(f"t_{number}")))
    assert caplog.text.count("hangs in kanban_task_claimed") == 1
    release.set()
    wait_for(lambda: len(told) >= output.WAITING_CLAIMS, "what was kept")


def test_a_line_that_cannot_be_taken_does_not_stop_the_reading(tmp_path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "lines").write_text("one\ntwo\n")
    seen: list[str] = []

    def take(line: str) -> None:
        seen.append(line)
        json.loads(line)

    output.read_lines((tmp_path / "lines").open(), take, "test").join(30)
    assert seen == ["one", "two"]
    assert caplog.text.count("was not understood") == 2


@pytest.mark.parametrize(
    ("line", "level", "text"),
    [
        ("2026-01-02 03:04:05,678 CRITICAL all is lost", logging.CRITICAL, "all is lost"),
        ("DEBUG 100%", logging.DEBUG, "100%"),
        ("hermes-kanban: unknown key", logging.WARNING, "hermes-kanban: unknown key"),
        ("2026-01-02 INFO", logging.WARNING, "2026-01-02 INFO"),
    ],
)
def test_the_level_is_the_word_of_the_line(line: str, level: int, text: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    output.log_line(line)
    assert [(record.levelno, record.getMessage()) for record in caplog.records] == [(level, text)]


def test_an_empty_line_is_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    output.log_line("  ")
    assert caplog.records == []
