"""scan takes back and starts nothing; service writes, shows and removes the service file."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from hermes_kanban_plugin import identity, locations, locks, open_board, service
from hermes_kanban_plugin.identity import ProcessIdentity
from hermes_kanban_plugin.store import leases
from hermes_kanban_plugin.testing import claim_one, violations
from tests.conftest import lives

DIED = "its supervisor and its worker died"


@pytest.fixture(autouse=True)
def lane(command) -> None:
    """Every task here could start at once, if anybody started it."""
    command.configure({"quick": [sys.executable, "-c", "open('started', 'w')"]})


@pytest.fixture
def gone() -> ProcessIdentity:
    """Who a process was that ended a moment ago."""
    ended = subprocess.Popen(["true"])
    who = identity.capture(ended.pid)
    ended.wait()
    return who


def held(supervisor: ProcessIdentity, worker: ProcessIdentity, *, seconds: int = 120) -> leases.Lease:
    """A running task in the hands of these two processes."""
    with open_board(create=True) as board:
        lease = claim_one(board, board.create_task(title="x", assignee="quick"), nonce=f"n{os.getpid()}")
        now = board.clock.now()
        leases.accept(board.writer, lease, supervisor, worker, now + seconds, now)
    return lease


def change(command, sql: str) -> None:
    """Write to the board as another program would."""
    with closing(sqlite3.connect(command.board, isolation_level=None)) as other:
        other.execute(sql)


def status_of(task_id: str) -> str:
    with open_board() as board:
        return str(board.task(task_id).status)


def test_scan_takes_back_what_the_dead_hold_and_starts_nothing(command, gone: ProcessIdentity) -> None:
    lease = held(gone, gone)
    ready = command.create("also ready", "--assignee", "quick")
    report = command.ok("scan", "--json").json
    expected = {"task_id": lease.task_id, "run_id": lease.run_id, "outcome": "reclaimed", "reason": DIED}
    assert report["rescued"] == [expected]
    assert (report["board"], report["started"], report["running"]) == ("default", [], 0)
    assert (status_of(lease.task_id), status_of(ready)) == ("ready", "ready")
    assert command.ok("runs", ready, "--json").json == []
    assert not (command.home / "kanban" / "workspaces").exists()
    assert violations(command.board) == []
    assert command.ok("scan", "--json").json["rescued"] == []


def test_scan_says_it_in_one_line_each(command, gone: ProcessIdentity) -> None:
    lease = held(gone, gone)
    said = command.ok("scan").out.splitlines()
    found = f"rescued {lease.task_id} run {lease.run_id}: {DIED}"
    assert said == [found, "board default: 0 running", "scan: 1 rescued, 0 repaired"]
    assert command.ok("scan").out == "board default: 0 running\nscan: 0 rescued, 0 repaired\n"


def test_scan_closes_illegal_pairs(command) -> None:
    task_id = command.create("x", "--triage")
    change(command, f"UPDATE tasks SET claim_lock = 'box:1', worker_pid = 7 WHERE id = '{task_id}'")
    (found,) = command.ok("scan", "--json").json["repaired"]
    assert (found["task_id"], found["reason"]) == (task_id, "claim on a task that is triage")
    assert violations(command.board) == []


def test_scan_stops_the_worker_that_its_supervisor_left_before_it_takes_the_task(command, gone) -> None:
    left = subprocess.Popen(["sleep", "600"])
    try:
        lease = held(gone, identity.capture(left.pid))
        (found,) = command.ok("scan", "--json").json["rescued"]
        assert found["reason"] == "its supervisor died; the worker it left behind was stopped"
        assert not lives(left.pid)
        assert status_of(lease.task_id) == "ready"
    finally:
        left.kill()
        left.wait()


def test_scan_finds_by_what_it_carries_what_a_dead_worker_left(command, gone: ProcessIdentity) -> None:
    lease = held(gone, gone)
    badge = {"HERMES_KANBAN_CLAIM_LOCK": lease.lock, "HERMES_KANBAN_RUN_ID": str(lease.run_id)}
    neighbour = {**badge, "HERMES_KANBAN_RUN_ID": str(lease.run_id + 1)}
    child, other = (subprocess.Popen(["sleep", "600"], env={**os.environ, **worn}) for worn in (badge, neighbour))
    try:
        assert len(command.ok("scan", "--json").json["rescued"]) == 1
        assert not lives(child.pid)
        assert lives(other.pid)
    finally:
        for process in (child, other):
            process.kill()
            process.wait()


def test_what_cannot_be_seen_is_taken_back_by_the_second_scan_only(command, gone: ProcessIdentity) -> None:
    stranger = gone._replace(host_id="another machine")
    lease = held(stranger, stranger, seconds=-10)
    assert command.ok("scan", "--json").json["rescued"] == []
    assert status_of(lease.task_id) == "running"
    change(command, "UPDATE kp_suspects SET since = since - 1")  # a second later
    (found,) = command.ok("scan", "--json").json["rescued"]
    assert found["reason"] == "its lease ended and its supervisor cannot be seen from here"


def test_scan_leaves_a_living_run_alone(command) -> None:
    me = identity.capture(os.getpid())
    lease = held(me, me)
    report = command.ok("scan", "--json").json
    assert (report["rescued"], report["repaired"], report["running"]) == ([], [], 1)
    assert status_of(lease.task_id) == "running"


def test_scan_does_nothing_while_somebody_else_ticks_the_board(command, gone: ProcessIdentity) -> None:
    lease = held(gone, gone)
    with locks.trying(locations.tick_lock(command.board)) as alone:
        assert alone
        assert "somebody else is ticking it right now" in command.ok("scan").out
        assert command.ok("scan", "--json").json["locked_out"] is True
    assert status_of(lease.task_id) == "running"


def test_scan_of_a_board_that_was_never_made(command) -> None:
    command("scan").refused(2, "board 'default' does not exist")
    assert not command.board.exists()


def test_a_dispatcher_drains_or_stops_workers_and_not_both(command) -> None:
    command("dispatcher", "--drain", "--stop-workers").refused(2, "not allowed with")


# --- service -------------------------------------------------------------------------------------------------------

linux = pytest.mark.skipif(sys.platform != "linux", reason="a systemd unit")


@pytest.fixture
def manager(tmp_path: Path) -> dict[str, str]:
    """Variables under which a small script is the service manager; it notes what it is told."""
    folder = tmp_path / "bin"
    folder.mkdir()
    program = folder / "systemctl"
    program.write_text(f"#!/bin/sh\necho \"$*\" >> '{tmp_path}/told'\necho active\n")
    program.chmod(0o755)
    return {"PATH": str(folder), "XDG_CONFIG_HOME": str(tmp_path / "config")}


def unit_of(manager: dict[str, str]) -> Path:
    return Path(manager["XDG_CONFIG_HOME"]) / "systemd" / "user" / service.UNIT_NAME


@linux
@pytest.mark.parametrize("action", ["install", "status", "uninstall"])
def test_print_shows_the_file_and_does_nothing(command, manager: dict[str, str], tmp_path: Path, action: str) -> None:
    said = command.ok("service", action, "--print", **manager).out
    assert "\nKillMode=process\n" in said
    assert f"HERMES_HOME={command.home}\n" in said
    assert not unit_of(manager).exists()
    assert not (tmp_path / "told").exists()


@linux
def test_a_life_of_the_service(command, manager: dict[str, str], tmp_path: Path) -> None:
    unit = unit_of(manager)
    assert command.ok("service", "status", **manager).out.startswith("not installed")
    assert command.ok("service", "install", **manager).out == f"installed {unit} and started\n"
    assert unit.read_text() == command.ok("service", "install", "--print", **manager).out
    assert (tmp_path / "told").read_text().splitlines()[-1].endswith(f"enable --now {service.UNIT_NAME}")
    assert command.ok("service", "status", **manager).out == "active\n"
    assert command.ok("service", "uninstall", **manager).out == f"removed {unit}\n"
    assert not unit.exists()
    assert command.ok("service", "uninstall", **manager).out == f"was not installed: {unit}\n"


@linux
def test_without_a_manager_the_answer_says_who_has_to_start_it(command, manager: dict[str, str], tmp_path) -> None:
    empty = manager | {"PATH": str(tmp_path / "nothing")}
    said = command.ok("service", "install", **empty).out
    assert said == f"installed {unit_of(manager)} (start it with your service manager)\n"
    assert "systemctl is not there to run it" in command.ok("service", "status", **empty).out


@linux
def test_a_manager_that_refuses_is_one_line(command, manager: dict[str, str]) -> None:
    program = Path(manager["PATH"]) / "systemctl"
    program.write_text("#!/bin/sh\necho 'Failed to connect to bus' >&2\nexit 1\n")
    command("service", "install", **manager).refused(1, "daemon-reload failed: Failed to connect to bus")
    assert unit_of(manager).exists()


def test_an_action_that_does_not_exist(command) -> None:
    command("service", "restart").refused(2, "invalid choice")
    command("service").refused(2, "action")


def test_scan_can_be_tried(command) -> None:
    task_id = command.create("a task")
    with open_board() as board:
        board.writer.execute("UPDATE tasks SET claim_lock = 'stray' WHERE id = ?", (task_id,))
    assert "would have 0 rescued, 1 repaired" in command.ok("scan", "--dry-run").out
    assert command.ok("scan", "--dry-run", "--json").json["dry_run"] is True
    with open_board() as board:
        assert board.task(task_id).claim_lock == "stray"
    assert "1 repaired" in command.ok("scan").out
