"""Slices of time: every end of an attempt is counted once, in the slice it belongs to."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hermes_kanban_plugin.dashboard import charts
from hermes_kanban_plugin.dashboard.charts import HOUR, SPANS, Done, Ending, slices

if TYPE_CHECKING:
    from tests.diagnosis.conftest import Scene

NOW = 1_000_000


def test_each_slice_counts_what_ended_in_it() -> None:
    endings = [
        Ending(NOW, "completed"), Ending(NOW, "crashed"), Ending(NOW - HOUR + 1, "crashed"),
        Ending(NOW - HOUR, "infrastructure"), Ending(NOW - HOUR, "timed_out"), Ending(NOW - 3 * HOUR, "crashed"),
        Ending(NOW + 1, "crashed"), Ending(NOW - HOUR, "superseded"), Ending(NOW - HOUR, "rate_limited"),
    ]  # fmt: skip
    done = [Done(NOW, 30), Done(NOW, 10), Done(NOW, 20), Done(NOW, None), Done(NOW - HOUR, 7)]
    two_ago, ago, last = slices(endings, done, NOW, HOUR, 3)
    assert last == {"start": NOW - HOUR, "completed": 4, "rescues": 0, "failures": {"crashed": 2}, "cycle_seconds": 20}
    assert ago == {
        "start": NOW - 2 * HOUR, "completed": 1, "rescues": 1, "failures": {"timed_out": 1}, "cycle_seconds": 7
    }  # fmt: skip
    assert (two_ago["start"], two_ago["completed"], two_ago["cycle_seconds"]) == (NOW - 3 * HOUR, 0, None)
    assert two_ago["failures"] == {}, "what ended at the very beginning belongs to the time before"


@given(st.lists(st.integers(NOW - 30 * HOUR, NOW + HOUR)), st.integers(1, 9) | st.just(HOUR), st.integers(1, 30))
def test_nothing_is_lost_or_counted_twice(ends: list[int], seconds: int, count: int) -> None:
    made = slices([Ending(at, "crashed") for at in ends], [Done(at, 1) for at in ends], NOW, seconds, count)
    within = [at for at in ends if NOW - seconds * count < at <= NOW]
    assert len(made) == count
    assert sum(one["failures"].get("crashed", 0) for one in made) == len(within)
    assert sum(one["completed"] for one in made) == len(within)
    assert {after["start"] - before["start"] for before, after in pairwise(made)} <= {seconds}


def test_the_history_of_a_board_is_drawn(scene: Scene) -> None:
    done = scene.add()
    scene.event(done, "claimed", at=scene.clock.now() - 100)
    scene.closed_run(done, "crashed", ago=70, cause="infrastructure")
    scene.closed_run(done, "crashed", ago=40, cause="protocol_violation")
    scene.event(done, "claimed", at=scene.clock.now() - 35)
    scene.closed_run(done, "completed", ago=10, cause="completed")
    scene.spoil("UPDATE tasks SET status = 'done' WHERE id = ?", done)
    scene.event(done, "completed", at=scene.clock.now() - 10)
    drawn = charts.draw(scene.board)
    assert {name: len(made) for name, made in drawn.items()} == {name: count for name, (_, count) in SPANS.items()}
    for made in drawn.values():
        last = made[-1]
        assert (last["completed"], last["rescues"], last["failures"]) == (1, 1, {"protocol_violation": 1})
        assert last["cycle_seconds"] == 90
        assert sum(one["completed"] + one["rescues"] for one in made) == 2


@pytest.mark.parametrize("outcome", ["reclaimed", "stale"])
def test_an_end_that_the_host_booked_is_a_rescue_by_its_outcome(scene: Scene, outcome: str) -> None:
    run_id = scene.closed_run(scene.add(), outcome)
    scene.spoil("DELETE FROM kp_runs WHERE run_id = ?", run_id)
    assert charts.draw(scene.board)["day"][-1]["rescues"] == 1


def test_a_board_without_our_tables_is_drawn_too(scene: Scene) -> None:
    scene.closed_run(scene.add(), "crashed")
    for table in ("kp_runs", "kp_outages", "kp_completions", "kp_flags"):
        scene.spoil(f"DROP TABLE {table}")
    assert charts.draw(scene.board)["day"][-1]["failures"] == {"crashed": 1}
