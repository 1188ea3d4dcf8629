"""The launch in three steps: a refused claim never starts a worker, and a lost one ends it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from hermes_kanban_plugin.store.outcomes import Handoff
from hermes_kanban_plugin.supervisor import launcher
from hermes_kanban_plugin.supervisor.order import Order
from hermes_kanban_plugin.testing import claim_one
from tests.conftest import lives, wait_for


def order_for(workshop, lease, line: str, **changes) -> Order:
    fields = {
        "root": str(workshop.home),
        "database": str(workshop.database),
        "lease": lease,
        "argv": ["sh", "-c", line],
        "environment": {"PATH": os.environ["PATH"], "HERMES_KANBAN_CLAIM_LOCK": lease.lock},
        "directory": str(workshop.home),
        "log": str(workshop.home / "worker.log"),
        "workspaces": str(workshop.home / "kanban" / "workspaces"),
        "completes": True,
        "lease_seconds": 60,
        "grace_seconds": 1.0,
        "farewell_seconds": 1.0,
    }
    return Order(**{**fields, **changes})


def test_a_claim_that_was_taken_back_never_starts_the_worker(workshop):
    task_id = workshop.board.create_task(title="x", assignee="lane")
    lease = claim_one(workshop.board, task_id)
    workshop.board.reclaim(workshop.board.task(task_id), "changed my mind", "tester")
    launched = launcher.launch(order_for(workshop, lease, "touch started"))
    assert launched._process.wait(timeout=30) == 1
    assert not (workshop.home / "started").exists()
    assert "not started" in (workshop.home / "worker.log").read_text()


def test_two_supervisors_of_one_claim_start_one_worker(workshop):
    task_id = workshop.board.create_task(title="x", assignee="lane")
    lease = claim_one(workshop.board, task_id)
    both = [launcher.launch(order_for(workshop, lease, "echo . >> started; sleep 0.5")) for _ in range(2)]
    assert sorted(launched._process.wait(timeout=30) for launched in both) == [0, 1]
    assert (workshop.home / "started").read_text() == ".\n"
    assert workshop.board.task(task_id).status == "done"


@pytest.mark.parametrize("text", ["", '{"database": "/x"', '{"database": "/x"}', "[]"])
def test_an_order_that_was_cut_off_starts_nothing(text):
    done = subprocess.run(
        [sys.executable, "-I", "-S", str(launcher.ENTRY)], input=text, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "Traceback" not in done.stderr


def test_a_launch_that_dies_is_booked_at_the_next_tick_and_not_after_the_deadline(workshop, monkeypatch, tmp_path):
    entry = tmp_path / "broken.py"
    entry.write_text("raise SystemExit(7)")
    monkeypatch.setattr(launcher, "ENTRY", entry)
    workshop.configure({"lane": "true"}, kanban={"failure_limit": 1})
    task_id = workshop.board.create_task(title="x", assignee="lane")
    assert workshop.settle(task_id, "blocked") == "blocked"
    assert workshop.board.runs(task_id)[0].outcome == "gave_up"
    assert "status 7" in workshop.board.runs(task_id)[0].error


def test_a_machine_that_has_no_process_left_for_the_worker_is_not_the_tasks_fault(workshop, monkeypatch, tmp_path):
    entry = tmp_path / "crowded.py"
    entry.write_text(
        f"import errno, os, sys\nsys.path.insert(0, {str(Path(launcher.ENTRY).parents[2])!r})\n"
        "def full():\n    raise OSError(errno.EAGAIN, 'no process left')\n"
        "os.fork = full\nfrom hermes_kanban_plugin.supervisor.shim import main\nsys.exit(main())\n"
    )
    monkeypatch.setattr(launcher, "ENTRY", entry)
    workshop.configure({"lane": "true"}, kanban={"failure_limit": 1})
    task_id = workshop.board.create_task(title="x", assignee="lane")
    (started,) = workshop.tick().started
    workshop.settle(task_id, "ready", "blocked")
    run = workshop.ended(started.run_id)
    assert (run.cause, workshop.board.task(task_id).consecutive_failures) == ("infrastructure", 0)
    (log,) = workshop.board.location.logs.glob(f"{task_id}.log")
    assert "not started: " in log.read_text()
    assert "Traceback" not in log.read_text()


def test_an_operator_who_takes_the_task_stops_the_worker_before_another_starts(workshop):
    workshop.configure({"lane": "sleep 600"})
    task_id = workshop.board.create_task(title="x", assignee="lane")
    workshop.tick()
    held = workshop.run(task_id)
    workshop.board.reclaim(workshop.board.task(task_id), None, "tester")
    while workshop.board.task(task_id).status != "running":
        alive = lives(held.worker_pid)
        report = workshop.tick()
        assert not (alive and report.started), "a second worker was started beside the first"
    assert not lives(held.worker_pid)


def test_an_operator_who_completes_a_running_task_keeps_the_workspace_until_the_worker_is_gone(workshop):
    workshop.configure({"lane": "trap '' TERM; sleep 600"})
    task_id = workshop.board.create_task(title="x", assignee="lane")
    workshop.tick()
    held = workshop.run(task_id)
    workspace = Path(workshop.board.task(task_id).workspace_path)
    os.kill(held.supervisor_pid, signal.SIGSTOP)
    workshop.board.complete(task_id, Handoff("by hand"), "tester")
    workshop.tick()
    assert workspace.exists()
    os.kill(held.supervisor_pid, signal.SIGCONT)
    workshop.ended(held.run_id)
    workshop.tick()
    assert not workspace.exists()
    assert not lives(held.worker_pid)
    assert workshop.board.task(task_id).result is None


def test_the_lease_is_renewed_while_the_worker_lives(workshop):
    workshop.configure({"lane": "sleep 600"}, lease_seconds=6)
    task_id = workshop.board.create_task(title="x", assignee="lane")
    workshop.tick()
    first = workshop.run(task_id).claim_expires
    wait_for(lambda: (workshop.board.task(task_id).claim_expires or 0) > first, "the lease to be renewed")
    assert workshop.board.task(task_id).last_heartbeat_at is None  # renewing is not a sign of work
