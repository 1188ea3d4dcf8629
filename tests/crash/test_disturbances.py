"""What else happens to machines: a locked board, a renamed host, a jumping clock, a silent worker, a crash of many."""

from __future__ import annotations

import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import threading

import pytest

from hermes_kanban_plugin import identity
from hermes_kanban_plugin.dispatch.tick import tick
from hermes_kanban_plugin.manager import Manager
from hermes_kanban_plugin.runtime import Runtime
from hermes_kanban_plugin.store import leases
from hermes_kanban_plugin.testing import claim_one
from tests.conftest import lives, wait_for


def test_a_worker_that_ends_while_the_board_is_locked_by_somebody_else_is_booked_afterwards(workshop):
    workshop.configure({"lane": "sleep 0.3; echo worked"})
    task_id = workshop.board.create_task(title="x", assignee="lane")
    workshop.tick()
    run = workshop.run(task_id)
    other = sqlite3.connect(workshop.database, isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    wait_for(lambda: not lives(run.worker_pid), "the worker to end")
    assert workshop.board.task(task_id).status == "running"
    threading.Timer(1.0, lambda: other.execute("ROLLBACK")).start()
    assert workshop.ended(run.run_id).outcome == "completed"
    other.close()


def test_a_board_that_is_locked_longer_than_the_lease_costs_the_attempt_and_nothing_else(workshop, monkeypatch):
    monkeypatch.setenv("HERMES_KANBAN_BUSY_TIMEOUT_MS", "200")
    workshop.configure({"lane": "test -e ../again && exit 0; touch ../again; sleep 600"}, lease_seconds=6)
    task_id = workshop.board.create_task(title="x", assignee="lane")
    workshop.tick()
    run = workshop.run(task_id)
    other = sqlite3.connect(workshop.database, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    wait_for(lambda: not lives(run.worker_pid), "the supervisor to stop what it can no longer vouch for")
    other.execute("ROLLBACK")
    other.close()
    found = workshop.ended(run.run_id)
    assert (found.outcome, workshop.board.task(task_id).consecutive_failures) == ("reclaimed", 0)
    assert workshop.settle(task_id, "done") == "done"


def test_a_new_host_name_changes_nothing(workshop, monkeypatch):
    workshop.configure({"lane": "sleep 600"})
    task_id = workshop.board.create_task(title="x", assignee="lane")
    workshop.tick()
    run = workshop.run(task_id)
    monkeypatch.setattr(socket, "gethostname", lambda: "renamed")
    assert workshop.tick().rescued == []
    os.kill(run.supervisor_pid, signal.SIGKILL)
    workshop.configure({})
    assert workshop.settle(task_id, "ready") == "ready"
    assert workshop.board.runs(task_id)[0].outcome == "reclaimed"


def test_a_supervisor_whose_wall_clock_jumps_renews_at_once(home, clock):
    """The board's clock is the wall clock; the supervisor's own waiting is not."""
    from hermes_kanban_plugin.supervisor.shim import Supervisor
    from tests.supervisor.test_acceptance import order_for

    class Shop:
        def __init__(self, board) -> None:
            self.home, self.database = home, board.location.database

    from hermes_kanban_plugin.testing import make_board

    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGCHLD)}
    with make_board(home / "kanban.db", clock) as board:
        task_id = board.create_task(title="x", assignee="lane")
        lease = claim_one(board, task_id)
        supervisor = Supervisor(order_for(Shop(board), lease, "true"), clock)
        me = identity.capture(os.getpid())
        leases.accept(board.writer, lease, me, me, clock.now() + 60, clock.now())
        supervisor._expires, supervisor._lease_ends = clock.now() + 60, clock.monotonic() + 60
        clock.jump(7200)
        supervisor._renew_if_due(clock.monotonic())
        assert board.task(task_id).claim_expires == clock.now() + 60
        clock.jump(-7200)
        supervisor._renew_if_due(clock.monotonic())
        assert board.task(task_id).claim_expires >= clock.now() + 60
        supervisor._writer.close()
        supervisor._reader.close()
    signal.set_wakeup_fd(-1)
    for number, handler in handlers.items():
        signal.signal(number, handler)


def test_a_hermes_worker_that_ends_silently_has_violated_the_protocol(workshop, monkeypatch, tmp_path):
    silent = tmp_path / "hermes"
    silent.write_text("#!/bin/sh\nexit 0\n")
    silent.chmod(0o755)
    monkeypatch.setenv("HERMES_BIN", str(silent))
    (workshop.home / "profiles" / "writer").mkdir(parents=True)
    task_id = workshop.board.create_task(title="x", assignee="writer")
    assert workshop.settle(task_id, "blocked") == "blocked"
    kinds = [event.kind for event in workshop.board.events(task_id)]
    assert kinds.count("protocol_violation") == 2
    assert kinds[-1] == "gave_up"


def test_a_fresh_run_does_not_inherit_the_heartbeat_of_the_one_before(board, home, clock):
    task_id = board.create_task(title="x", assignee="nobody")
    first = claim_one(board, task_id)
    board.heartbeat(first, 60)
    board.reclaim(board.task(task_id), None, "tester")
    clock.advance(8 * 3600)
    second = claim_one(board, task_id, seconds=60, nonce="n1")
    me = identity.capture(os.getpid())
    leases.accept(board.writer, second, me, me, clock.now() + 120, clock.now())
    assert board.task(task_id).last_heartbeat_at is None
    runtime = Runtime(home, clock, Manager(discover=False))
    assert tick(board, runtime).rescued == []
    runtime.close()


def test_after_a_crash_of_the_dispatcher_workers_come_back_step_by_step(workshop):
    workshop.configure({"lane": "sleep 600"})
    command = [sys.executable, "-m", "hermes_kanban_plugin.cli.main", "dispatcher", "--json", "--stop-workers"]
    first = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_for(lambda: _terms(workshop) == 1, "the first dispatcher to serve")
    first.kill()
    first.wait()
    for _ in range(6):
        workshop.board.create_task(title="x", assignee="lane")
    second = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        reports = [json.loads(second.stdout.readline()) for _ in range(2)]
    finally:
        second.terminate()
        second.wait(timeout=60)
        second.stdout.close()
    assert [len(report["started"]) for report in reports] == [1, 2]


def _terms(workshop) -> int:
    found = workshop.board.writer.execute("SELECT count(*) FROM kp_dispatchers").fetchone()
    return found[0]


@pytest.mark.parametrize("drift", [-0.04, 0.04])
def test_a_start_time_that_drifts_a_little_is_still_the_same_process(board, home, clock, drift):
    task_id = board.create_task(title="x", assignee="nobody")
    lease = claim_one(board, task_id)
    me = identity.capture(os.getpid())
    drifted = me._replace(started=(me.started or 0) + drift)
    leases.accept(board.writer, lease, drifted, drifted, clock.now() + 120, clock.now())
    runtime = Runtime(home, clock, Manager(discover=False))
    assert tick(board, runtime).rescued == []
    runtime.close()


def test_a_zombie_is_dead(board, home, clock):
    task_id = board.create_task(title="x", assignee="nobody")
    lease = claim_one(board, task_id)
    child = subprocess.Popen(["true"])
    zombie = identity.capture(child.pid)
    wait_for(lambda: identity.sight(child.pid).zombie, "the child to end, unburied")
    leases.accept(board.writer, lease, zombie, zombie, clock.now() + 120, clock.now())
    runtime = Runtime(home, clock, Manager(discover=False))
    assert [saved.task_id for saved in tick(board, runtime).rescued] == [task_id]
    runtime.close()
    child.wait()
