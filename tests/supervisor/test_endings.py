"""How a worker can end, and what the board says afterwards: real supervisors, real workers, real signals."""

from __future__ import annotations

import os
import signal
import sys

import psutil
import pytest

from tests.conftest import lives, wait_for


def start(workshop, line: str, **fields) -> tuple[str, int]:
    """Start a worker with a shell line; returns task id and run id."""
    workshop.configure({"lane": line})
    task_id = workshop.board.create_task(title="work", assignee="lane", **fields)
    report = workshop.tick()
    assert [started.task_id for started in report.started] == [task_id], report
    return task_id, report.started[0].run_id


def events(workshop, task_id: str) -> list[str]:
    return [event.kind for event in workshop.board.events(task_id)]


def test_exit_zero_completes_with_the_last_lines_as_summary(workshop):
    task_id, run_id = start(workshop, "echo one; echo two >&2; echo token=abcdef123456")
    run = workshop.ended(run_id)
    assert (run.outcome, run.exit_code, run.exit_signal) == ("completed", 0, None)
    assert run.summary == "one\ntwo\ntoken=***"
    assert run.peak_memory_bytes > 100_000
    assert workshop.board.task(task_id).status == "done"


def test_a_worker_that_fails_is_a_counted_crash(workshop):
    task_id, run_id = start(workshop, "echo no; exit 3")
    run = workshop.ended(run_id)
    assert (run.outcome, run.exit_code, run.last_output) == ("crashed", 3, "no")
    task = workshop.board.task(task_id)
    assert (task.status, task.consecutive_failures) == ("ready", 1)
    assert task.last_failure_error == "the worker ended with exit status 3"


def test_the_breaker_trips_at_the_limit_and_no_tick_undoes_it(workshop):
    task_id, _ = start(workshop, "exit 3")
    assert workshop.settle(task_id, "blocked") == "blocked"
    for _ in range(5):
        assert workshop.tick().started == []
    assert events(workshop, task_id)[-2:] == ["crashed", "gave_up"]
    assert len(workshop.board.runs(task_id)) == 2


def test_exit_75_means_later_and_counts_nothing(workshop):
    task_id, run_id = start(workshop, "exit 75")
    run = workshop.ended(run_id)
    assert run.outcome == "rate_limited"
    task = workshop.board.task(task_id)
    assert (task.status, task.consecutive_failures) == ("ready", 0)
    assert workshop.tick().started == []  # it has its pause


def test_a_killed_worker_is_noticed_by_its_supervisor_and_started_again(workshop, home):
    task_id, run_id = start(workshop, "test -e ../second || { touch ../second; sleep 600; }")
    wait_for((home / "kanban" / "workspaces" / "second").exists, "the first attempt to begin")
    os.kill(workshop.run(task_id).worker_pid, signal.SIGKILL)
    run = workshop.ended(run_id)
    assert (run.outcome, run.exit_signal) == ("crashed", signal.SIGKILL)
    assert workshop.settle(task_id, "done") == "done"


def test_a_program_that_does_not_exist_is_a_failed_launch(workshop):
    workshop.configure({})
    document = '{"plugins": {"entries": {"hermes-kanban": {"lanes": {"lane": {"command": ["/no/such/program"]}}}}}}'
    (workshop.home / "config.yaml").write_text(document)
    task_id = workshop.board.create_task(title="work", assignee="lane")
    run = workshop.ended(workshop.tick().started[0].run_id)
    assert run.outcome == "spawn_failed"
    assert "/no/such/program" in run.error
    assert workshop.board.task(task_id).consecutive_failures == 1


def test_a_workspace_that_cannot_be_made_is_a_failed_launch(workshop, home):
    workshop.configure({"lane": "true"})
    (home / "file").write_text("")
    path = str(home / "file" / "below")
    task_id = workshop.board.create_task(title="w", assignee="lane", workspace_kind="dir", workspace_path=path)
    report = workshop.tick()
    assert [failed.task_id for failed in report.failed] == [task_id]
    assert workshop.board.runs(task_id)[0].outcome == "spawn_failed"
    assert workshop.board.task(task_id).status == "ready"


def test_sigterm_to_the_supervisor_releases_the_task_and_counts_nothing(workshop):
    task_id, run_id = start(workshop, "sleep 600")
    held = workshop.run(task_id)
    os.kill(held.supervisor_pid, signal.SIGTERM)
    run = workshop.ended(run_id)
    assert (run.outcome, run.exit_signal) == ("reclaimed", signal.SIGTERM)
    task = workshop.board.task(task_id)
    assert (task.status, task.consecutive_failures) == ("ready", 0)
    assert not lives(held.worker_pid)


@pytest.mark.parametrize(
    "stubborn", ["trap '' TERM; sleep 600", "trap '' TERM; sh -c 'trap \"\" TERM; sleep 600' & wait"]
)
def test_a_worker_that_ignores_sigterm_is_killed_with_its_children(workshop, stubborn):
    task_id, run_id = start(workshop, stubborn)
    held = workshop.run(task_id)
    tree = [psutil.Process(held.worker_pid), *psutil.Process(held.worker_pid).children(recursive=True)]
    os.kill(held.supervisor_pid, signal.SIGTERM)
    assert workshop.ended(run_id).exit_signal in (signal.SIGKILL, signal.SIGTERM)
    assert [process for process in tree if process.is_running() and process.status() != "zombie"] == []


def test_a_stopped_worker_ends_too(workshop):
    task_id, run_id = start(workshop, "sleep 600")
    held = workshop.run(task_id)
    os.kill(held.worker_pid, signal.SIGSTOP)
    os.kill(held.supervisor_pid, signal.SIGTERM)
    assert workshop.ended(run_id).outcome == "reclaimed"


def test_children_that_outlive_a_finished_worker_are_swept_before_the_run_counts_as_ended(workshop, home):
    task_id, run_id = start(workshop, "sh -c 'trap \"\" TERM; echo $$ > ../child; sleep 600' & sleep 0.3; echo done")
    assert workshop.ended(run_id).outcome == "completed"
    child = int((home / "kanban" / "workspaces" / "child").read_text())
    assert not lives(child)
    assert workshop.board.task(task_id).status == "done"


def test_an_attempt_that_is_longer_than_its_limit_is_stopped_and_counted(workshop):
    task_id, run_id = start(workshop, "sleep 600", max_runtime_seconds=1)
    run = workshop.ended(run_id)
    assert run.outcome == "timed_out"
    assert workshop.board.task(task_id).consecutive_failures == 1
    event = next(event for event in workshop.board.events(task_id) if event.kind == "timed_out")
    assert event.payload["limit_seconds"] == 1


def test_a_worker_that_spoke_itself_is_believed_whatever_its_status(workshop):
    speak = f"{sys.executable} -m hermes_kanban_plugin.cli.main complete $HERMES_KANBAN_TASK --summary spoke; exit 9"
    task_id, run_id = start(workshop, speak)
    run = workshop.ended(run_id)
    assert (run.outcome, run.summary, run.exit_code) == ("completed", "spoke", 9)
    assert workshop.board.task(task_id).consecutive_failures == 0


def test_a_worker_that_stays_after_its_final_word_is_ended_after_a_while(workshop):
    speak = f"{sys.executable} -m hermes_kanban_plugin.cli.main complete $HERMES_KANBAN_TASK --summary x; sleep 600"
    _, run_id = start(workshop, speak)
    assert workshop.ended(run_id).exit_signal == signal.SIGTERM


def test_a_scratch_workspace_is_removed_when_its_worker_is_gone(workshop, home):
    task_id, run_id = start(workshop, "touch made")
    workshop.ended(run_id)
    workshop.tick()
    assert not (home / "kanban" / "workspaces" / task_id).exists()


def test_a_scratch_workspace_stays_for_children_that_may_read_it(workshop, home):
    workshop.configure({"lane": "echo x > made", "reader": "cat ../*/made"})
    parent = workshop.board.create_task(title="p", assignee="lane")
    child = workshop.board.create_task(title="c", assignee="reader", parents=(parent,))
    assert workshop.settle(child, "done", "blocked") == "done"
    assert workshop.board.runs(child)[-1].summary == "x"
    workshop.settle(child, "done")
    assert not (home / "kanban" / "workspaces" / parent).exists()


def test_a_grace_that_is_longer_than_the_lease_does_not_cost_the_finished_work(workshop):
    """Stubborn children of a worker that succeeded keep the run open; its supervisor renews meanwhile."""
    line = (
        "sh -c 'trap \"\" TERM; touch ../up; sleep 600 & wait; sleep 600' & while ! test -e ../up; do sleep 0.05; done"
    )
    workshop.configure({"lane": line}, lease_seconds=6, terminate_grace_seconds=9)
    task_id = workshop.board.create_task(title="x", assignee="lane")
    run_id = workshop.tick().started[0].run_id
    worker = workshop.run(task_id).worker_pid
    wait_for(lambda: not lives(worker), "the worker to finish")
    first = workshop.board.task(task_id).claim_expires
    wait_for(lambda: (workshop.board.task(task_id).claim_expires or 0) > first, "the lease to be renewed")
    assert workshop.ended(run_id).outcome == "completed"
    assert len(workshop.board.runs(task_id)) == 1
