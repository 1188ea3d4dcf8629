"""The cause that stands on the board for each way in which a real worker can end, and what it costs the task."""

from __future__ import annotations

import json
import os
import signal

import pytest

from hermes_kanban_plugin.causes import Cause
from hermes_kanban_plugin.supervisor.order import Order
from tests.conftest import wait_for

BEGIN = "touch ../../begun; "


def start(workshop, line: str, *, begun: bool = False, **fields) -> tuple[str, int]:
    """Start a worker with a shell line; returns task id and run id."""
    workshop.configure({"lane": (BEGIN if begun else "") + line})
    task_id = workshop.board.create_task(title="work", assignee="lane", **fields)
    (started,) = workshop.tick().started
    if begun:
        wait_for((workshop.home / "kanban" / "begun").exists, "the worker to begin")
    return task_id, started.run_id


@pytest.mark.parametrize(
    ("line", "cause", "counted"),
    [
        ("true", Cause.COMPLETED, 0),
        ("exit 3", Cause.CRASHED, 1),
        ("kill -SEGV $$", Cause.CRASHED, 1),
        ("exit 75", Cause.RATE_LIMITED, 0),
        ("kill -TERM $$", Cause.INTERRUPTED, 0),
        ("kill -HUP $$", Cause.INTERRUPTED, 0),
    ],
)
def test_a_worker_that_ends_by_itself(workshop, line: str, cause: Cause, counted: int) -> None:
    task_id, run_id = start(workshop, line)
    run = workshop.ended(run_id)
    assert (run.cause, run.outcome) == (cause, cause.words.outcome)
    assert workshop.board.task(task_id).consecutive_failures == counted


def test_a_worker_that_takes_too_long(workshop) -> None:
    task_id, run_id = start(workshop, "sleep 600", max_runtime_seconds=1)
    assert workshop.ended(run_id).cause == "timed_out"
    assert workshop.board.task(task_id).consecutive_failures == 1


def test_a_worker_whose_supervisor_is_told_to_stop(workshop) -> None:
    task_id, run_id = start(workshop, "sleep 600", begun=True)
    os.kill(workshop.run(task_id).supervisor_pid, signal.SIGTERM)
    assert workshop.ended(run_id).cause == "interrupted"
    assert workshop.board.task(task_id).consecutive_failures == 0


def test_a_worker_that_cannot_be_started(workshop) -> None:
    workshop.configure({"lane": ""})
    (workshop.home / "config.yaml").write_text(
        '{"plugins": {"entries": {"hermes-kanban": {"lanes": {"lane": {"command": ["/no/such/program"]}}}}}}'
    )
    task_id = workshop.board.create_task(title="work", assignee="lane")
    run = workshop.ended(workshop.tick().started[0].run_id)
    assert (run.cause, run.outcome) == ("spawn_failed", "spawn_failed")
    assert workshop.board.task(task_id).consecutive_failures == 1


def test_a_worker_whose_task_a_person_took_away(workshop) -> None:
    task_id, run_id = start(workshop, "sleep 600", begun=True)
    workshop.board.reclaim(workshop.board.task(task_id), "mine", "ann")
    assert workshop.ended(run_id).cause == "superseded"
    assert workshop.board.task(task_id).consecutive_failures == 0


def test_K2_the_output_of_a_run_is_its_own(workshop) -> None:
    """The log goes on from run to run; one that dies before it prints has printed nothing."""
    workshop.configure({"lane": "test -e ../../second && kill -9 $$; touch ../../second; echo all is well; exit 3"})
    task_id = workshop.board.create_task(title="work", assignee="lane", max_retries=3)
    workshop.tick()
    second = wait_for(lambda: _second_run(workshop, task_id), "the second attempt")
    workshop.ended(second)
    first, last = workshop.board.runs(task_id)[:2]
    assert (first.last_output, last.last_output) == ("all is well", None)


def _second_run(workshop, task_id: str) -> int | None:
    workshop.tick()
    runs = workshop.board.runs(task_id)
    return runs[1].id if len(runs) > 1 else None


def test_a_dispatcher_of_an_older_version_is_understood(workshop) -> None:
    fields = {
        "root": "/r", "database": "/d", "lease": ["t_1", 1, "l"], "argv": ["true"], "environment": {},
        "directory": "/", "log": "/l", "workspaces": "/w", "completes": True, "lease_seconds": 60,
        "grace_seconds": 1.0, "farewell_seconds": 1.0, "failure_limit": 7,
    }  # fmt: skip
    assert Order.from_json(json.dumps(fields)).terms.failure_limit == 7
    order = Order.from_json(json.dumps(fields))
    assert Order.from_json(order.to_json()) == order
