"""What counts as work and as progress: pure rules, no clock."""

from __future__ import annotations

from typing import Any

import pytest

from hermes_kanban_plugin.worker import activity
from hermes_kanban_plugin.worker.activity import Activity


@pytest.mark.parametrize(
    "description",
    [
        "receiving stream response",
        "API call #3 completed",
        "tool completed: terminal (0.2s)",
        "terminal command running (40s elapsed)",
        "execute_code running",
    ],
)
def test_this_is_work(description: str) -> None:
    assert activity.is_work(description)


@pytest.mark.parametrize(
    "description",
    [
        "waiting for non-streaming API response",
        "waiting for provider response (streaming)",
        "waiting for stream response (90s, no chunks yet)",
        "⏳ waiting on gpt — 60s with no output yet",
        "starting API call #4",
        "retry backoff (1/3), 20s remaining",
        "API error recovery (attempt 1/3)",
        "stale stream detected after 180s, reconnecting",
        "executing tool: terminal",
        "delegate_task: subagent waiting for provider response (streaming)",
        "waiting for user approval",
        "initializing",
        "",
    ],
)
def test_this_is_none(description: str) -> None:
    assert not activity.is_work(description)


def calls(*made: tuple[str, dict[str, Any]]) -> Activity:
    seen = Activity(100)
    for number, (tool, arguments) in enumerate(made):
        seen = activity.after_call(seen, tool, arguments, 101 + number)
    return seen


def test_a_new_call_is_progress() -> None:
    seen = calls(("terminal", {"command": "ls"}), ("terminal", {"command": "ls -l"}), ("read_file", {"path": "a"}))
    assert (seen.progress_at, seen.repeated_calls, seen.is_looping) == (103, 0, False)


def test_the_same_call_is_none_and_the_third_in_a_row_is_a_loop() -> None:
    same = ("terminal", {"command": "ls", "timeout": 5})
    twice = calls(same, same)
    assert (twice.progress_at, twice.repeated_calls, twice.is_looping) == (101, 1, False)
    thrice = calls(same, ("terminal", {"timeout": 5, "command": "ls"}), same)
    assert (thrice.progress_at, thrice.repeated_calls, thrice.is_looping) == (101, 2, True)
    assert not calls(same, same, same, ("terminal", {"command": "pwd"})).is_looping


def test_a_heartbeat_neither_breaks_a_loop_nor_makes_one() -> None:
    same, beat = ("terminal", {"command": "ls"}), ("kanban_heartbeat", {"note": "still here"})
    assert calls(same, beat, same, beat, same).is_looping
    assert calls(beat, beat, beat, beat) == Activity(100)


def test_strange_arguments_have_digests_too() -> None:
    odd: list[dict[str, Any]] = [{}, {"a": object}, {"a": "\ud800"}, {"a": [1, {"b": None}]}]
    assert len({activity.digest("tool", arguments) for arguments in odd}) == len(odd)
    assert activity.digest("tool", None) == activity.digest("tool", {})


def test_it_is_written_at_once_then_once_a_minute_and_sooner_after_a_failure() -> None:
    seen = Activity(100)
    assert activity.is_due(seen, 0.0)
    seen = activity.after_write(seen, 5.0, written=True)
    assert [activity.is_due(seen, 5.0 + later) for later in (0, 59, 60)] == [False, False, True]
    seen = activity.after_write(seen, 65.0, written=False)
    assert [activity.is_due(seen, 65.0 + later) for later in (0, 9, 10)] == [False, False, True]
