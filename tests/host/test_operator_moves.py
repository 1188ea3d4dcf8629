"""What a person does to a running task with the host's own command: our worker is stopped before another starts."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.conftest import lives, wait_for

MOVES = {
    "block": ["block", "{task}", "stop it"],
    "schedule": ["schedule", "{task}", "later"],
    "archive": ["archive", "{task}"],
    "complete": ["complete", "{task}", "--result", "by hand"],
}


def kanban(*arguments: str) -> str:
    environment = {**os.environ, "HERMES_DISABLE_LAZY_INSTALLS": "1"}
    command = [sys.executable, "-m", "hermes_cli.main", "kanban", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, timeout=60)
    return done.stdout + done.stderr


def started(workshop):
    workshop.configure({"lane": "sleep 600"})
    task_id = workshop.board.create_task(title="x", assignee="lane")
    workshop.tick()
    return task_id, workshop.run(task_id)


@pytest.mark.parametrize("move", MOVES)
def test_the_hosts_command_stops_our_worker(workshop, move):
    task_id, run = started(workshop)
    print(kanban(*(word.format(task=task_id) for word in MOVES[move])))
    assert workshop.board.task(task_id).status != "running"
    assert workshop.tick().started == []
    wait_for(lambda: not lives(run.worker_pid), "the worker to be stopped")
    workshop.ended(run.run_id)


def test_a_task_that_the_host_deletes_takes_its_worker_along(workshop):
    task_id, run = started(workshop)
    kanban("archive", task_id)
    kanban("archive", "--rm", task_id)
    assert [task.id for task in workshop.board.tasks(archived=True)] == []
    wait_for(lambda: not lives(run.worker_pid), "the worker to be stopped")
    ended = "SELECT ended_at FROM kp_runs WHERE run_id = :run_id"
    query = {"run_id": run.run_id}
    wait_for(lambda: workshop.board.reader.execute(ended, query).fetchone()[0], "the end to be written")


def test_a_reclaim_by_the_host_starts_the_next_attempt_only_after_the_first_is_gone(workshop):
    task_id, run = started(workshop)
    kanban("reclaim", task_id)
    while workshop.board.task(task_id).status != "running":
        alive = lives(run.worker_pid)
        assert not (workshop.tick().started and alive)
    assert not lives(run.worker_pid)
