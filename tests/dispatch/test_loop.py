"""The dispatcher as a process: one leader, clean stop, workers left alone, takeover."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from hermes_kanban_plugin import locations, locks
from hermes_kanban_plugin.board import open_board
from tests.conftest import lives, wait_for


@pytest.fixture
def dispatchers(workshop):
    """Start dispatcher processes that end with the test."""
    processes: list[subprocess.Popen[str]] = []

    def start() -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "hermes_kanban_plugin.cli.main", "dispatcher"]
        process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
        processes.append(process)
        return process

    yield start
    for process in processes:
        process.kill()
        process.wait()
        process.stderr.close()
    runs = "SELECT supervisor_pid FROM kp_runs WHERE ended_at IS NULL AND supervisor_pid IS NOT NULL"
    pids = [row[0] for row in workshop.board.writer.execute(runs)]
    for pid in pids:
        os.kill(pid, signal.SIGTERM)
    for pid in pids:
        wait_for(lambda pid=pid: not lives(pid), f"supervisor {pid} to end")


def status(workshop, task_id: str, wanted: str):
    wait_for(lambda: workshop.board.task(task_id).status == wanted, f"{task_id} to be {wanted}")


def test_a_chain_of_tasks_runs_to_its_end(workshop, dispatchers):
    workshop.configure({"lane": "true"})
    ids: list[str] = []
    for number in range(4):
        ids.append(workshop.board.create_task(title=str(number), assignee="lane", parents=tuple(ids[-1:])))
    dispatchers()
    status(workshop, ids[-1], "done")


def test_sigterm_ends_it_cleanly_and_leaves_the_workers(workshop, dispatchers):
    workshop.configure({"lane": "sleep 600"})
    task_id = workshop.board.create_task(title="x", assignee="lane")
    process = dispatchers()
    run = workshop.run(task_id)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=30) == 0
    assert "1 worker(s) go on" in process.stderr.read()
    assert lives(run.worker_pid)
    assert workshop.board.task(task_id).current_run_id == run.run_id


def test_a_second_dispatcher_takes_over_when_the_first_is_killed(workshop, dispatchers):
    workshop.configure({"lane": "true"})
    first = dispatchers()
    early = workshop.board.create_task(title="x", assignee="lane")
    status(workshop, early, "done")
    second = dispatchers()
    line = second.stderr.readline()
    assert "another dispatcher holds" in line
    first.kill()
    late = workshop.board.create_task(title="y", assignee="lane")
    status(workshop, late, "done")
    assert second.poll() is None


def test_a_dispatcher_that_waits_for_its_turn_can_be_stopped(workshop, dispatchers):
    dispatchers()
    lock = workshop.home / "kanban" / ".dispatcher.lock"
    wait_for(lock.exists, "the first dispatcher to lead")
    second = dispatchers()
    second.stderr.readline()
    second.send_signal(signal.SIGINT)
    assert second.wait(timeout=30) == 0


def test_killed_dispatcher_and_workers_are_started_again_without_a_failure(workshop, dispatchers):
    workshop.configure({"lane": "test -e ../go && exit 0; sleep 600"})
    task_id = workshop.board.create_task(title="x", assignee="lane")
    first = dispatchers()
    run = workshop.run(task_id)
    first.kill()
    first.wait()
    for pid in (run.supervisor_pid, run.worker_pid):
        os.kill(pid, signal.SIGKILL)
    (workshop.home / "kanban" / "workspaces" / "go").touch()
    dispatchers()
    status(workshop, task_id, "done")
    outcomes = [found.outcome for found in workshop.board.runs(task_id)]
    assert outcomes == ["reclaimed", "completed"]


def test_a_bad_edit_of_the_settings_keeps_the_dispatcher_serving(workshop, dispatchers):
    workshop.configure({"lane": "true"})
    process = dispatchers()
    early = workshop.board.create_task(title="x", assignee="lane")
    status(workshop, early, "done")
    (workshop.home / "config.yaml").write_text("kanban: [")
    late = workshop.board.create_task(title="y", assignee="lane")
    status(workshop, late, "done")
    assert process.poll() is None


def test_beside_it_a_single_tick_and_a_sweep_for_a_person_lead_to_what_they_should(workshop, dispatchers):
    """It keeps the tick lock; ``dispatch`` wakes it, and ``reclaim --stale`` does not wait for it."""
    workshop.configure({"lane": "sleep 600"})
    stale = workshop.board.create_task(title="x", assignee="nobody")
    process = dispatchers()
    wait_for(lambda: workshop.board.reader.execute("SELECT 1 FROM kp_dispatchers").fetchone(), "its first tick")
    wait_for(lambda: not tick_lock_is_free(workshop), "its lock")
    for verb in ("dispatch", "scan"):
        assert f"the dispatcher (pid {process.pid}) serves it" in said(verb)
    assert workshop.board.task(stale).status == "ready"
    assert "nothing" in said("reclaim", "--stale")
    process.send_signal(signal.SIGTERM)
    process.wait(timeout=30)
    assert tick_lock_is_free(workshop)


def tick_lock_is_free(workshop) -> bool:
    with locks.trying(locations.tick_lock(workshop.database)) as free:
        return free


def said(*words: str) -> str:
    command = [sys.executable, "-m", "hermes_kanban_plugin.cli.main", *words]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=15).stdout


def test_a_value_of_another_kind_on_one_board_ends_no_dispatcher(workshop, dispatchers):
    """Another program may write anything into an SQLite column; the other boards are served on."""
    workshop.configure({"lane": "true"})
    with open_board("spoilt", create=True) as spoilt:
        spoilt.create_task(title="y", assignee="lane")
        spoilt.writer.execute("UPDATE tasks SET priority = 'high'")
    task_id = workshop.board.create_task(title="x", assignee="lane")
    process = dispatchers()
    status(workshop, task_id, "done")
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=30) == 0
    assert "board=spoilt" in process.stderr.read()
