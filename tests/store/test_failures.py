"""The books of the breaker: counts by cause, waits, refusals, and what a person forgives."""

from __future__ import annotations

import pytest

from hermes_kanban_plugin.breaker import Terms
from hermes_kanban_plugin.causes import Cause
from hermes_kanban_plugin.store import failures, outcomes, queries

from .bookkeeping import fail, finish, interrupt, refuse


def state(desk, task_id: str) -> tuple[str, int, dict[str, int]]:
    return *desk.columns(task_id, "status", "consecutive_failures"), failures.counts_of(desk.writer, task_id)


def test_causes_are_counted_apart_and_the_hosts_counter_holds_the_highest(desk) -> None:
    task_id = desk.create()
    fail(desk, desk.claim(task_id))
    assert state(desk, task_id) == ("ready", 1, {"crashed": 1})
    fail(desk, desk.claim(task_id), Cause.TIMED_OUT)
    assert state(desk, task_id) == ("ready", 1, {"crashed": 1, "timed_out": 1})
    fail(desk, desk.claim(task_id), Cause.SPAWN_FAILED)
    assert state(desk, task_id) == ("ready", 1, {"crashed": 1, "timed_out": 1, "spawn_failed": 1})
    assert fail(desk, desk.claim(task_id), Cause.TIMED_OUT) == "blocked"
    assert state(desk, task_id) == ("blocked", 2, {"crashed": 1, "timed_out": 2, "spawn_failed": 1})


def test_a_success_makes_the_counts_history(desk) -> None:
    task_id = desk.create()
    fail(desk, desk.claim(task_id))
    finish(desk, desk.claim(task_id))
    desk.put(task_id, status="ready", completed_at=None)  # a person has it done again
    assert fail(desk, desk.claim(task_id)) == "ready"
    assert state(desk, task_id) == ("ready", 1, {"crashed": 1})


def test_what_the_host_counted_is_held_against_the_task(desk) -> None:
    task_id = desk.create()
    desk.put(task_id, consecutive_failures=1)
    assert fail(desk, desk.claim(task_id)) == "blocked"


def test_the_counter_that_the_host_reset_is_believed(desk) -> None:
    task_id = desk.create(max_retries=3)
    for _ in range(2):
        fail(desk, desk.claim(task_id))
    desk.put(task_id, consecutive_failures=0)  # as the host's own unblock and reassign do
    assert fail(desk, desk.claim(task_id)) == "ready"
    assert state(desk, task_id) == ("ready", 1, {"crashed": 1})


def test_every_end_is_written_beside_the_run(desk) -> None:
    lease = desk.claimed()
    fail(desk, lease, error="no space left on device", output="boom")
    known = desk.known_run(lease.run_id)
    assert (known["cause"], known["retry_at"]) == ("crashed", None)
    assert known["signature"] == "crashed: no space left on device | boom"


def test_the_first_retry_is_at_once_and_later_ones_wait(desk) -> None:
    task_id, terms = desk.create(max_retries=9), Terms(retry_base=100, retry_cap=150)
    waits = []
    for _ in range(5):
        lease = desk.claim(task_id)
        fail(desk, lease, terms=terms)
        retry_at = desk.known_run(lease.run_id)["retry_at"]
        waits.append(None if retry_at is None else retry_at - desk.now)
        desk.board.clock.advance(1000)
    assert waits[0] is None
    assert 50 <= waits[1] <= 100
    assert all(75 <= wait <= 150 for wait in waits[2:])


def test_a_task_that_is_given_up_has_no_wait_left(desk) -> None:
    task_id = desk.create()
    fail(desk, desk.claim(task_id))
    lease = desk.claim(task_id)
    assert fail(desk, lease) == "blocked"
    assert desk.known_run(lease.run_id)["retry_at"] is None


@pytest.mark.parametrize("cause", [Cause.INTERRUPTED, Cause.INFRASTRUCTURE, Cause.SUPERSEDED, Cause.HEARTBEAT_STALE])
def test_what_nobody_is_to_blame_for_is_kept_and_counts_nothing(desk, cause: Cause) -> None:
    task_id = desk.create()
    for _ in range(5):
        lease = desk.claim(task_id)
        interrupt(desk, lease, cause)
        assert desk.known_run(lease.run_id)["cause"] == cause.value
    assert state(desk, task_id) == ("ready", 0, {})


def test_a_refused_task_waits_longer_each_time_and_a_person_is_told_once(desk) -> None:
    task_id = desk.create()
    waits = []
    for _ in range(8):
        until = refuse(desk, desk.claim(task_id))
        waits.append(until - desk.now)
        desk.board.clock.advance(until - desk.now)
        assert desk.kinds(task_id).count("rate_limit_persists") == (len(waits) >= 5)
    assert waits == [300, 600, 1200, 2400, 3600, 3600, 3600, 3600]
    assert state(desk, task_id) == ("ready", 0, {})


def test_a_refusal_with_a_reset_time_waits_for_it(desk) -> None:
    lease = desk.claimed()
    desk.execute("UPDATE kp_runs SET retry_at = :at WHERE run_id = :id", at=desk.now + 77, id=lease.run_id)
    assert refuse(desk, lease) == desk.now + 77


def test_an_interruption_between_two_refusals_does_not_make_the_wait_short_again(desk) -> None:
    task_id = desk.create()
    refuse(desk, desk.claim(task_id))
    interrupt(desk, desk.claim(task_id))
    assert refuse(desk, desk.claim(task_id)) == desk.now + 600


def test_work_between_two_refusals_does(desk) -> None:
    task_id = desk.create()
    refuse(desk, desk.claim(task_id))
    fail(desk, desk.claim(task_id))
    assert refuse(desk, desk.claim(task_id)) == desk.now + 300


def test_a_person_can_forgive(desk) -> None:
    task_id, terms = desk.create(max_retries=9), Terms(retry_base=100)
    for _ in range(3):
        fail(desk, desk.claim(task_id), terms=terms)
    assert may_start(desk) == []
    desk.board.reset_failures(task_id, "ann")
    assert state(desk, task_id) == ("ready", 0, {})
    assert may_start(desk) == [task_id]


def test_a_person_can_lift_a_wait_and_leave_the_count(desk) -> None:
    task_id = desk.create()
    refuse(desk, desk.claim(task_id))
    assert may_start(desk) == []
    desk.board.retry_now(task_id, "ann")
    assert may_start(desk) == [task_id]
    assert desk.last_event(task_id) == ("edited", {"fields": ["retry_at"], "actor": "ann"}, None)


def may_start(desk) -> list[str]:
    return [task.id for task in queries.candidates(desk.writer, desk.now, 300)]


def test_unblocking_starts_all_counts_anew(desk) -> None:
    task_id = desk.create()
    fail(desk, desk.claim(task_id), Cause.TIMED_OUT)
    for _ in range(2):
        fail(desk, desk.claim(task_id))
    desk.board.unblock(task_id, "ann")
    assert state(desk, task_id) == ("ready", 0, {})
    fail(desk, desk.claim(task_id), Cause.TIMED_OUT)
    assert state(desk, task_id) == ("ready", 1, {"timed_out": 1})


def test_a_run_that_a_person_ended_was_superseded(desk) -> None:
    taken, blocked, done = desk.claimed(), desk.claimed(), desk.claimed()
    desk.board.reclaim(desk.board.task(taken.task_id), "mine", "ann")
    desk.board.block(blocked.task_id, "wait", None, "ann")
    desk.board.complete(done.task_id, outcomes.Handoff("did it"), "ann")
    for lease in (taken, blocked, done):
        assert desk.known_run(lease.run_id)["cause"] == "superseded"


def test_what_a_worker_says_itself_is_its_cause(desk) -> None:
    done, blocked = desk.claimed(), desk.claimed()
    finish(desk, done)
    desk.board.block_run(blocked, "stuck", "transient")
    assert desk.known_run(done.run_id)["cause"] == "completed"
    assert desk.known_run(blocked.run_id)["cause"] == "blocked"


def test_the_history_names_a_cause_that_the_hosts_words_hide(desk) -> None:
    task_id = desk.create(max_retries=9)
    for cause, kind in ((Cause.CRASHED, "crashed"), (Cause.BUDGET_EXHAUSTED, "timed_out")):
        fail(desk, desk.claim(task_id), cause)
        event = next(event for event in reversed(desk.events(task_id)) if event[0] == kind)
        assert event[1].get("cause") == (None if cause == kind else cause.value)
    interrupt(desk, desk.claim(task_id))
    assert desk.last_event(task_id)[1]["cause"] == "interrupted"


def test_a_task_is_not_started_more_often_than_the_bound(desk) -> None:
    task_id = desk.create()
    for _ in range(3):
        lease = desk.claim(task_id)
        interrupt(desk, lease)
        desk.execute("UPDATE kp_runs SET ended_at = :now WHERE run_id = :id", now=desk.now, id=lease.run_id)
        desk.board.clock.advance(60)
    assert queries.candidates(desk.writer, desk.now, 300, 3) == []
    assert [task.id for task in queries.candidates(desk.writer, desk.now, 300, 4)] == [task_id]
    desk.board.clock.advance(3600 - 180)
    assert [task.id for task in queries.candidates(desk.writer, desk.now, 300, 3)] == [task_id]
