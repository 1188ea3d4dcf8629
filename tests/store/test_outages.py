"""Outages on the board: when they begin, who probes, when they end, and what they cost nobody."""

from __future__ import annotations

import pytest

from hermes_kanban_plugin.breaker import Terms
from hermes_kanban_plugin.causes import Cause
from hermes_kanban_plugin.errors import NoOutage
from hermes_kanban_plugin.outages import Fate
from hermes_kanban_plugin.store import failures, outages, outcomes
from hermes_kanban_plugin.store.outcomes import Failure, Handoff
from hermes_kanban_plugin.store.transaction import immediate

from .bookkeeping import fail, finish, interrupt


def counters(desk, task_ids: list[str]) -> list[tuple[str, int]]:
    return [desk.columns(task_id, "status", "consecutive_failures") for task_id in task_ids]


def outage_with(desk, number: int = 3, **fields) -> list[str]:
    """Let tasks fail the same way until it is an outage; returns them."""
    task_ids = sorted(desk.create(**fields) for _ in range(number))  # created at once, the id decides
    for task_id in task_ids:
        fail(desk, desk.claim(task_id))
    return task_ids


def only(desk) -> outages.Outage:
    (outage,) = outages.open_outages(desk.writer)
    return outage


def settle(desk) -> list[Fate]:
    return [one.fate for one in outages.settle(desk.writer, desk.now)]


def choose(desk, may_start=lambda one: True) -> list[str]:
    return outages.choose_probes(desk.writer, may_start, desk.now)


def probe(desk) -> object:
    """Let the chosen task run when it is due."""
    desk.board.clock.advance(max(0, only(desk).next_probe_at - desk.now))
    settle(desk)
    (task_id,) = choose(desk)
    return desk.claim(task_id)


def test_three_tasks_that_fail_alike_are_an_outage_and_nobody_is_charged(desk) -> None:
    task_ids = outage_with(desk)
    assert counters(desk, task_ids) == [("ready", 0)] * 3
    assert [failures.counts_of(desk.writer, task_id) for task_id in task_ids] == [{}] * 3
    outage = only(desk)
    assert (outage.cause, outage.signature, outage.failures) == ("crashed", "crashed: exit 7", 3)
    assert (outage.began_at, outage.next_probe_at) == (desk.now, desk.now + 60)
    assert [one.task_id for one in outages.waiting(desk.writer, outage.signature)] == task_ids


def test_a_task_that_fails_again_and_again_by_itself_is_none(desk) -> None:
    task_id, other = desk.create(max_retries=9), desk.create()
    for _ in range(5):
        fail(desk, desk.claim(task_id))
    fail(desk, desk.claim(other))
    assert outages.open_outages(desk.writer) == []
    assert counters(desk, [task_id, other]) == [("ready", 5), ("ready", 1)]


def test_failures_of_another_kind_or_long_ago_do_not_add_up(desk) -> None:
    fail(desk, desk.claimed())
    desk.board.clock.advance(301)
    fail(desk, desk.claimed())
    fail(desk, desk.claimed(), error="something else")
    fail(desk, desk.claimed(), Cause.TIMED_OUT)
    assert outages.open_outages(desk.writer) == []


def test_what_one_of_them_had_failed_before_stays(desk) -> None:
    task_id = desk.create(max_retries=9)
    fail(desk, desk.claim(task_id), Cause.TIMED_OUT)
    fail(desk, desk.claim(task_id))
    fail(desk, desk.claim(task_id))
    outage_with(desk, 2)
    assert failures.counts_of(desk.writer, task_id) == {"timed_out": 1}
    assert counters(desk, [task_id]) == [("ready", 1)]


def test_a_task_that_was_given_up_meanwhile_stays_given_up(desk) -> None:
    task_id = desk.create()
    fail(desk, desk.claim(task_id))
    assert fail(desk, desk.claim(task_id)) == "blocked"
    others = outage_with(desk, 2)
    assert counters(desk, [task_id, *others]) == [("blocked", 2), ("ready", 0), ("ready", 0)]


def test_a_retry_that_runs_while_the_outage_begins_is_not_charged_either(desk) -> None:
    task_id = desk.create()
    fail(desk, desk.claim(task_id))
    again = desk.claim(task_id)
    outage_with(desk, 2)
    assert counters(desk, [task_id]) == [("running", 0)]
    fail(desk, again)
    assert desk.last_event(task_id)[1] == {"failures": 0, "outage": only(desk).id}
    assert counters(desk, [task_id]) == [("ready", 0)]


def test_workers_that_were_killed_are_no_outage(desk) -> None:
    task_ids = [desk.create() for _ in range(4)]
    for task_id in task_ids:
        lease = desk.claim(task_id)
        killed = Failure(Cause.CRASHED, "the worker was killed by signal 9", {}, telling=False)
        assert outcomes.fail(desk.writer, lease, killed, desk.now) == "ready"
    assert outages.open_outages(desk.writer) == []
    assert counters(desk, task_ids) == [("ready", 1)] * 4


def test_with_outages_switched_off_each_failure_counts(desk) -> None:
    task_ids = [desk.create() for _ in range(6)]
    for task_id in task_ids:
        fail(desk, desk.claim(task_id), terms=Terms(outage_tasks=0))
    assert outages.open_outages(desk.writer) == []
    assert counters(desk, task_ids) == [("ready", 1)] * 6


def test_the_best_task_probes_when_it_is_due(desk) -> None:
    outage_with(desk)
    best = desk.create(priority=5)
    fail(desk, desk.claim(best))
    assert choose(desk) == []
    desk.board.clock.advance(60)
    assert choose(desk) == [best]
    assert (only(desk).probe_task_id, only(desk).probe_run_id) == (best, None)
    assert choose(desk) == []
    lease = desk.claim(best)
    assert settle(desk) == []
    assert only(desk).probe_run_id == lease.run_id


def test_a_probe_that_nobody_can_start_makes_room_for_another(desk) -> None:
    first, second, third = outage_with(desk)
    desk.board.clock.advance(60)
    assert choose(desk, lambda one: one.task_id != first) == [second]
    desk.board.clock.advance(59)
    assert choose(desk) == []
    desk.board.clock.advance(1)
    assert choose(desk) == [third]
    desk.board.clock.advance(60)
    assert choose(desk) == [first]


def test_a_task_that_is_broken_itself_does_not_probe_for_ever_in_place_of_those_that_are_not(desk) -> None:
    task_ids = outage_with(desk)
    probed = []
    for _ in range(4):
        lease = probe(desk)
        probed.append(lease.task_id)
        fail(desk, lease)
        settle(desk)
    assert probed == [*task_ids, task_ids[0]]


@pytest.mark.parametrize("status", ["blocked", "archived", "done", "triage"])
def test_a_probe_that_left_before_it_was_started_does_not_keep_the_outage_open(desk, status: str) -> None:
    first, *others = outage_with(desk)
    for task_id in others:
        desk.put(task_id, status="archived")
    desk.board.clock.advance(60)
    assert choose(desk) == [first]
    assert settle(desk) == []
    desk.put(first, status=status)
    assert settle(desk) == [Fate.HEALED]


def test_a_probe_that_was_deleted_before_it_was_started_makes_room_for_another(desk) -> None:
    first, second, _ = outage_with(desk)
    desk.board.clock.advance(60)
    assert choose(desk) == [first]
    for table, column in (("tasks", "id"), ("task_runs", "task_id"), ("task_events", "task_id")):
        desk.execute(f"DELETE FROM {table} WHERE {column} = :id", id=first)
    desk.board.clock.advance(60)
    assert settle(desk) == []
    assert choose(desk) == [second]


@pytest.mark.parametrize("end", ["blocked", "completed"])
def test_what_a_person_does_by_hand_with_a_probe_that_has_not_started_proves_nothing(desk, end: str) -> None:
    """Hermes and we keep the person's words in a run of no length, which is no attempt."""
    first, second, _ = outage_with(desk)
    desk.board.clock.advance(60)
    assert choose(desk) == [first]
    if end == "blocked":
        desk.board.block(first, "not now", None, "ann")
    else:
        desk.board.complete(first, Handoff("did it myself"), "ann")
    assert settle(desk) == []
    desk.board.clock.advance(60)
    assert choose(desk) == [second]


def test_a_blocked_task_whose_failures_are_reset_takes_no_probe_s_place(desk) -> None:
    first, second, _ = outage_with(desk)
    desk.put(second, status="blocked")
    with immediate(desk.writer) as writer:
        failures.forgive(writer, second, desk.now)
    assert only(desk).probe_task_id is None
    desk.board.clock.advance(60)
    assert choose(desk) == [first]


def test_a_failed_probe_doubles_the_wait_up_to_half_an_hour(desk) -> None:
    outage_with(desk)
    waits = []
    for _ in range(7):
        fail(desk, probe(desk))
        assert settle(desk) == [Fate.FAILED]
        waits.append(only(desk).next_probe_at - desk.now)
    assert waits == [120, 240, 480, 960, 1800, 1800, 1800]
    assert only(desk).failures == 10


@pytest.mark.parametrize("end", ["complete", "block"])
def test_a_probe_that_comes_to_an_end_of_its_own_closes_the_outage(desk, end: str) -> None:
    task_ids = outage_with(desk)
    lease = probe(desk)
    if end == "complete":
        finish(desk, lease)
    else:
        desk.board.block_run(lease, "need a key", "needs_input")
    assert settle(desk) == [Fate.HEALED]
    assert outages.open_outages(desk.writer) == []
    (closed,) = desk.rows("SELECT * FROM kp_outages")
    assert closed["closed_at"] == desk.now
    assert f"run {lease.run_id}" in closed["closed_by"]
    back = [row["retry_at"] for row in desk.rows("SELECT retry_at FROM kp_runs WHERE signature IS NOT NULL")]
    assert sorted(at - desk.now for at in back if at is not None) == [10]  # two still waited, the better one starts now
    assert len(task_ids) == len(back)


def test_a_probe_that_lives_on_closes_the_outage(desk) -> None:
    outage_with(desk)
    probe(desk)
    desk.board.clock.advance(119)
    assert settle(desk) == []
    desk.board.clock.advance(1)
    assert settle(desk) == [Fate.HEALED]


def test_after_failures_that_took_an_hour_two_minutes_prove_nothing(desk) -> None:
    leases = [desk.claimed() for _ in range(3)]
    desk.board.clock.advance(3600)
    for lease in leases:
        fail(desk, lease, Cause.TIMED_OUT)
    probe(desk)
    desk.board.clock.advance(3600)
    assert settle(desk) == []
    desk.board.clock.advance(3600)
    assert settle(desk) == [Fate.HEALED]


def test_a_probe_that_was_interrupted_says_nothing_and_another_task_probes(desk) -> None:
    first, second, _ = outage_with(desk)
    lease = probe(desk)
    assert lease.task_id == first
    interrupt(desk, lease)
    assert settle(desk) == [Fate.LOST]
    assert (only(desk).failed_probes, only(desk).next_probe_at) == (0, desk.now + 60)
    assert probe(desk).task_id == second


def test_a_probe_that_fails_otherwise_is_charged_for_it(desk) -> None:
    first, *_ = outage_with(desk)
    fail(desk, probe(desk), error="syntax error")
    assert settle(desk) == [Fate.LOST]
    assert counters(desk, [first]) == [("ready", 1)]


def test_a_probe_whose_run_was_deleted_is_lost(desk) -> None:
    outage_with(desk)
    lease = probe(desk)
    settle(desk)
    desk.execute("DELETE FROM task_runs WHERE id = :id", id=lease.run_id)
    assert settle(desk) == [Fate.LOST]


def test_an_outage_that_nobody_waits_for_ends(desk) -> None:
    for task_id in outage_with(desk):
        desk.put(task_id, status="archived")
    assert settle(desk) == [Fate.HEALED]
    (closed,) = desk.rows("SELECT closed_by FROM kp_outages")
    assert closed["closed_by"] == "no task waits for it any more"


def test_failures_of_the_last_outage_do_not_begin_the_next_one(desk) -> None:
    outage_with(desk)
    finish(desk, probe(desk))
    settle(desk)
    desk.board.clock.advance(1)
    late = desk.create()
    fail(desk, desk.claim(late))
    assert outages.open_outages(desk.writer) == []
    assert counters(desk, [late]) == [("ready", 1)]


def test_a_person_can_make_a_waiting_task_probe_now(desk) -> None:
    _, second, _ = outage_with(desk)
    with immediate(desk.writer) as writer:
        failures.forgive(writer, second, desk.now)
    assert (only(desk).probe_task_id, only(desk).next_probe_at) == (second, desk.now)


def test_a_person_does_not_disturb_a_probe_under_way(desk) -> None:
    first, second, _ = outage_with(desk)
    probe(desk)
    settle(desk)
    with immediate(desk.writer) as writer:
        failures.forgive(writer, second, desk.now)
    assert only(desk).probe_task_id == first


def test_without_an_outage_a_tick_writes_nothing(desk) -> None:
    fail(desk, desk.claimed())
    before = desk.writer.total_changes
    assert settle(desk) == []
    assert choose(desk) == []
    assert desk.writer.total_changes == before


@pytest.mark.parametrize("others", ["archived", "blocked", "scheduled", "todo"])
def test_a_task_that_is_left_alone_with_its_failure_is_judged_by_itself(desk, others: str) -> None:
    """Else it would be tried every half hour for ever, at nobody's cost, and never be given up."""
    alone, *rest = outage_with(desk)
    for task_id in rest:
        desk.put(task_id, status=others)
    lease = probe(desk)
    assert lease.task_id == alone
    fail(desk, lease)
    assert settle(desk) == [Fate.HEALED]
    (closed,) = desk.rows("SELECT closed_by FROM kp_outages")
    assert closed["closed_by"] == f"only {alone} is left that fails so"
    desk.board.clock.advance(1)
    fail(desk, desk.claim(alone))
    assert fail(desk, desk.claim(alone)) == "blocked"


def test_two_that_fail_the_same_way_go_on_waiting(desk) -> None:
    _, _, third = outage_with(desk)
    desk.put(third, status="archived")
    fail(desk, probe(desk))
    assert settle(desk) == [Fate.FAILED]
    assert only(desk).failed_probes == 1


def test_a_clock_that_was_set_back_does_not_put_the_probe_off(desk) -> None:
    outage_with(desk)
    desk.board.clock.jump(-86_400)
    assert len(choose(desk)) == 1
    assert choose(desk) == []


def test_a_person_says_that_it_is_over(desk) -> None:
    task_ids = outage_with(desk)
    outage = only(desk)
    assert outages.close(desk.writer, outage.id, "ann", desk.now) == task_ids
    assert outages.open_outages(desk.writer) == []
    row = desk.writer.execute("SELECT closed_at, closed_by FROM kp_outages").fetchone()
    assert tuple(row) == (desk.now, "closed by ann")
    assert counters(desk, task_ids) == [("ready", 0)] * 3
    for again in (outage.id, outage.id + 1):
        with pytest.raises(NoOutage, match="hermes-kanban outages"):
            outages.close(desk.writer, again, "ann", desk.now)
    fail(desk, desk.claim(task_ids[0]))  # what went before does not make the next one
    assert outages.open_outages(desk.writer) == []
