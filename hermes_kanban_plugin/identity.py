"""Who a process is: recorded when it starts, compared when somebody asks whether it still lives.

A pid alone proves nothing (pids are reused, repeated in other namespaces and foreign after a reboot), so an identity
is host, boot, pid namespace, pid and start time, and the claim lock in the process's environment is a second proof.
Standard library only: the supervisor uses this module too. Rule source: DESIGN.md section 2, contract W3, W15.
"""

from __future__ import annotations

import os
import sys
import time
from enum import StrEnum
from functools import cache
from typing import NamedTuple

# Start times are exact on Linux (clock ticks since boot); elsewhere they are wall clock and drift over sleep.
START_TOLERANCE_SECONDS = 0.05 if sys.platform == "linux" else 600.0
# What stands for a boot id on a machine that does not tell it.
NO_BOOT_ID = "unknown"
_LINUX = sys.platform == "linux"


class Verdict(StrEnum):
    """What is known about a process: alive, dead, or unknown (which waits for the lease)."""

    ALIVE = "alive"
    DEAD = "dead"
    UNKNOWN = "unknown"


class Place(NamedTuple):
    """Where pids mean something: a machine, one boot of it, one pid namespace."""

    host_id: str
    boot_id: str
    pid_namespace: str


class ProcessIdentity(NamedTuple):
    """A process that cannot be confused with another one; ``started`` is seconds since boot on Linux, else epoch."""

    host_id: str
    boot_id: str
    pid_namespace: str
    pid: int
    started: float | None


class Sighting(NamedTuple):
    """What the process table says about a pid now; None means "could not look"."""

    exists: bool | None
    zombie: bool = False
    started: float | None = None
    carries_lock: bool | None = None


def judge(recorded: ProcessIdentity, here: Place, seen: Sighting) -> Verdict:
    """Return the verdict on a recorded process; pure, and disagreement without proof is unknown, never dead.

    Args:
        recorded: the identity written when the process started.
        here: where the caller stands.
        seen: what the caller's process table says about ``recorded.pid``; ignored when the places differ.
    """
    if recorded.host_id != here.host_id:
        return Verdict.UNKNOWN
    if recorded.boot_id != here.boot_id:
        # A boot id that could not be read proves no reboot.
        return Verdict.UNKNOWN if NO_BOOT_ID in (recorded.boot_id, here.boot_id) else Verdict.DEAD
    if recorded.pid_namespace != here.pid_namespace or seen.exists is None:
        return Verdict.UNKNOWN
    if not seen.exists or seen.zombie:
        return Verdict.DEAD
    if seen.carries_lock:
        return Verdict.ALIVE
    return _judge_start(recorded.started, seen)


def _judge_start(started: float | None, seen: Sighting) -> Verdict:
    if started is None or seen.started is None:
        return Verdict.UNKNOWN
    if abs(started - seen.started) <= START_TOLERANCE_SECONDS:
        return Verdict.ALIVE
    return Verdict.DEAD if seen.carries_lock is False else Verdict.UNKNOWN


@cache
def here() -> Place:
    """Return where this process stands; looked up once per process."""
    return Place(_host_id(), _boot_id(), _pid_namespace())


def capture(pid: int) -> ProcessIdentity:
    """Return the identity of a process that is known to live now (a child of the caller, or the caller)."""
    return ProcessIdentity(*here(), pid, sight(pid).started)


def sight(pid: int, lock: str | None = None) -> Sighting:
    """Look one pid up in the process table.

    Args:
        pid: the process id; 0 and negative numbers exist never (they would mean groups to ``kill``).
        lock: the claim lock that the process should carry in its environment, if that is to be looked at.
    """
    if pid <= 0:
        return Sighting(exists=False)
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return Sighting(exists=False)
    except PermissionError:
        pass  # it exists and belongs to somebody else
    except OSError:
        return Sighting(exists=None)
    state, started = _stat_linux(pid) if _LINUX else _stat_ps(pid)
    if state is None:
        return Sighting(exists=None)
    return Sighting(True, state in "ZX", started, None if lock is None else _carries(pid, lock))


def _stat_linux(pid: int) -> tuple[str | None, float | None]:
    """Return state letter and start time in seconds since boot, from the kernel."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as stream:
            fields = stream.read().rpartition(b")")[2].split()
        return fields[0].decode(), int(fields[19]) / os.sysconf("SC_CLK_TCK")
    except (OSError, IndexError, ValueError):
        return None, None


def _stat_ps(pid: int) -> tuple[str | None, float | None]:
    """Return state letter and start time in epoch seconds, from ``ps`` (macOS, BSD)."""
    output = _output_of("ps", "-o", "state=,lstart=", "-p", str(pid))
    state, _, started = output.partition(" ")
    try:
        return state[:1] or None, time.mktime(time.strptime(started.strip()))
    except ValueError:
        return state[:1] or None, None


def _carries(pid: int, lock: str) -> bool | None:
    try:
        with open(f"/proc/{pid}/environ", "rb") as stream:
            return f"HERMES_KANBAN_CLAIM_LOCK={lock}".encode() in stream.read().split(b"\0")
    except OSError:
        return None


def _host_id() -> str:
    """Return an id of the machine that survives a new host name."""
    for path in ("/etc/machine-id", "/var/lib/dbus/machine-id"):
        text = _read_line(path)
        if text:
            return text
    if sys.platform == "darwin":
        text = _output_of("/usr/sbin/sysctl", "-n", "kern.uuid")
        if text:
            return text
    import uuid

    return f"{uuid.getnode():012x}"


def _boot_id() -> str:
    linux = _read_line("/proc/sys/kernel/random/boot_id")
    if linux:
        return linux
    return _output_of("/usr/sbin/sysctl", "-n", "kern.bootsessionuuid") or NO_BOOT_ID


def _pid_namespace() -> str:
    try:
        return os.readlink("/proc/self/ns/pid")
    except OSError:
        return "host"


def _read_line(path: str) -> str:
    try:
        with open(path, encoding="ascii") as stream:
            return stream.readline().strip()
    except OSError:
        return ""


def _output_of(*argv: str) -> str:
    from subprocess import run  # late: the supervisor on Linux never needs it and saves its memory

    try:
        done = run(argv, capture_output=True, text=True, check=False, env={"LC_ALL": "C", "PATH": os.defpath})
    except OSError:
        return ""
    return done.stdout.strip()
