"""Runs whose owner is gone: what a tick takes back, what it leaves alone, and what it counts."""

from __future__ import annotations

import os
import signal
import subprocess

import pytest

from hermes_kanban_plugin import identity
from hermes_kanban_plugin.dispatch.tick import tick
from hermes_kanban_plugin.manager import Manager
from hermes_kanban_plugin.models import TERMINAL
from hermes_kanban_plugin.runtime import Runtime
from hermes_kanban_plugin.store import leases
from hermes_kanban_plugin.testing import claim_one, violations
from tests.conftest import host_lock, lives


@pytest.fixture
def runtime(home, clock):
    serving = Runtime(home, clock, Manager(discover=False))
    yield serving
    serving.close()


def held(board, **identity_changes) -> tuple[str, leases.Lease]:
    """A running task whose supervisor and worker are processes that ended a moment ago."""
    task_id = board.create_task(title="x", assignee="nobody")
    lease = claim_one(board, task_id)
    ended = subprocess.Popen(["true"])
    gone = identity.capture(ended.pid)
    ended.wait()
    gone = gone._replace(**identity_changes)
    now = board.clock.now()
    leases.accept(board.writer, lease, gone, gone, now + 120, now)
    return task_id, lease


def test_a_dead_supervisor_and_worker_are_rescued_at_once_and_not_counted(board, runtime):
    task_id, lease = held(board)
    report = tick(board, runtime)
    assert [(saved.task_id, saved.run_id) for saved in report.rescued] == [(task_id, lease.run_id)]
    task = board.task(task_id)
    assert (task.status, task.consecutive_failures, task.claim_lock) == ("ready", 0, None)
    run = board.runs(task_id)[0]
    assert (run.outcome, run.error) == ("reclaimed", "its supervisor and its worker died")
    event = board.events(task_id)[-1]
    assert (event.kind, event.payload["verdict"]) == ("reclaimed", "dead")
    assert violations(board.path) == []


def test_after_a_reboot_everything_is_rescued_without_waiting_for_the_lease(board, runtime):
    task_id, _ = held(board, boot_id="an earlier boot", pid=os.getpid())
    tick(board, runtime)
    assert board.task(task_id).status == "ready"


@pytest.mark.parametrize("foreign", [{"host_id": "another machine"}, {"pid_namespace": "pid:[1]"}])
def test_what_cannot_be_seen_from_here_waits_for_its_lease(board, runtime, clock, foreign):
    task_id, _ = held(board, **foreign)
    assert tick(board, runtime).rescued == []
    clock.advance(119)
    assert tick(board, runtime).rescued == []
    clock.advance(1)
    assert tick(board, runtime).rescued == []  # one sweep alone does not act on what it cannot see
    assert tick(board, runtime).rescued == []  # nor twice within the same second
    clock.advance(1)
    assert [saved.task_id for saved in tick(board, runtime).rescued] == [task_id]


def test_a_renewal_between_two_sweeps_clears_the_doubt(board, runtime, clock):
    task_id, lease = held(board, host_id="another machine")
    clock.advance(120)
    tick(board, runtime)
    board.heartbeat(lease, 60)
    clock.advance(1)
    tick(board, runtime)
    clock.advance(60)
    assert tick(board, runtime).rescued == []
    assert board.task(task_id).status == "running"


def test_a_reused_pid_is_not_our_worker_and_is_not_touched(board, runtime):
    innocent = subprocess.Popen(["sleep", "600"])
    try:
        task_id, _ = held(board, pid=innocent.pid, started=1.0)
        assert [saved.task_id for saved in tick(board, runtime).rescued] == [task_id]
        assert lives(innocent.pid)
    finally:
        innocent.kill()
        innocent.wait()


@pytest.mark.parametrize("jump", [7200, -7200])
def test_a_clock_jump_does_not_take_a_task_from_a_living_supervisor(board, runtime, clock, jump):
    task_id = board.create_task(title="x", assignee="nobody")
    lease = claim_one(board, task_id)
    me = identity.capture(os.getpid())
    leases.accept(board.writer, lease, me, me, clock.now() + 120, clock.now())
    clock.jump(jump)
    assert tick(board, runtime).rescued == []
    assert board.task(task_id).status == "running"


def test_a_claim_that_nobody_accepted_is_rescued_after_its_launch_deadline(board, runtime, clock):
    task_id = board.create_task(title="x", assignee="nobody")
    lease = claim_one(board, task_id, seconds=30)
    assert tick(board, runtime).rescued == []
    clock.advance(30)
    tick(board, runtime)
    assert board.task(task_id).status == "ready"
    me = identity.capture(os.getpid())
    with pytest.raises(leases.Superseded):
        leases.accept(board.writer, lease, me, me, clock.now() + 120, clock.now())


def test_a_terminal_claim_lives_by_its_lease_and_its_heartbeats(board, runtime, clock):
    task_id = board.create_task(title="x", assignee="me")
    lease = claim_one(board, task_id, seconds=900, lane=TERMINAL)
    clock.advance(899)
    board.heartbeat(lease, 900)
    clock.advance(899)
    assert tick(board, runtime).rescued == []
    clock.advance(1)
    assert [saved.task_id for saved in tick(board, runtime).rescued] == [task_id]


def test_a_worker_of_the_hosts_own_dispatcher_that_died_is_a_counted_crash(board, runtime):
    task_id = board.create_task(title="x", assignee="w")
    ended = subprocess.Popen(["true"])
    ended.wait()
    lock = host_lock()
    board.writer.execute(
        "INSERT INTO task_runs (task_id, status, claim_lock, started_at) VALUES (?, 'running', ?, 1)", (task_id, lock)
    )
    board.writer.execute(
        "UPDATE tasks SET status = 'running', claim_lock = ?, claim_expires = ?, worker_pid = ?, current_run_id = 1",
        (lock, board.clock.now() + 900, ended.pid),
    )
    tick(board, runtime)
    task = board.task(task_id)
    assert (task.status, task.consecutive_failures) == ("ready", 1)
    assert board.runs(task_id)[0].outcome == "crashed"


def test_a_killed_supervisor_costs_its_worker_too_and_no_failure(workshop):
    workshop.configure({"lane": "sleep 600"})
    task_id = workshop.board.create_task(title="x", assignee="lane")
    workshop.tick()
    run = workshop.run(task_id)
    os.kill(run.supervisor_pid, signal.SIGKILL)
    workshop.configure({})  # nobody to start: the task stays where the rescue puts it
    assert workshop.settle(task_id, "ready") == "ready"
    assert not lives(run.worker_pid)
    assert workshop.board.task(task_id).consecutive_failures == 0


def test_a_restarted_dispatcher_adopts_living_workers_and_rescues_dead_ones(workshop):
    workshop.configure({"lane": "sleep 600"})
    alive, dead = (workshop.board.create_task(title="x", assignee="lane") for _ in range(2))
    workshop.tick()
    survivor, victim = workshop.run(alive), workshop.run(dead)
    launched = list(workshop.runtime.launched)
    workshop.restart()
    for pid in (victim.supervisor_pid, victim.worker_pid):
        os.kill(pid, signal.SIGKILL)
    for one in launched:
        if one.pid == victim.supervisor_pid:
            one._process.wait()
    report = workshop.tick(may_start=False)
    assert [saved.task_id for saved in report.rescued] == [dead]
    assert workshop.board.task(alive).current_run_id == survivor.run_id
    assert lives(survivor.worker_pid)
    workshop.runtime.launched.extend(launched)


def test_claims_on_tasks_that_do_not_run_are_cleared_and_said(board, runtime):
    task_id = board.create_task(title="x")
    board.writer.execute("UPDATE tasks SET claim_lock = 'gone:1' WHERE id = ?", (task_id,))
    assert violations(board.path)
    report = tick(board, runtime)
    assert [(found.task_id, found.reason) for found in report.repaired] == [(task_id, "claim on a task that is ready")]
    assert violations(board.path) == []


def test_an_idle_tick_writes_nothing(board, runtime):
    board.create_task(title="waits for nobody")
    tick(board, runtime)
    before = board.data_version(), board.writer.total_changes
    assert not tick(board, runtime).busy
    assert (board.data_version(), board.writer.total_changes) == before
