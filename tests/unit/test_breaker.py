"""The circuit breaker as arithmetic: what is counted, when it trips, how long the next attempt waits."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as some

from hermes_kanban_plugin import breaker
from hermes_kanban_plugin.breaker import Tally, Terms
from hermes_kanban_plugin.causes import Cause

NOW = 1_700_000_000
COUNTED = sorted(cause for cause in Cause if cause.counts)
counted = some.sampled_from(COUNTED)


def count(cause: Cause, counts: dict[str, int], failures: int, own: int | None = None, limit: int = 2) -> Tally:
    return breaker.count(cause, counts, failures, own, limit)


@pytest.mark.parametrize(
    ("counts", "failures", "own", "limit", "after", "tripped"),
    [
        ({}, 0, None, 2, {"crashed": 1}, False),
        ({"crashed": 1}, 1, None, 2, {"crashed": 2}, True),
        ({"timed_out": 1}, 1, None, 2, {"timed_out": 1, "crashed": 1}, False),  # causes are counted apart
        ({"timed_out": 1, "crashed": 1}, 1, None, 2, {"timed_out": 1, "crashed": 2}, True),
        ({}, 1, None, 2, {"crashed": 2}, True),  # the host counted one, and we do not know of what
        ({"timed_out": 1}, 2, None, 3, {"timed_out": 1, "crashed": 2}, False),
        ({"crashed": 2}, 0, None, 2, {"crashed": 1}, False),  # a person or a success set the counter to 0
        ({"crashed": 3, "timed_out": 1}, 1, None, 5, {"crashed": 2}, False),  # and others counted one since
        ({}, 0, 1, 5, {"crashed": 1}, True),  # the task's own limit wins
        ({"crashed": 1}, 1, 5, 2, {"crashed": 2}, False),
        ({}, 0, None, 1, {"crashed": 1}, True),
    ],
)
def test_counting(counts, failures, own, limit, after, tripped) -> None:
    found = count(Cause.CRASHED, counts, failures, own, limit)
    assert (found.counts, found.tripped) == (after, tripped)
    assert found.failures == max(after.values())
    assert (found.limit, found.source) == ((own, "task") if own else (limit, "dispatcher"))


@pytest.mark.parametrize(("own", "limit", "bound"), [(None, 9, 2), (9, 2, 2), (None, 2, 2), (1, 9, 1), (None, 1, 1)])
def test_a_second_unfinished_hand_off_goes_to_a_person_whatever_the_limit(own, limit, bound) -> None:
    first = count(Cause.PROTOCOL_VIOLATION, {}, 0, own, limit)
    assert (first.limit, first.tripped) == (bound, bound == 1)
    second = count(Cause.PROTOCOL_VIOLATION, first.counts, first.failures, own, limit)
    assert second.tripped


@pytest.mark.parametrize(
    ("cause", "counts", "own", "limit", "reopenable"),
    [
        (Cause.CRASHED, {}, None, 1, True),  # below the host's own limit of 2
        (Cause.CRASHED, {"crashed": 1}, None, 2, False),
        (Cause.CRASHED, {"crashed": 2}, None, 3, False),
        (Cause.CRASHED, {}, 1, 2, False),  # the host honours the task's limit
        (Cause.PROTOCOL_VIOLATION, {"protocol_violation": 1}, None, 5, True),
        (Cause.PROTOCOL_VIOLATION, {"protocol_violation": 1}, 5, 2, True),
        (Cause.CRASHED, {}, None, 5, False),  # nothing tripped
    ],
)
def test_what_the_host_would_open_again(cause, counts, own, limit, reopenable) -> None:
    failures = max(counts.values(), default=0)
    assert count(cause, counts, failures, own, limit).reopenable is reopenable


@given(
    causes=some.lists(counted, min_size=1, max_size=40),
    own=some.none() | some.integers(1, 9),
    limit=some.integers(1, 9),
)
def test_a_task_is_given_up_when_one_cause_reaches_its_limit_and_not_before(causes, own, limit) -> None:
    """Whatever the order: it trips at the nth failure of one cause, and the host's counter says the highest."""
    counts: dict[str, int] = {}
    failures, seen = 0, dict.fromkeys(Cause, 0)
    for cause in causes:
        found = count(cause, counts, failures, own, limit)
        seen[cause] += 1
        bound = own or limit
        if cause is Cause.PROTOCOL_VIOLATION:
            bound = min(bound, breaker.UNFINISHED_LIMIT)
        assert found.tripped == (seen[cause] >= bound)
        assert found.failures == max(seen.values())
        if found.tripped:
            return
        counts, failures = found.counts, found.failures


@given(
    counts=some.dictionaries(some.sampled_from([cause.value for cause in COUNTED]), some.integers(-1, 9)),
    failures=some.integers(0, 9), cause=counted, limit=some.integers(1, 9),
)  # fmt: skip
def test_nothing_that_was_counted_by_anybody_is_lost(counts, failures, cause, limit) -> None:
    """What others added to the counter is held against the cause at hand, so no mixture of writers escapes (W21)."""
    found, before = count(cause, counts, failures, None, limit), breaker.standing(counts, failures)
    unexplained = failures - max(before.values(), default=0)
    assert found.counts[cause] == before.get(cause, 0) + unexplained + 1
    assert sum(found.counts.values()) == sum(before.values()) + unexplained + 1
    assert 1 <= found.failures <= failures + 1


@given(causes=some.lists(counted, max_size=12), wrong=counted, times=some.integers(0, 5))
def test_taking_back_leaves_the_other_causes(causes, wrong, times) -> None:
    counts: dict[str, int] = {}
    failures = 0
    for cause in causes:
        found = count(cause, counts, failures, 99, 99)
        counts, failures = found.counts, found.failures
    left, highest = breaker.take_back(wrong, counts, failures, times)
    assert left.get(wrong.value, 0) == max(0, counts.get(wrong.value, 0) - times)
    assert {name: left.get(name) for name in counts if name != wrong} == {
        name: number for name, number in counts.items() if name != wrong
    }
    assert highest == max(left.values(), default=0)


def test_taking_back_believes_no_counts_of_the_past() -> None:
    assert breaker.take_back(Cause.CRASHED, {"crashed": 3}, 1, 3) == ({}, 1)
    assert breaker.take_back(Cause.CRASHED, {"crashed": 1}, 2, 1) == ({}, 1)  # one that the host counted stays


@given(
    failed=some.integers(0, 200),
    base=some.integers(0, 3600),
    cap=some.integers(0, 86_400),
    run_id=some.integers(1, 10**9),
)
def test_the_wait_grows_to_its_cap_and_is_always_the_same_for_a_run(failed, base, cap, run_id) -> None:
    terms = Terms(retry_base=base, retry_cap=cap)
    counts = {"crashed": failed} if failed else {}
    wait = breaker.retry_wait(counts, terms, "t_0a1b2c3d", run_id)
    if failed < 2:
        assert wait == 0  # the first retry is at once
        return
    whole = min(base * 2 ** (failed - 2), cap)
    assert whole / 2 <= wait <= whole
    assert wait == breaker.retry_wait(counts, terms, "t_0a1b2c3d", run_id)


def test_failures_of_different_causes_make_the_wait_grow_together() -> None:
    terms = Terms(retry_base=100, retry_cap=10_000)
    waits = [
        breaker.retry_wait(counts, terms, "t", 1)
        for counts in ({"crashed": 1}, {"crashed": 1, "timed_out": 1}, {"crashed": 2, "timed_out": 1})
    ]
    assert waits[0] == 0
    assert 0 < waits[1] < waits[2]


def test_six_that_fail_together_do_not_come_back_together() -> None:
    waits = {breaker.retry_wait({"timed_out": 2}, Terms(retry_base=60), f"t_{n}", n) for n in range(6)}
    assert len(waits) >= 5


def test_neighbouring_runs_are_spread_evenly() -> None:
    places = [breaker.spread("t_0a1b2c3d", run_id) for run_id in range(1000)]
    for tenth in range(10):
        assert 60 < len([place for place in places if tenth / 10 <= place < (tenth + 1) / 10]) < 140


@pytest.mark.parametrize(
    ("causes", "streak"),
    [
        ([], 0),
        (["crashed"], 0),
        (["rate_limited", "rate_limited", "crashed", "rate_limited"], 2),
        (["interrupted", "rate_limited", "infrastructure", "rate_limited", "completed"], 2),
        (["rate_limited", None, "rate_limited"], 1),
    ],
)
def test_refusals_in_a_row(causes, streak) -> None:
    assert breaker.refusal_streak(causes) == streak


def test_a_provider_that_goes_on_refusing_is_asked_less_and_less_often() -> None:
    terms = Terms(cooldown=300)
    assert [breaker.refusal_wait(n, terms) for n in range(1, 8)] == [300, 600, 1200, 2400, 3600, 3600, 3600]
    assert [n for n in range(1, 200) if breaker.refusals_persist(n, terms)] == [5]
    assert [n for n in range(1, 9) if breaker.refusals_persist(n, Terms(cooldown=7200))] == [1]
    assert breaker.refusal_wait(3, Terms(cooldown=0)) == 0


@pytest.mark.parametrize(
    ("reset", "streak", "wait"),
    [
        (None, 1, 300),
        (NOW + 42, 1, 42),  # the provider's own time, however short
        (NOW + 5 * 3600, 1, 5 * 3600),
        (NOW - 9, 1, 0),
        (NOW + 10**9, 1, 86_400),  # bounded
        (NOW + 42, 3, 1200),  # it said so before
        (NOW + 7200, 3, 7200),
    ],
)
def test_the_time_that_a_provider_names_counts(reset, streak, wait) -> None:
    assert breaker.retry_after_refusal(NOW, reset, streak, Terms()) == NOW + wait


@given(steps=some.lists(some.integers(0, 4000), max_size=80), bound=some.integers(1, 12))
def test_no_hour_sees_more_starts_than_the_bound(steps, bound) -> None:
    now, starts = NOW, []
    for step in steps:
        now += step
        due = breaker.earliest_start(starts, bound, now)
        assert due >= now
        if due == now:
            starts.append(now)
        else:
            early = [start for start in starts if due - 1 - breaker.HOUR < start]
            assert len(early) >= bound  # a second sooner would be one too many
    for start in starts:
        assert len([other for other in starts if start <= other < start + breaker.HOUR]) <= bound


def test_a_clock_that_was_set_back_does_not_stop_a_task_for_ever() -> None:
    assert breaker.earliest_start([NOW + 10**6] * 20, 10, NOW) == NOW


@pytest.mark.parametrize(
    ("cause", "outcome", "event", "counts"),
    [
        (Cause.CRASHED, "crashed", "crashed", True),
        (Cause.TIMED_OUT, "timed_out", "timed_out", True),
        (Cause.BUDGET_EXHAUSTED, "timed_out", "timed_out", True),
        (Cause.SPAWN_FAILED, "spawn_failed", "spawn_failed", True),
        (Cause.PROTOCOL_VIOLATION, "crashed", "protocol_violation", True),
        (Cause.RATE_LIMITED, "rate_limited", "rate_limited", False),
        (Cause.INTERRUPTED, "reclaimed", "reclaimed", False),
        (Cause.INFRASTRUCTURE, "reclaimed", "reclaimed", False),
        (Cause.HEARTBEAT_STALE, "stale", "stale", False),
        (Cause.SUPERSEDED, "reclaimed", "reclaimed", False),
        (Cause.COMPLETED, "completed", "completed", False),
        (Cause.BLOCKED, "blocked", "blocked", False),
    ],
)
def test_every_cause_has_the_hosts_words(cause, outcome, event, counts) -> None:
    assert (cause.words.outcome, cause.words.event, cause.counts) == (outcome, event, counts)


def test_no_cause_is_forgotten_here() -> None:
    (marked,) = [mark for mark in test_every_cause_has_the_hosts_words.pytestmark if mark.name == "parametrize"]
    assert {row[0] for row in marked.args[1]} == set(Cause)


def test_launches_that_come_to_nothing_wait_longer_and_longer() -> None:
    waits = [breaker.launch_wait(streak, "t_1", 7) for streak in range(1, 12)]
    assert waits[0] == 0
    assert 5 < waits[1] <= 10
    assert waits == sorted(waits)
    assert 300 < waits[-1] <= 600
    assert breaker.launch_wait(10_000, "t_1", 7) == waits[-1]


def test_only_launches_without_a_fault_of_the_task_add_up() -> None:
    lost = Cause.INFRASTRUCTURE.value
    assert breaker.launch_streak([]) == 0
    assert breaker.launch_streak([lost, lost, None, lost]) == 2
    assert breaker.launch_streak([Cause.SPAWN_FAILED.value, lost]) == 0
