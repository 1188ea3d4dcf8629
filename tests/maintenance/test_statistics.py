"""``stats``: every figure against a count by hand (failure mode K8)."""

from __future__ import annotations

import random

from hermes_kanban_plugin.causes import Cause
from hermes_kanban_plugin.maintenance import statistics
from hermes_kanban_plugin.maintenance.statistics import Spread, Statistics, Window, spread
from hermes_kanban_plugin.store.outcomes import Failure, Handoff, fail, release
from tests.maintenance.conftest import DAY, Keeper

HOUR = 3600


def windows(found: Statistics) -> tuple[Window, Window]:
    day, week = found.windows
    return day, week


def test_an_empty_board_has_figures_of_nothing(keeper: Keeper) -> None:
    found = statistics.gather(keeper.board)

    day, week = windows(found)
    assert (day.created, day.completed, day.started, day.cycle, day.endings) == (0, 0, 0, Spread(), {})
    assert week.card_seconds == {}
    assert found.columns == []


def test_the_figures_match_a_count_by_hand(keeper: Keeper) -> None:
    # Six days ago: one task is created, started an hour later, done after two more hours.
    first = keeper.create("six days ago")
    keeper.clock.advance(HOUR)
    lease = keeper.claim(first)
    keeper.clock.advance(2 * HOUR)
    keeper.board.complete_run(lease, Handoff(summary="done"))
    # Five days and a bit ago: one crashes after 10 minutes, waits 20, is refused by the provider after 5, waits.
    second = keeper.create("crashes and waits")
    lease = keeper.claim(second)
    keeper.clock.advance(600)
    fail(keeper.board.writer, lease, Failure(Cause.CRASHED, "exit 1", {}), keeper.now)
    keeper.clock.advance(1200)
    lease = keeper.claim(second)
    keeper.clock.advance(300)
    release(keeper.board.writer, lease, Cause.RATE_LIMITED, "quota", {}, keeper.now)
    keeper.clock.advance(6 * DAY - 3 * HOUR - 2100)
    # Today: one is blocked at once, one is completed by hand without a start, one runs.
    blocked = keeper.create("blocked")
    lease = keeper.claim(blocked)
    keeper.clock.advance(60)
    keeper.board.block_run(lease, "which one?", "needs_input")
    by_hand = keeper.create("by hand")
    keeper.clock.advance(40)
    keeper.board.complete(by_hand, Handoff(summary="did it myself"), "me")
    running = keeper.create("running")
    keeper.clock.advance(100)
    keeper.claim(running)
    keeper.clock.advance(50)

    found = statistics.gather(keeper.board)

    day, week = windows(found)
    assert (day.created, week.created) == (3, 5)
    assert (day.completed, week.completed) == (1, 2)
    assert (day.started, week.started) == (2, 5)
    assert day.endings == {"blocked": 1}
    assert week.endings == {"blocked": 1, "completed": 1, "crashed": 1, "rate_limited": 1}
    assert (day.failures, week.failures) == ({}, {"crashed": 1})
    assert (day.setbacks, week.setbacks) == ({}, {"rate_limited": 1})
    assert (day.cycle.count, week.cycle.median) == (0, 2 * HOUR)
    assert (day.lead.median, week.lead.count, week.lead.longest) == (40, 2, 3 * HOUR)
    since = 6 * DAY - 3 * HOUR - 2100 + 250
    assert day.card_seconds == {
        "ready": DAY + 40 + 100, "running": 60 + 50, "blocked": 190,
    }  # fmt: skip
    assert week.card_seconds == {
        "ready": HOUR + 1200 + since + 140, "running": 2 * HOUR + 900 + 110, "blocked": 190,
    }  # fmt: skip
    columns = {column.name: column for column in found.columns}
    assert {name: column.cards for name, column in columns.items()} == {"ready": 1, "running": 1, "blocked": 1}
    assert (columns["ready"].oldest_task, columns["ready"].oldest_age) == (second, since)
    assert (columns["blocked"].oldest_task, columns["blocked"].median_age) == (blocked, 190)
    assert columns["running"].oldest_age == 50


def test_reading_the_figures_changes_no_byte(keeper: Keeper) -> None:
    keeper.finish(keeper.create())
    before = keeper.everything()

    statistics.gather(keeper.board)

    assert keeper.everything() == before
    assert not keeper.board.reader.in_transaction


def test_a_board_of_a_plain_host_has_figures_too(keeper: Keeper) -> None:
    keeper.finish(keeper.create())
    for (name,) in keeper.rows("SELECT name FROM sqlite_master WHERE type = 'table' AND name LIKE 'kp!_%' ESCAPE '!'"):
        keeper.execute(f"DROP TABLE {name}")
    keeper.execute("UPDATE task_runs SET started_at = started_at - 5")

    day, _ = windows(statistics.gather(keeper.board))

    assert (day.completed, day.endings) == (1, {"completed": 1})


def test_spreads_are_values_that_were_there() -> None:
    assert spread([]) == Spread()
    assert spread([5]) == Spread(count=1, median=5, p90=5, longest=5)
    assert spread(range(1, 11)) == Spread(count=10, median=5, p90=9, longest=10)
    assert spread([3, 1, 2]) == Spread(count=3, median=2, p90=3, longest=3)
    for size in range(1, 60):
        values = [random.randrange(1000) for _ in range(size)]
        found = spread(values)
        assert {found.median, found.p90, found.longest} <= set(values)
        assert sum(value <= (found.p90 or 0) for value in values) >= 0.9 * size
        assert sum(value <= (found.median or 0) for value in values) >= 0.5 * size
