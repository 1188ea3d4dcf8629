"""``dispatcher --until-eof``: it ends with whoever started it, never waits for him, and hides the path it came by."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pluggy
import psutil
import pytest

from hermes_kanban_plugin import identity, locations
from hermes_kanban_plugin.gateway import dispatcher_process
from hermes_kanban_plugin.locks import FileLock
from hermes_kanban_plugin.store import dispatchers
from tests.conftest import Workshop, lives, wait_for

COMMAND = [sys.executable, "-m", "hermes_kanban_plugin.cli.main", "dispatcher", "--until-eof", "--json"]
GATEWAY = """
import asyncio, os, sys
from hermes_kanban_plugin.gateway import dispatcher_process as own
dispatcher = own.DispatcherProcess(own.command(), own.environment(os.environ), lambda line: None)
asyncio.run(dispatcher.keep(lambda: True))
"""


@pytest.fixture
def start() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start a process with all pipes, unless told otherwise; it ends with the test."""
    processes: list[subprocess.Popen[str]] = []

    def begin(command: list[str] = COMMAND, **how: object) -> subprocess.Popen[str]:
        pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
        processes.append(subprocess.Popen(command, text=True, **(pipes | how)))
        return processes[-1]

    yield begin
    for process in processes:
        process.kill()
        process.communicate()


def term(workshop: Workshop) -> dict[str, object]:
    rows = workshop.board.reader.execute("SELECT pid, ended_at, reason FROM kp_dispatchers ORDER BY term DESC LIMIT 1")
    return dict(rows.fetchone() or {})


def leads(workshop: Workshop, pid: int) -> bool:
    return term(workshop) == {"pid": pid, "ended_at": None, "reason": None}


def test_it_ends_when_its_input_ends(workshop: Workshop, start: Callable[..., subprocess.Popen[str]]) -> None:
    process = start()
    wait_for(lambda: leads(workshop, process.pid), "it to lead")
    process.stdin.close()
    assert process.wait(30) == 0
    assert term(workshop)["reason"] == "the process that started it ended"
    assert "stopped (the process that started it ended)" in process.stderr.read()
    process.stdin = None


def test_one_that_waits_for_its_turn_ends_too(workshop: Workshop, start: Callable[..., subprocess.Popen[str]]) -> None:
    lock = FileLock(locations.dispatcher_lock(workshop.home))
    assert lock.acquire()
    process = start()
    assert "another dispatcher holds" in process.stderr.readline()
    process.stdin.close()
    assert process.wait(30) == 0
    process.stdin = None
    lock.release()


def test_a_gateway_that_is_killed_takes_it_along_and_leaves_the_worker(
    workshop: Workshop, start: Callable[..., subprocess.Popen[str]]
) -> None:
    workshop.configure({"lane": "sleep 600"})
    task_id = workshop.board.create_task(title="x", assignee="lane")
    gateway = start([sys.executable, "-c", GATEWAY], stderr=subprocess.DEVNULL)
    run = workshop.run(task_id)
    pid = int(str(term(workshop)["pid"]))
    gateway.send_signal(signal.SIGKILL)
    gateway.wait(30)
    wait_for(lambda: not lives(pid), "the dispatcher to end")
    assert FileLock(locations.dispatcher_lock(workshop.home)).acquire()
    assert term(workshop)["reason"] == "the process that started it ended"
    assert lives(run.worker_pid)
    assert workshop.board.task(task_id).current_run_id == run.run_id
    os.kill(run.supervisor_pid, signal.SIGTERM)
    workshop.ended(run.run_id)


def test_a_handover_in_the_middle_of_the_work_starts_nothing_twice(
    workshop: Workshop, start: Callable[..., subprocess.Popen[str]]
) -> None:
    """Two gateways; the one that dispatches is killed while tasks are being started, and its dispatcher is dying."""
    workshop.configure({"lane": "echo $HERMES_KANBAN_TASK >> ../starts; sleep 0.05"}, {"max_in_progress": 4})
    served, _ = dispatchers.begin(workshop.board.writer, identity.capture(os.getpid()), workshop.board.clock.now())
    dispatchers.end(workshop.board.writer, served, "SIGTERM", workshop.board.clock.now())
    ids = [workshop.board.create_task(title=str(number), assignee="lane") for number in range(30)]
    gateways = [start([sys.executable, "-c", GATEWAY], stderr=subprocess.DEVNULL) for _ in range(2)]
    wait_for(lambda: term(workshop)["pid"] != os.getpid() and done(workshop) > 3, "some tasks to be done")
    first = int(str(term(workshop)["pid"]))
    next(gateway for gateway in gateways if psutil.Process(first).ppid() == gateway.pid).kill()
    wait_for(lambda: done(workshop) == len(ids), "all tasks to be done")
    assert term(workshop)["pid"] != first
    worked = (workshop.home / "kanban" / "workspaces" / "starts").read_text().split()
    assert sorted(worked) == sorted(ids)


def done(workshop: Workshop) -> int:
    return int(workshop.board.reader.execute("SELECT count(*) FROM tasks WHERE status = 'done'").fetchone()[0])


def test_a_gateway_that_reads_nothing_holds_nothing_up(
    workshop: Workshop, start: Callable[..., subprocess.Popen[str]]
) -> None:
    """A frozen gateway: both pipes are full before the dispatcher says its first word."""
    workshop.configure({"lane": "true"})
    ids = [workshop.board.create_task(title=str(number), assignee="lane") for number in range(3)]
    reading, full = os.pipe()
    os.set_blocking(full, False)
    with suppress(BlockingIOError):
        while True:
            os.write(full, b"x" * 4096)
    fcntl.fcntl(full, fcntl.F_SETFL, fcntl.fcntl(full, fcntl.F_GETFL) & ~os.O_NONBLOCK)
    process = start(stdout=full, stderr=full)
    os.close(full)
    for task_id in ids:
        wait_for(lambda task_id=task_id: workshop.board.task(task_id).status == "done", f"{task_id} to be done")
    process.stdin.close()
    process.wait(30)
    process.stdin = None
    os.close(reading)
    assert FileLock(locations.dispatcher_lock(workshop.home)).acquire()


def test_its_reports_name_the_claims(workshop: Workshop, start: Callable[..., subprocess.Popen[str]]) -> None:
    workshop.configure({"lane": "true"})
    task_id = workshop.board.create_task(title="x", assignee="lane")
    process = start()
    report = next(line for line in process.stdout if line.strip())  # an empty line is a sign of life
    (started,) = json.loads(report)["started"]
    assert (started["task_id"], started["run_id"], started["assignee"], started["review"]) == (
        task_id,
        1,
        "lane",
        False,
    )


def dependencies_only(folder: Path) -> Path:
    """Make a folder of packages with all but ours."""
    dependencies = folder / "dependencies"
    dependencies.mkdir()
    for entry in Path(pluggy.__file__).parents[1].iterdir():
        if "hermes" not in entry.name:
            (dependencies / entry.name).symlink_to(entry)
    return dependencies


def test_what_it_starts_does_not_see_the_path_of_a_clone(
    workshop: Workshop, start: Callable[..., subprocess.Popen[str]], tmp_path: Path
) -> None:
    """Run without our distribution, as a directory install does: dependencies by a path of their own."""
    dependencies = dependencies_only(tmp_path)
    root = str(Path(dispatcher_process.__file__).resolve().parents[2])
    workshop.configure({"lane": "printenv PYTHONPATH > ../seen; true"})
    task_id = workshop.board.create_task(title="x", assignee="lane")
    variables = {**os.environ, "PYTHONPATH": os.pathsep.join([root, str(dependencies)])}
    command = [sys.executable, "-S", *COMMAND[1:]]
    process = start(command, env=variables, cwd=tmp_path)
    wait_for(lambda: workshop.board.task(task_id).status == "done" or process.poll(), "the task to be done")
    assert (workshop.home / "kanban" / "workspaces" / "seen").read_text().strip() == str(dependencies)


def copy_of_the_plugin(folder: Path) -> Path:
    """Copy what runs to a folder; returns it."""
    checkout = Path(dispatcher_process.__file__).resolve().parents[2]
    for name in ("hermes_kanban_plugin", "hooks", "tools"):
        shutil.copytree(checkout / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(checkout / "plugin.toml", folder)
    return folder


@pytest.mark.parametrize("change", ["removed", "upgraded"])
def test_a_dispatcher_whose_plugin_is_gone_or_another_one_costs_no_task_its_tries(
    workshop: Workshop, start: Callable[..., subprocess.Popen[str]], tmp_path: Path, change: str
) -> None:
    """``pip uninstall`` or ``pip install -U`` beside a gateway that runs; each start would be a failure of the task."""
    clone = copy_of_the_plugin(tmp_path / "clone")
    variables = {**os.environ, "PYTHONPATH": os.pathsep.join([str(clone), str(dependencies_only(tmp_path))])}
    workshop.configure({"lane": "true"})
    early = workshop.board.create_task(title="early", assignee="lane")
    process = start([sys.executable, "-S", *COMMAND[1:]], env=variables, cwd=tmp_path)
    wait_for(lambda: workshop.board.task(early).status == "done" or process.poll(), "the dispatcher to serve")
    if change == "removed":
        clone.rename(tmp_path / "away")
    else:
        (clone / "hermes_kanban_plugin" / "supervisor" / "order.py").write_text("raise SystemExit(2)\n")
    late = workshop.board.create_task(title="late", assignee="lane")
    assert process.wait(30) == 0
    assert process.stderr is not None
    assert "the plugin was upgraded or removed under this dispatcher" in process.stderr.read()
    assert (workshop.board.task(late).status, workshop.board.task(late).consecutive_failures) == ("ready", 0)
    assert {run.outcome for run in workshop.board.runs(late)} <= {"reclaimed"}, "claimed at most, and given back"
    assert term(workshop)["reason"] == "its files were replaced or removed"


def test_it_shows_its_gateway_that_it_works_also_while_it_waits_for_its_turn(
    workshop: Workshop, start: Callable[..., subprocess.Popen[str]]
) -> None:
    first, second = start(), start()
    for process in (first, second):
        assert process.stdout is not None
        assert process.stdout.readline() == "\n"
    wait_for(lambda: term(workshop), "a leader")


FROZEN = """
import asyncio, os, sys
from hermes_kanban_plugin.gateway import dispatcher_process as own
own.SILENCE_TOLD_SECONDS, own.SILENCE_ENDED_SECONDS = 7.0, 8.0
dispatcher = own.DispatcherProcess(own.command(), own.environment(os.environ), lambda line: None)
asyncio.run(dispatcher.keep(lambda: True))
"""


def test_a_dispatcher_that_is_frozen_is_replaced_by_its_gateway(
    workshop: Workshop, start: Callable[..., subprocess.Popen[str]]
) -> None:
    gateway = start([sys.executable, "-c", FROZEN])
    frozen = wait_for(lambda: term(workshop).get("pid"), "a leader")
    assert isinstance(frozen, int)
    os.kill(frozen, signal.SIGSTOP)
    wait_for(lambda: term(workshop).get("pid") not in (None, frozen), "another leader")
    assert not lives(frozen)
    gateway.terminate()
