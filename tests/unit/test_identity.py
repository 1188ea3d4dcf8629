from __future__ import annotations

import os
import signal
import subprocess
import sys
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as some

from hermes_kanban_plugin import identity
from hermes_kanban_plugin.identity import NO_BOOT_ID, Place, ProcessIdentity, Sighting, Verdict, judge

HERE = Place("machine", "boot", "pid:[1]")
STARTED = 1000.0
RECORDED = ProcessIdentity(*HERE, 4711, STARTED)

ALIVE, DEAD, UNKNOWN = Verdict.ALIVE, Verdict.DEAD, Verdict.UNKNOWN

# exists, zombie, start time seen, lock seen -> verdict, for a process recorded on this very place
TABLE = [
    (Sighting(None), UNKNOWN),
    (Sighting(False), DEAD),
    (Sighting(True, zombie=True, started=STARTED), DEAD),
    (Sighting(True, zombie=True, started=STARTED, carries_lock=True), DEAD),
    (Sighting(True, started=STARTED), ALIVE),
    (Sighting(True, started=STARTED + identity.START_TOLERANCE_SECONDS / 2), ALIVE),
    (Sighting(True, started=STARTED - identity.START_TOLERANCE_SECONDS / 2), ALIVE),
    (Sighting(True, started=STARTED, carries_lock=True), ALIVE),
    # A worker may clear its environment; the start time still proves it.
    (Sighting(True, started=STARTED, carries_lock=False), ALIVE),
    # Start times that disagree: the clock drifted, or the pid was reused. The lock tells which.
    (Sighting(True, started=STARTED + 10_000), UNKNOWN),
    (Sighting(True, started=STARTED + 10_000, carries_lock=True), ALIVE),
    (Sighting(True, started=STARTED + 10_000, carries_lock=False), DEAD),
    (Sighting(True), UNKNOWN),
    (Sighting(True, carries_lock=True), ALIVE),
    (Sighting(True, carries_lock=False), UNKNOWN),
]


@pytest.mark.parametrize(("seen", "verdict"), TABLE)
def test_a_process_of_this_place(seen: Sighting, verdict: Verdict) -> None:
    assert judge(RECORDED, HERE, seen) is verdict


@pytest.mark.parametrize("seen", [seen for seen, _ in TABLE])
def test_another_machine_or_namespace_is_never_judged(seen: Sighting) -> None:
    assert judge(RECORDED, HERE._replace(host_id="other"), seen) is UNKNOWN
    assert judge(RECORDED, HERE._replace(pid_namespace="pid:[2]"), seen) is UNKNOWN
    assert judge(RECORDED, HERE._replace(host_id="other", boot_id="later"), seen) is UNKNOWN


@pytest.mark.parametrize("seen", [seen for seen, _ in TABLE])
def test_a_reboot_of_the_same_machine_is_proof(seen: Sighting) -> None:
    assert judge(RECORDED, HERE._replace(boot_id="later"), seen) is DEAD
    assert judge(RECORDED, HERE._replace(boot_id="later", pid_namespace="pid:[2]"), seen) is DEAD


def test_a_boot_id_that_could_not_be_read_is_no_proof() -> None:
    seen = Sighting(True, started=STARTED)
    assert judge(RECORDED, HERE._replace(boot_id=NO_BOOT_ID), seen) is UNKNOWN
    assert judge(RECORDED._replace(boot_id=NO_BOOT_ID), HERE, seen) is UNKNOWN
    assert judge(RECORDED._replace(boot_id=NO_BOOT_ID), HERE._replace(boot_id=NO_BOOT_ID), seen) is ALIVE


def test_a_start_time_that_was_not_recorded_proves_nothing() -> None:
    recorded = RECORDED._replace(started=None)
    assert judge(recorded, HERE, Sighting(True, started=STARTED)) is UNKNOWN
    assert judge(recorded, HERE, Sighting(True, started=STARTED, carries_lock=False)) is UNKNOWN
    assert judge(recorded, HERE, Sighting(True, started=STARTED, carries_lock=True)) is ALIVE


def test_every_combination_has_a_verdict_with_its_proof() -> None:
    starts = (None, STARTED, STARTED + 10_000)
    places = (HERE, HERE._replace(host_id="x"), HERE._replace(boot_id="x"), HERE._replace(pid_namespace="x"))
    for place, exists, zombie, recorded, seen_start, lock in product(
        places, (None, False, True), (False, True), (None, STARTED), starts, (None, False, True)
    ):
        process = RECORDED._replace(started=recorded)
        seen = Sighting(exists, zombie, seen_start, lock)
        assert_proven(process, place, seen)


@given(
    process=some.builds(
        ProcessIdentity,
        host_id=some.sampled_from(["a", "b"]),
        boot_id=some.sampled_from(["1", "2", NO_BOOT_ID]),
        pid_namespace=some.sampled_from(["p", "q"]),
        pid=some.integers(-2, 99999),
        started=some.none() | some.floats(0, 1e9),
    ),
    place=some.builds(
        Place,
        host_id=some.sampled_from(["a", "b"]),
        boot_id=some.sampled_from(["1", "2", NO_BOOT_ID]),
        pid_namespace=some.sampled_from(["p", "q"]),
    ),
    seen=some.builds(
        Sighting,
        exists=some.sampled_from([None, True, False]),
        zombie=some.booleans(),
        started=some.none() | some.floats(0, 1e9),
        carries_lock=some.sampled_from([None, True, False]),
    ),
)
def test_nobody_is_declared_dead_without_proof(process: ProcessIdentity, place: Place, seen: Sighting) -> None:
    assert_proven(process, place, seen)


def assert_proven(process: ProcessIdentity, place: Place, seen: Sighting) -> None:
    """A verdict other than unknown rests on facts that stand in its inputs."""
    verdict = judge(process, place, seen)
    same_host = process.host_id == place.host_id
    rebooted = same_host and process.boot_id != place.boot_id and NO_BOOT_ID not in (process.boot_id, place.boot_id)
    looked = same_host and process[:3] == place and seen.exists is not None
    starts_known = process.started is not None and seen.started is not None
    same_start = starts_known and abs(process.started - seen.started) <= identity.START_TOLERANCE_SECONDS
    if verdict is DEAD:
        gone = looked and (seen.exists is False or seen.zombie)
        reused = looked and starts_known and not same_start and seen.carries_lock is False
        assert rebooted or gone or reused
    if verdict is ALIVE:
        assert looked
        assert seen.exists
        assert not seen.zombie
        assert seen.carries_lock or same_start


@pytest.fixture
def sleeper() -> subprocess.Popen[bytes]:
    environment = {**os.environ, "HERMES_KANBAN_CLAIM_LOCK": "host:1:abc-t_1"}
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, env=environment)
    yield process
    process.kill()
    process.wait()
    process.stdin.close()


def verdict_on(process: ProcessIdentity, lock: str | None = None) -> Verdict:
    return judge(process, identity.here(), identity.sight(process.pid, lock))


def test_a_living_process_and_its_end(sleeper: subprocess.Popen[bytes]) -> None:
    process = identity.capture(sleeper.pid)
    assert process[:3] == identity.here()
    assert verdict_on(process) is ALIVE
    os.kill(sleeper.pid, signal.SIGSTOP)
    assert verdict_on(process) is ALIVE  # stopped is not dead
    os.kill(sleeper.pid, signal.SIGKILL)
    os.waitid(os.P_PID, sleeper.pid, os.WEXITED | os.WNOWAIT)  # it ended, and nobody has buried it
    seen = identity.sight(sleeper.pid)
    assert seen.exists
    assert seen.zombie
    assert verdict_on(process) is DEAD
    sleeper.wait()
    assert identity.sight(sleeper.pid) == Sighting(exists=False)
    assert verdict_on(process) is DEAD


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not show a process's environment")
def test_the_lock_in_the_environment_is_a_second_proof(sleeper: subprocess.Popen[bytes]) -> None:
    lock = "host:1:abc-t_1"
    moved = identity.capture(sleeper.pid)._replace(started=1.0)
    assert identity.sight(sleeper.pid, lock).carries_lock is True
    assert identity.sight(sleeper.pid, "host:1:abc").carries_lock is False  # a part of it is not enough
    assert identity.sight(sleeper.pid).carries_lock is None
    assert verdict_on(moved) is UNKNOWN
    assert verdict_on(moved, lock) is ALIVE
    assert verdict_on(moved, "another:1:lock") is DEAD  # the pid belongs to somebody else now


@pytest.mark.parametrize("pid", [0, -1, -4711])
def test_no_group_is_taken_for_a_process(pid: int) -> None:
    assert identity.sight(pid, "lock") == Sighting(exists=False)


def test_a_process_of_somebody_else_exists() -> None:
    assert identity.sight(1).exists


def test_where_we_stand_is_known_and_stable() -> None:
    place = identity.here()
    assert all(place)
    assert place == identity.here()
    again = "from hermes_kanban_plugin.identity import here; print(*here(), sep=chr(10))"
    told = subprocess.run([sys.executable, "-c", again], capture_output=True, text=True, check=True).stdout
    assert told.splitlines() == list(place)
