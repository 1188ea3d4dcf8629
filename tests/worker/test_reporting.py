"""When the board is told, with a clock that the test moves."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest
from pytest_mock import MockerFixture

from hermes_kanban_plugin.worker import assignment
from hermes_kanban_plugin.worker.reporting import Reporter

if TYPE_CHECKING:
    from tests.worker.conftest import Post

CHUNK = "receiving stream response"


@pytest.fixture
def beats(mocker: MockerFixture) -> Callable[[], int]:
    """Count the writes."""
    spy = mocker.spy(assignment, "beat")
    return lambda: spy.call_count


def test_work_beats_at_most_once_a_minute(post: Post, beats: Callable[[], int]) -> None:
    post.accept()
    reporter = Reporter(post.assignment, post.clock)
    for _ in range(1200):  # twenty minutes of chunks
        post.clock.advance(1)
        reporter.describe(CHUNK)
    assert beats() == 20
    assert post.task()["last_heartbeat_at"] > post.clock.now() - 60


def test_waiting_never_beats(post: Post, beats: Callable[[], int]) -> None:
    reporter = Reporter(post.assignment, post.clock)
    for _ in range(200):
        post.clock.advance(30)
        reporter.describe("waiting for provider response (streaming)")
    assert beats() == 0
    assert post.task()["last_heartbeat_at"] is None


def test_a_loop_of_the_same_call_is_no_life_until_something_differs(post: Post) -> None:
    post.accept()
    reporter = Reporter(post.assignment, post.clock)
    for _ in range(10):
        post.clock.advance(61)
        reporter.call_ended("terminal", {"command": "ls"})
        reporter.describe(CHUNK)
    looping_since = post.task()["last_heartbeat_at"]
    assert looping_since == post.clock.now() - 8 * 61, "the first two of ten calls were life"
    assert post.known()["repeated_calls"] == 9
    assert post.known()["progress_at"] == post.clock.now() - 9 * 61
    post.clock.advance(61)
    reporter.call_ended("terminal", {"command": "pwd"})
    assert post.task()["last_heartbeat_at"] == post.clock.now()
    assert (post.known()["repeated_calls"], post.known()["progress_at"]) == (0, post.clock.now())


def test_a_superseded_run_is_not_reported_any_more(
    post: Post, beats: Callable[[], int], caplog: pytest.LogCaptureFixture
) -> None:
    reporter = Reporter(post.assignment, post.clock)
    new = post.supersede()
    for _ in range(5):
        post.clock.advance(61)
        reporter.describe(CHUNK)
    assert beats() == 1
    assert f"superseded by run {new.run_id}" in caplog.text
    assert post.task()["last_heartbeat_at"] is None


@pytest.mark.parametrize("problem", [sqlite3.OperationalError("database is locked"), ZeroDivisionError("what?")])
def test_a_failed_report_breaks_nothing_and_is_tried_again_soon(
    post: Post, mocker: MockerFixture, problem: Exception
) -> None:
    reporter = Reporter(post.assignment, post.clock)
    failing = mocker.patch.object(assignment, "beat", side_effect=problem)
    reporter.describe(CHUNK)
    post.clock.advance(9)
    reporter.describe(CHUNK)
    assert failing.call_count == 1
    mocker.stop(failing)
    post.clock.advance(1)
    reporter.describe(CHUNK)
    assert post.task()["last_heartbeat_at"] == post.clock.now()


def test_strange_calls_break_nothing(post: Post) -> None:
    reporter = Reporter(post.assignment, post.clock)
    nested: dict[str, Any] = {}
    nested["self"] = nested
    reporter.call_ended("tool", nested)
    reporter.call_ended("tool", {1: 2, "a": 3})  # type: ignore[dict-item]
    reporter.describe(None)  # type: ignore[arg-type]
    assert post.task()["last_heartbeat_at"] == post.clock.now()


def test_threads_do_not_wait_for_each_other(post: Post, mocker: MockerFixture) -> None:
    reporter = Reporter(post.assignment, post.clock)
    entered, leave = threading.Event(), threading.Event()

    def slow(*_: object, **__: object) -> None:
        entered.set()
        assert leave.wait(30)

    write = mocker.patch.object(assignment, "beat", side_effect=slow)
    first = threading.Thread(target=reporter.describe, args=(CHUNK,))
    first.start()
    assert entered.wait(30)
    reporter.describe(CHUNK)  # returns although the other one still writes
    leave.set()
    first.join(30)
    assert write.call_count == 1
