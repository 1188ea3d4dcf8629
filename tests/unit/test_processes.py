"""Processes of a run are found by claim lock and run id together, and ended with everything they started."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import psutil
import pytest

from hermes_kanban_plugin.processes import Badge, by_badge, stop_all, wearers
from tests.conftest import lives

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")

LOCK = f"box:{os.getpid()}:badge"
LONG = 30.0


@pytest.fixture
def start():
    """Start a program with variables added to its environment; with a shell line it is awaited until it says so."""
    started: list[subprocess.Popen[str]] = []

    def start(lock: str | None, run_id: str | None, line: str = "echo up; exec sleep 600") -> subprocess.Popen[str]:
        badge = {"HERMES_KANBAN_CLAIM_LOCK": lock, "HERMES_KANBAN_RUN_ID": run_id}
        environment = {**os.environ, **{name: value for name, value in badge.items() if value is not None}}
        process = subprocess.Popen(["sh", "-c", line], env=environment, stdout=subprocess.PIPE, text=True)
        started.append(process)
        assert process.stdout.readline().startswith("up")
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()
        process.stdout.close()


def pids(badge: Badge) -> list[int]:
    return [process.pid for process in wearers(badge)]


def test_only_lock_and_run_id_together_make_a_process_one_of_the_run(start) -> None:
    ours = start(LOCK, "1")
    others = [start(LOCK, "2"), start(f"{LOCK}x", "1"), start(LOCK, None), start(None, "1"), start(LOCK, "")]
    assert pids(Badge(LOCK, "1")) == [ours.pid]
    found = {process.pid for worn in by_badge().values() for process in worn}
    assert found & {process.pid for process in others} == {others[0].pid, others[1].pid}
    assert stop_all(Badge(LOCK, "1"), LONG)
    assert ours.wait(timeout=LONG) == -signal.SIGTERM
    assert [process.poll() for process in others] == [None] * 5


@pytest.mark.parametrize("badge", [Badge("", ""), Badge(LOCK, ""), Badge("", "1")])
def test_a_badge_with_an_empty_half_belongs_to_nobody(start, badge: Badge) -> None:
    others = [start(LOCK, "1"), start(LOCK, ""), start("", "1"), start(None, None)]
    assert wearers(badge) == []
    assert stop_all(badge, 0)
    assert [process.poll() for process in others] == [None] * 4


def test_a_worker_may_use_its_grace_and_is_not_killed_within_it(start) -> None:
    process = start(LOCK, "1", "trap 'exit 7' TERM; echo up; while :; do sleep 0.05; done")
    assert stop_all(Badge(LOCK, "1"), LONG)
    assert process.wait(timeout=LONG) == 7


def test_one_that_ignores_sigterm_is_killed(start) -> None:
    process = start(LOCK, "1", "trap '' TERM; echo up; while :; do sleep 0.05; done")
    assert stop_all(Badge(LOCK, "1"), 0.2)
    assert process.wait(timeout=LONG) == -signal.SIGKILL
    assert wearers(Badge(LOCK, "1")) == []


def test_a_frozen_one_is_woken_up_to_see_the_sigterm(start) -> None:
    process = start(LOCK, "1")
    os.kill(process.pid, signal.SIGSTOP)
    assert stop_all(Badge(LOCK, "1"), LONG)
    assert process.wait(timeout=LONG) == -signal.SIGTERM


def test_a_child_in_a_session_of_its_own_is_found_although_its_parent_is_gone(start) -> None:
    escape = "import os, sys, time; os.setsid(); print('up', os.getpid(), flush=True); time.sleep(600)"
    process = start(LOCK, "1", f'{sys.executable} -c "{escape}" & read line; wait')
    (child,) = [one for one in wearers(Badge(LOCK, "1")) if one.pid != process.pid]
    assert os.getsid(child.pid) == child.pid
    process.kill()
    process.wait()
    assert pids(Badge(LOCK, "1")) == [child.pid]
    assert stop_all(Badge(LOCK, "1"), LONG)
    assert not lives(child.pid)


def test_a_child_that_is_born_while_its_parent_is_told_to_end_is_ended_too(start) -> None:
    line = "trap 'sleep 600 & exit 3' TERM; echo up; while :; do sleep 0.05; done"
    process = start(LOCK, "1", line)
    assert stop_all(Badge(LOCK, "1"), 1)
    assert process.wait(timeout=LONG) == 3
    left = wearers(Badge(LOCK, "1"))
    for one in left:
        one.kill()
    assert left == []


def test_the_dead_that_nobody_buried_are_not_counted(start) -> None:
    process = start(LOCK, "1")
    process.kill()
    assert stop_all(Badge(LOCK, "1"), LONG)
    assert psutil.Process(process.pid).status() == psutil.STATUS_ZOMBIE
    assert wearers(Badge(LOCK, "1")) == []
