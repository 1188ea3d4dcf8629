"""Failure modes, group F: failure accounting. One test per row of docs/reference/failure-modes.md."""

from __future__ import annotations

import errno
import itertools
import os
import signal

import pytest

from hermes_kanban_plugin.causes import Cause
from hermes_kanban_plugin.store import outages
from tests.conftest import wait_for
from tests.failure_modes.conftest import reason


def test_F1_a_human_gate_opens_for_nobody_but_a_person(stage) -> None:
    """Created blocked, blocked by its worker, blocked behind a parent; ticks, a restart, the parent's end."""
    parent = stage.create()
    created = stage.create(initial_status="blocked")
    behind = stage.create(initial_status="blocked", parents=(parent,))
    by_worker = stage.create()
    assert set(stage.started()) == {parent, by_worker}
    assert stage.block(by_worker, "which colour?", "needs_input") == "blocked"
    stage.complete(parent)
    for _ in range(50):
        assert stage.started(60) == []
    stage.restart()
    assert stage.started(60) == []
    for task_id in (created, behind, by_worker):
        assert stage.status(task_id) == "blocked"
        assert "promoted" not in stage.kinds(task_id)
    stage.board.unblock(created, "ann")
    assert stage.started() == [created]


@pytest.mark.parametrize("kind", ["dependency", "transient", "capability", None])
def test_F2_the_second_block_of_a_kind_parks_and_there_is_no_third(stage, kind) -> None:
    task_id = stage.create()
    stage.tick()
    assert stage.block(task_id, "waiting", kind) == "blocked"
    stage.board.unblock(task_id, "ann")
    assert stage.started() == [task_id]
    assert stage.block(task_id, "waiting", kind) == "triage"
    for _ in range(30):
        assert stage.started(60) == []
    assert stage.runs(task_id) == 2


def test_F3_a_given_up_task_is_started_by_no_tick(stage) -> None:
    parent, task_id = stage.create(), stage.create()
    child = stage.create(parents=(task_id,))
    for _ in range(2):
        stage.tick()
        stage.fail(task_id)
    assert stage.status(task_id) == "blocked"
    stage.complete(parent)
    for _ in range(100):
        assert stage.started(600) == []
    assert stage.runs(task_id) == 2
    assert stage.kinds(task_id).count("gave_up") == 1
    assert stage.status(child) == "todo"


def test_F4_a_quota_wall_waits_for_the_time_that_the_provider_named(stage) -> None:
    task_id = stage.create()
    stage.tick()
    stage.release(task_id, Cause.RATE_LIMITED, reset_at=stage.now + 1234)
    assert stage.started(1233) == []
    assert stage.started(1) == [task_id]
    assert stage.columns(task_id, "consecutive_failures", "last_failure_error") == (0, None)


def test_F5_a_provider_that_refuses_for_a_day_is_asked_less_and_less_often(stage) -> None:
    task_id = stage.create()
    begin = stage.now
    for living in stage.run_until(begin + 86_400):
        for one in living:
            stage.release(one, Cause.RATE_LIMITED)
    starts = [at - begin for _, at in stage.puppets.starts]
    gaps = [later - earlier for earlier, later in itertools.pairwise(starts)]
    assert gaps == sorted(gaps)
    assert gaps[0] < 400
    assert gaps[-1] >= 3600
    assert len(starts) <= 30
    assert stage.kinds(task_id).count("rate_limit_persists") == 1  # a person is told once
    assert stage.columns(task_id, "status", "consecutive_failures") == ("ready", 0)


def test_F6_an_outage_throws_no_task_away(stage) -> None:
    """Ten tasks, a provider that is down for an hour, and all of them done after it, with nobody's help."""
    task_ids = [stage.create() for _ in range(10)]
    begin = stage.now
    for living in stage.run_until(begin + 3600):
        for task_id in living:
            stage.fail(task_id, error="connection refused by 10.0.0.1:443")
    spent = len(stage.puppets.starts)
    assert spent <= 10 + 10  # each once, then the probes
    assert {stage.columns(task_id, "status", "consecutive_failures") for task_id in task_ids} == {("ready", 0)}
    for living in stage.run_until(begin + 3600 + 1800 + 600):
        for task_id in living:
            stage.complete(task_id)
    assert {stage.status(task_id) for task_id in task_ids} == {"done"}
    assert len(stage.puppets.starts) == spent + 10
    assert outages.open_outages(stage.board.writer) == []


def test_F6_a_task_that_stays_broken_does_not_keep_the_others_waiting(stage) -> None:
    """The most important of five fails for good; the fault of the others is over when the outage has begun."""
    broken = stage.create(priority=9)
    others = [stage.create() for _ in range(4)]
    stage.tick()
    for task_id in (broken, *others):
        stage.fail(task_id, error="connection refused")
    for living in stage.run_until(stage.now + 1800):
        for task_id in living:
            if task_id == broken:
                stage.fail(task_id, error="connection refused")
            else:
                stage.complete(task_id)
    assert {stage.status(task_id) for task_id in others} == {"done"}
    assert outages.open_outages(stage.board.writer) == []


def test_F6_different_causes_are_counted_apart(stage) -> None:
    stage.configure(kanban={"failure_limit": 2})
    task_id = stage.create()
    for cause in (Cause.CRASHED, Cause.TIMED_OUT, Cause.SPAWN_FAILED, Cause.BUDGET_EXHAUSTED):
        assert stage.started(3600) == [task_id]
        assert stage.fail(task_id, cause) == "ready"
    assert stage.started(3600) == [task_id]
    assert stage.fail(task_id, Cause.TIMED_OUT) == "blocked"


@pytest.mark.parametrize(("limit", "own", "attempts"), [(1, None, 1), (3, None, 3), (3, 1, 1), (1, 4, 4)])
@pytest.mark.parametrize("cause", [cause for cause in Cause if cause.counts and cause is not Cause.PROTOCOL_VIOLATION])
def test_F6_the_limit_is_honoured_for_every_cause(stage, limit, own, attempts, cause) -> None:
    stage.configure(kanban={"failure_limit": limit})
    task_id = stage.create(max_retries=own)
    for attempt in range(1, attempts + 1):
        assert stage.started(3600) == [task_id]
        assert stage.fail(task_id, cause) == ("blocked" if attempt == attempts else "ready")


@pytest.mark.parametrize(("before", "after", "expected"), [(1, 3, "ready"), (3, 1, "blocked")])
def test_F6_the_limit_that_counts_is_the_one_in_force_when_an_attempt_ends(workshop, before, after, expected) -> None:
    """A real worker that was started under another limit; supervisors read no settings."""
    lanes = {"lane": "until test -e ../../../go; do sleep 0.05; done; exit 3"}
    workshop.configure(lanes, kanban={"failure_limit": before})
    task_id = workshop.board.create_task(title="w", assignee="lane")
    (started,) = workshop.tick().started
    workshop.configure(lanes, kanban={"failure_limit": after})
    workshop.tick()
    (workshop.home / "go").touch()
    workshop.ended(started.run_id)
    assert workshop.board.task(task_id).status == expected


def test_F7_dying_before_the_first_sign_of_life_counts_too(workshop) -> None:
    """A worker that dies at once is a real process here: nothing of it may escape the counter."""
    workshop.configure({"lane": "kill -9 $$"}, kanban={"failure_limit": 3}, retry_base_seconds=0)
    task_id = workshop.board.create_task(title="w", assignee="lane")
    assert workshop.settle(task_id, "blocked") == "blocked"
    runs = workshop.board.runs(task_id)
    assert [run.cause for run in runs] == ["crashed"] * 3
    assert {run.last_heartbeat_at for run in runs} == {None}


def test_F9_six_that_time_out_together_do_not_come_back_together(stage) -> None:
    task_ids = [stage.create() for _ in range(6)]
    assert len(stage.started()) == 6
    stage.clock.advance(600)
    for task_id in task_ids:
        stage.fail(task_id, Cause.TIMED_OUT, "ran 600 s, longer than its limit of 600 s")
    returns: dict[str, int] = {}
    begin = stage.now
    for living in stage.run_until(begin + 7200, step=5):
        for task_id in living:
            returns.setdefault(task_id, stage.now)
            if stage.now - returns[task_id] >= 60:
                stage.complete(task_id)
    assert set(returns) == set(task_ids)
    first, *others = sorted(returns.values())
    assert others[0] >= first + 60  # one of them tries first, alone
    assert len(set(others)) == 5
    assert {stage.status(task_id) for task_id in task_ids} == {"done"}


def test_F10_a_finished_task_is_not_run_again_by_a_restart(stage) -> None:
    """Not by a restart, and not by somebody who writes ``running`` on it without a run."""
    task_id = stage.create()
    stage.tick()
    stage.complete(task_id, "first and only")
    stage.restart()
    assert stage.started(600) == []
    stage.execute("UPDATE tasks SET status = 'running' WHERE id = :id", id=task_id)
    for _ in range(20):
        assert stage.started(600) == []
    assert (stage.status(task_id), stage.runs(task_id)) == ("done", 1)


def test_F10_a_finished_task_that_a_person_opened_again_is_run_again(stage) -> None:
    task_id = stage.create()
    stage.tick()
    stage.complete(task_id)
    stage.execute("UPDATE tasks SET status = 'ready', completed_at = NULL WHERE id = :id", id=task_id)
    stage.execute(
        "INSERT INTO task_events (task_id, kind, created_at) VALUES (:id, 'status', :now)", id=task_id, now=stage.now
    )
    assert stage.started() == [task_id]


def test_F11_what_the_machine_does_costs_the_task_nothing(stage) -> None:
    """The dispatcher and all workers die, twice."""
    task_ids = sorted(stage.create() for _ in range(3))
    for _ in range(2):
        assert sorted(stage.started()) == task_ids
        stage.vanish(*task_ids)
        stage.restart()
    assert sorted(stage.started()) == task_ids
    for task_id in task_ids:
        assert stage.columns(task_id, "status", "consecutive_failures") == ("running", 0)
        # Counted by itself, so that a report can tell.
        assert [run.cause for run in stage.board.runs(task_id)] == ["infrastructure", "infrastructure", None]


def test_F11_a_machine_that_is_short_of_something_for_a_moment_costs_no_task_its_starts(stage) -> None:
    """No descriptors are left for a few seconds, while the dispatcher ticks as fast as it can; then all goes on."""
    task_ids = [stage.create() for _ in range(3)]
    with stage.scarcity(errno.EMFILE):
        for _ in range(60):
            assert stage.started(0.05) == []
    assert {stage.runs(task_id) for task_id in task_ids} <= {2, 3}
    assert {stage.columns(task_id, "status", "consecutive_failures") for task_id in task_ids} == {("ready", 0)}
    answer = reason(stage, task_ids[0])
    assert (answer.code, answer.next.by) == ("backoff", "timer")
    assert "short of resources" in answer.reason
    assert sorted(stage.started(10) + stage.started(10)) == sorted(task_ids)


def test_I5_no_cause_whatever_starts_a_task_more_often_than_the_bound(stage) -> None:
    stage.configure(max_starts_per_hour=4)
    task_id = stage.create()
    begin = stage.now
    for living in stage.run_until(begin + 4 * 3600, step=20):
        for one in living:
            stage.release(one, Cause.INTERRUPTED)
    assert stage.starts_within_an_hour() == 4
    assert len(stage.puppets.starts) >= 16
    assert stage.status(task_id) == "ready"


def test_F4_and_F7_a_worker_that_says_later_and_one_that_dies_are_told_apart(workshop) -> None:
    workshop.configure({"later": "exit 75", "dies": "exit 1"})
    later, dies = (workshop.board.create_task(title="w", assignee=name) for name in ("later", "dies"))
    runs = {started.task_id: started.run_id for started in workshop.tick().started}
    assert workshop.ended(runs[later]).cause == "rate_limited"
    assert workshop.ended(runs[dies]).cause == "crashed"
    counts = {one: workshop.board.task(one).consecutive_failures for one in (later, dies)}
    assert counts == {later: 0, dies: 1}


def test_F11_a_supervisor_that_was_killed_costs_the_task_nothing(workshop) -> None:
    workshop.configure({"lane": "test -e ../../second || { touch ../../second; sleep 600; }"})
    task_id = workshop.board.create_task(title="w", assignee="lane")
    workshop.tick()
    wait_for((workshop.home / "kanban" / "second").exists, "the first attempt to begin")
    os.kill(workshop.run(task_id).supervisor_pid, signal.SIGKILL)
    assert workshop.settle(task_id, "done") == "done"
    first, second = workshop.board.runs(task_id)
    assert (first.cause, first.outcome) == ("infrastructure", "reclaimed")
    assert second.cause == "completed"
    assert workshop.board.task(task_id).consecutive_failures == 0
