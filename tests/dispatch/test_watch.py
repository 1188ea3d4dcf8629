"""Waking up: deaths, nudges and bells end a wait; what is watched need not be looked at."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import pytest

from hermes_kanban_plugin import identity, wake
from hermes_kanban_plugin.dispatch.ramp import Ramp
from hermes_kanban_plugin.dispatch.reaper import Orphan
from hermes_kanban_plugin.dispatch.stops import RETRY_SECONDS, Stops
from hermes_kanban_plugin.dispatch.watch import Watch
from hermes_kanban_plugin.identity import Verdict
from hermes_kanban_plugin.models import HeldRun
from hermes_kanban_plugin.testing import FakeClock
from hermes_kanban_plugin.wake import Ear

ALIVE = Verdict.ALIVE
LONG = 30.0


@pytest.fixture
def watch():
    made = Watch()
    yield made
    made.close()


@pytest.fixture
def sleeper():
    process = subprocess.Popen(["sleep", "600"])
    yield process
    process.kill()
    process.wait()


def orphan_of(pid: int, run_id: int = 7, supervisor: Verdict = ALIVE) -> Orphan:
    place = identity.here()
    row = {"task_id": "t", "known_run_id": run_id, "lane": "command", "supervisor_pid": pid, **place._asdict()}
    return Orphan(HeldRun.model_validate(row), supervisor, ALIVE)


def test_the_death_of_a_watched_supervisor_ends_the_wait_and_makes_its_run_unseen(watch, sleeper):
    watch.observe("b", [orphan_of(sleeper.pid)], lambda _: ALIVE)
    assert (watch.newest("b"), watch.unseen("b", set())) == (7, [])
    assert not watch.wait(0)
    sleeper.kill()
    assert watch.wait(LONG)
    assert watch.unseen("b", set()) == [7]


def test_the_same_run_id_on_two_boards_is_two_runs(watch, sleeper):
    watch.observe("b", [orphan_of(sleeper.pid)], lambda _: ALIVE)
    watch.observe("c", [orphan_of(os.getpid())], lambda _: ALIVE)
    sleeper.kill()
    assert watch.wait(LONG)
    assert (watch.unseen("b", set()), watch.unseen("c", set())) == ([7], [])


@pytest.mark.parametrize("first", [Verdict.DEAD, Verdict.UNKNOWN])
def test_what_is_not_alive_is_looked_at_again(watch, sleeper, first):
    watch.observe("b", [orphan_of(sleeper.pid, supervisor=first)], lambda _: ALIVE)
    assert watch.unseen("b", set()) == [7]


def test_a_pid_that_was_reused_before_its_descriptor_was_open_is_not_watched(watch, sleeper):
    watch.observe("b", [orphan_of(sleeper.pid)], lambda _: Verdict.DEAD)
    assert watch.unseen("b", set()) == [7]


def test_runs_that_hold_no_task_any_more_are_let_go(watch, sleeper):
    watch.observe("b", [orphan_of(sleeper.pid)], lambda _: ALIVE)
    watch.keep_only("b", set())
    sleeper.kill()
    sleeper.wait()
    assert not watch.wait(0.05)


def test_a_bell_from_another_thread_ends_the_wait(watch):
    threading.Timer(0.05, watch.ring).start()
    assert watch.wait(LONG)
    assert not watch.wait(0)


@pytest.fixture
def short_home():
    """A home whose path is short enough for a socket's address, as real ones are."""
    with tempfile.TemporaryDirectory(prefix="hk-") as folder:
        (Path(folder) / "kanban").mkdir()
        yield folder


def test_a_nudge_ends_the_wait_and_a_dead_leaders_socket_is_replaced(short_home):
    home = short_home
    wake.nudge(home)  # nobody listens: nothing happens
    code = f"from hermes_kanban_plugin.wake import Ear; import os; ear = Ear({home!r}); os._exit(0)"
    subprocess.run([sys.executable, "-c", code], check=True)
    assert os.path.exists(wake.address_of(home))
    ear = Ear(home)
    watch = Watch(ear)
    wake.nudge(home)
    assert watch.wait(LONG)
    assert not watch.wait(0)
    watch.close()
    ear.close()
    assert not os.path.exists(wake.address_of(home))


def test_a_home_whose_path_is_too_long_for_a_socket_is_served_without():
    assert wake.address_of("/" + "x" * 200) is None
    assert Ear("/" + "x" * 200).fileno() == -1
    wake.nudge("/" + "x" * 200)


def test_a_stubborn_termination_delays_no_other():
    gate, rung = threading.Event(), threading.Event()
    stops = Stops(rung.set)
    stops.begin(("b", 1), lambda: gate.wait(LONG))
    stops.begin(("b", 2), lambda: True)
    assert rung.wait(LONG)
    assert (stops.result(("b", 2)), stops.result(("b", 1))) == (True, None)
    assert stops.under_way(("b", 1))
    gate.set()
    stops.wait()
    assert stops.result(("b", 1)) is True
    assert not stops.under_way(("b", 1))


def test_a_termination_that_raises_counts_as_not_stopped_and_is_tried_again_after_a_while():
    clock = FakeClock()
    stops = Stops(monotonic=clock.monotonic)

    def fall_over() -> bool:
        raise RuntimeError("no")

    stops.begin(("b", 1), fall_over)
    stops.wait()
    assert stops.result(("b", 1)) is False
    stops.begin(("b", 1), lambda: True)
    assert (stops.under_way(("b", 1)), stops.result(("b", 1))) == (True, None), "nobody takes it for gone meanwhile"
    clock.advance(RETRY_SECONDS)
    assert not stops.under_way(("b", 1))
    stops.begin(("b", 1), lambda: True)
    stops.wait()
    assert stops.result(("b", 1)) is True


def test_the_ramp_lets_one_two_four_start_and_then_steps_aside():
    ramp = Ramp(now=100.0)
    allowed = []
    for second in range(4):
        slots = ramp.slots(100.0 + second)
        allowed.append(slots)
        ramp.note(slots)
        assert ramp.slots(100.0 + second) == 0
    assert allowed == [1, 2, 4, 8]
    assert ramp.slots(108.0) is None


@pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="needs pidfds: elsewhere the sweep finds it")
def test_a_killed_supervisor_is_noticed_by_a_running_dispatcher_without_waiting_for_its_sweep(workshop):
    workshop.configure({"lane": "sleep 600"}, kanban={"dispatch_interval_seconds": 3600}, poll_seconds=5)
    process = subprocess.Popen(
        [sys.executable, "-m", "hermes_kanban_plugin.cli.main", "dispatcher"], stderr=subprocess.DEVNULL
    )
    try:
        task_id = workshop.board.create_task(title="x", assignee="lane")
        wake.nudge(str(workshop.home))
        first = workshop.run(task_id)
        os.kill(first.supervisor_pid, signal.SIGKILL)
        deadline = time.monotonic() + LONG
        while workshop.board.task(task_id).current_run_id in (first.run_id, None):
            assert time.monotonic() < deadline
            time.sleep(0.02)
        second = workshop.run(task_id)
        assert [run.outcome for run in workshop.board.runs(task_id)] == ["reclaimed", None]
    finally:
        process.terminate()
        process.wait()
    os.kill(second.supervisor_pid, signal.SIGTERM)
    workshop.ended(second.run_id)
