"""Who is killed, how, and when: after each case the work is done, once, and every promise of the oracle holds."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import psutil
import pytest

from hermes_kanban_plugin.processes import Badge, wearers
from tests.conftest import lives, wait_for

# The first attempt stays, with a child; every later one is done at once.
STAYS = "test -e ../again && exit 0; touch ../again; sleep 600 & echo $! > ../child; sleep 600"
# The same, and it says itself that it is done.
SPEAKS = f"{sys.executable} -m hermes_kanban_plugin.cli.main complete $HERMES_KANBAN_TASK --summary spoke"


class Service:
    """Dispatcher processes of one home, ended with the test."""

    def __init__(self, workshop) -> None:
        self.workshop = workshop
        self.processes: list[subprocess.Popen[bytes]] = []

    def start(self, **environment: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "hermes_kanban_plugin.cli.main", "dispatcher"]
        process = subprocess.Popen(command, env={**os.environ, **environment}, stderr=subprocess.DEVNULL)
        self.processes.append(process)
        return process

    def close(self) -> None:
        for process in self.processes:
            process.kill()
            process.wait()


@pytest.fixture
def service(workshop):
    made = Service(workshop)
    yield made
    made.close()


def configure(workshop, line: str, **plugin) -> None:
    workshop.configure({"lane": line}, kanban={"dispatch_interval_seconds": 1}, lease_seconds=6, **plugin)


def done(workshop, task_id: str) -> None:
    """Wait until a task is done and nothing of its runs is left, then check that they did not overlap."""
    wait_for(lambda: workshop.board.task(task_id).status == "done", f"{task_id} to be done", seconds=60)
    for run in workshop.board.runs(task_id):
        workshop.ended(run.id)
    badges = [
        Badge(row[0], str(row[1])) for row in workshop.board.writer.execute("SELECT claim_lock, run_id FROM kp_runs")
    ]
    wait_for(lambda: not any(wearers(badge) for badge in badges), "the last supervisors to leave")


def begun(workshop, task_id: str):
    """Wait for the first attempt and its child; returns the run and the child's pid."""
    run = workshop.run(task_id)
    file = workshop.home / "kanban" / "workspaces" / "child"
    wait_for(lambda: file.exists() and file.read_text().strip(), "the child")
    return run, int(file.read_text())


@pytest.mark.parametrize("how", ["KILL", "TERM"])
@pytest.mark.parametrize("who", ["worker", "child", "supervisor", "dispatcher", "worker and supervisor", "everybody"])
def test_whoever_is_killed_the_work_is_done(workshop, service, who, how):
    configure(workshop, STAYS if who != "child" else STAYS.replace("sleep 600 &", "sleep 600 &", 1) + " & wait $!")
    task_id = workshop.board.create_task(title="x", assignee="lane")
    dispatcher = service.start()
    run, child = begun(workshop, task_id)
    number = getattr(signal, f"SIG{how}")
    victims = {
        "worker": [run.worker_pid],
        "child": [child],
        "supervisor": [run.supervisor_pid],
        "dispatcher": [dispatcher.pid],
        "worker and supervisor": [run.worker_pid, run.supervisor_pid],
        "everybody": [dispatcher.pid, run.supervisor_pid, run.worker_pid, child],
    }[who]
    for pid in victims:
        os.kill(pid, number)
    if dispatcher.pid in victims:
        dispatcher.wait()
        service.start()
    if who in ("child", "dispatcher"):
        # Nothing of the run's own machinery is gone: it goes on, under the dispatcher there is now.
        assert lives(run.worker_pid)
        assert workshop.board.task(task_id).current_run_id == run.run_id
        os.kill(run.worker_pid, signal.SIGKILL)
    done(workshop, task_id)
    assert len(workshop.board.runs(task_id)) == 2
    assert not lives(child)
    counted = sum(event.kind == "crashed" for event in workshop.board.events(task_id))
    expected = 1 if (who, how) == ("worker", "KILL") or who in ("child", "dispatcher") else 0
    assert counted == expected or (who == "worker and supervisor" and counted <= 1)


@pytest.mark.parametrize("who", ["supervisor", "worker"])
def test_whoever_is_frozen_does_not_hold_the_task_for_ever(workshop, service, who):
    configure(workshop, STAYS)
    limit = {"max_runtime_seconds": 2} if who == "worker" else {}
    task_id = workshop.board.create_task(title="x", assignee="lane", **limit)
    service.start()
    run, child = begun(workshop, task_id)
    os.kill(run.supervisor_pid if who == "supervisor" else run.worker_pid, signal.SIGSTOP)
    done(workshop, task_id)
    assert not lives(run.supervisor_pid)
    assert not lives(child)


def test_a_worker_that_ignores_sigterm_delays_no_other_task(workshop, service):
    document = {"lane": "trap '' TERM; touch ../up; sleep 600 & wait; sleep 600", "quick": "true"}
    workshop.configure(document, kanban={"dispatch_interval_seconds": 1}, terminate_grace_seconds=20)
    stubborn = workshop.board.create_task(title="x", assignee="lane")
    service.start()
    run = workshop.run(stubborn)
    wait_for((workshop.home / "kanban" / "workspaces" / "up").exists, "the worker to ignore signals")
    os.kill(run.supervisor_pid, signal.SIGSTOP)
    workshop.board.reclaim(workshop.board.task(stubborn), None, "tester")
    quick = workshop.board.create_task(title="y", assignee="quick")
    wait_for(lambda: workshop.board.task(quick).status == "done", "the quick task", seconds=15)
    assert workshop.board.task(stubborn).status == "ready"  # nothing starts beside the old worker
    assert lives(run.worker_pid)
    os.kill(run.worker_pid, signal.SIGKILL)
    os.kill(run.supervisor_pid, signal.SIGCONT)
    workshop.ended(run.run_id)
    second = workshop.run(stubborn)
    service.close()
    os.kill(second.supervisor_pid, signal.SIGTERM)
    wait_for(lambda: not lives(second.worker_pid) or os.kill(second.worker_pid, signal.SIGKILL), "the second worker")
    workshop.ended(second.run_id)


POINTS = [
    "dispatcher.after_claim",
    "dispatcher.after_launch",
    "supervisor.before_accept",
    "supervisor.after_accept",
    "supervisor.after_release",
    "supervisor.before_record",
    "supervisor.in_record",
    "supervisor.after_record",
    "tool.before_complete",
]


@pytest.mark.parametrize("point", POINTS)
def test_death_at_a_named_point_loses_nothing(workshop, service, point):
    configure(workshop, SPEAKS if point.startswith("tool") else "echo worked", launch_seconds=2)
    task_id = workshop.board.create_task(title="x", assignee="lane")
    flag = workshop.home / "reached"
    dispatcher = service.start(HERMES_KANBAN_TEST_POINT=f"{point}=kill@{flag}")
    wait_for(flag.exists, f"{point} to be reached")
    if point.startswith("dispatcher"):
        dispatcher.wait(timeout=30)
        service.start()
    done(workshop, task_id)
    completions = [event for event in workshop.board.events(task_id) if event.kind == "completed"]
    assert len(completions) == 1
    machinery = [run.outcome for run in workshop.board.runs(task_id) if run.outcome not in ("completed", "reclaimed")]
    assert machinery == (["crashed"] if point.startswith("tool") else [])


def test_a_dispatcher_that_dies_within_a_rescue_leaves_it_undone_and_the_next_one_does_it(workshop, service):
    configure(workshop, STAYS)
    task_id = workshop.board.create_task(title="x", assignee="lane")
    flag = workshop.home / "reached"
    dispatcher = service.start(HERMES_KANBAN_TEST_POINT=f"rescue.before_commit=kill@{flag}")
    run, _ = begun(workshop, task_id)
    os.kill(run.supervisor_pid, signal.SIGKILL)
    dispatcher.wait(timeout=30)
    assert workshop.board.task(task_id).current_run_id == run.run_id
    service.start()
    done(workshop, task_id)


def test_a_child_that_left_the_group_is_found_by_what_it_carries(workshop, service):
    program = "import os, time; os.setsid(); open('../child', 'w').write(str(os.getpid())); time.sleep(600)"
    escape = f'{sys.executable} -c "{program}"'
    configure(workshop, f"test -e ../again && exit 0; touch ../again; {escape} & sleep 600")
    task_id = workshop.board.create_task(title="x", assignee="lane")
    service.start()
    run, child = begun(workshop, task_id)
    assert psutil.Process(child).is_running()
    os.kill(run.supervisor_pid, signal.SIGKILL)
    done(workshop, task_id)
    assert not lives(child)


def test_drain_waits_for_the_workers_and_starts_nothing_new(workshop, service):
    configure(workshop, "touch ../up; while ! test -e ../go; do sleep 0.05; done")
    first = workshop.board.create_task(title="x", assignee="lane")
    command = [sys.executable, "-m", "hermes_kanban_plugin.cli.main", "dispatcher", "--drain"]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    service.processes.append(process)
    run = workshop.run(first)
    process.terminate()
    late = workshop.board.create_task(title="y", assignee="lane")
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(timeout=1)
    (workshop.home / "kanban" / "workspaces" / "go").touch()
    assert process.wait(timeout=30) == 0
    assert workshop.ended(run.run_id).outcome == "completed"
    assert workshop.board.task(late).status == "ready"


def test_stop_workers_releases_every_task_without_a_failure(workshop, service):
    configure(workshop, "sleep 600")
    tasks = [workshop.board.create_task(title="x", assignee="lane") for _ in range(3)]
    command = [sys.executable, "-m", "hermes_kanban_plugin.cli.main", "dispatcher", "--stop-workers"]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    service.processes.append(process)
    runs = [workshop.run(task_id) for task_id in tasks]
    process.terminate()
    assert process.wait(timeout=30) == 0
    for task_id, run in zip(tasks, runs, strict=True):
        assert not lives(run.worker_pid)
        task = workshop.board.task(task_id)
        assert (task.status, task.consecutive_failures) == ("ready", 0)
