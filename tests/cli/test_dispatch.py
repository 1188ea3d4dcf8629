"""dispatch: a rehearsal that changes nothing and tells what the real tick then does."""

from __future__ import annotations

import hashlib
import shutil
import sys
import time
from pathlib import Path

import pytest

from hermes_kanban_plugin import identity
from hermes_kanban_plugin.testing import violations

BOARDS = sorted((Path(__file__).parents[1] / "fixtures/boards").glob("*.db"))


def bytes_of(path: Path) -> dict[str, str]:
    """The board and its log as hashes; nothing of ours has it open."""
    found = (path, path.with_name(f"{path.name}-wal"))
    return {
        file.name: hashlib.sha256(file.read_bytes()).hexdigest()
        for file in found
        if file.exists() and file.stat().st_size
    }


def finished(command, *task_ids: str) -> dict[str, str]:
    """Wait until no task runs and no worker lives, and return the statuses."""
    for _ in range(300):
        rows = {task["id"]: task["status"] for task in command.ok("list", "--json").json if task["id"] in task_ids}
        runs = [run for task_id in task_ids for run in command.ok("runs", task_id, "--json").json]
        gone = all(not run["supervisor_pid"] or identity.sight(run["supervisor_pid"]).exists is False for run in runs)
        if "running" not in rows.values() and gone:
            return rows
        time.sleep(0.1)
    raise AssertionError(f"still running: {rows}")


@pytest.fixture
def prepared(command) -> dict[str, str]:
    """A board with something to do in every phase."""
    command.configure({"quick": [sys.executable, "-c", "print('made it')"]}, max_spawn=2)
    ids = {name: command.create(name, "--assignee", "quick", "--priority", prio) for name, prio in
           (("third", "1"), ("first", "9"), ("second", "5"))}  # fmt: skip
    ids["child"] = command.create("child", "--assignee", "quick", "--parent", ids["first"])
    ids["nobody"] = command.create("nobody's", "--assignee", "nobody", "--priority", "20")
    return ids


def test_a_dry_run_changes_no_byte_and_is_right(command, prepared: dict[str, str]) -> None:
    before = bytes_of(command.board)
    planned = command.ok("dispatch", "--dry-run", "--json").json
    said = command.ok("dispatch", "--dry-run").out
    assert bytes_of(command.board) == before
    assert not (command.home / "kanban/workspaces").exists()
    assert not (command.home / "kanban/logs").exists()
    assert f"would have started {prepared['first']} for quick on lane command" in said
    done = command.ok("dispatch", "--json").json
    assert [task["task_id"] for task in planned["started"]] == [prepared["first"], prepared["second"]]
    assert [task["task_id"] for task in done["started"]] == [prepared["first"], prepared["second"]]
    assert planned["skipped"] == done["skipped"]
    assert planned["running"] == done["running"] == 2
    assert planned["dry_run"]
    assert not done["dry_run"]
    assert finished(command, prepared["first"], prepared["second"]) == {
        prepared["first"]: "done",
        prepared["second"]: "done",
    }
    assert command.ok("show", prepared["child"], "--json").json["task"]["status"] == "ready"
    assert violations(command.board) == []


def test_a_dry_run_rescues_in_thought_only(command) -> None:
    command.ok("init")
    task_id = command.create("x")
    command.ok("claim", task_id, "--ttl", "1")
    time.sleep(2.1)
    before = bytes_of(command.board)
    planned = command.ok("dispatch", "--dry-run", "--json").json
    assert [rescued["task_id"] for rescued in planned["rescued"]] == [task_id]
    assert bytes_of(command.board) == before
    assert command.ok("show", task_id, "--json").json["task"]["status"] == "running"
    done = command.ok("dispatch", "--json").json
    assert done["rescued"] == planned["rescued"]


@pytest.mark.parametrize("fixture", BOARDS, ids=lambda path: path.stem)
def test_a_dry_run_on_a_board_of_an_older_host(command, fixture: Path) -> None:
    shutil.copyfile(fixture, command.board)
    before = bytes_of(command.board)
    report = command.ok("dispatch", "--dry-run", "--json").json
    for words in (("list", "--json"), ("events", "--json"), ("list", "--archived")):
        command.ok(*words)
    assert report["dry_run"]
    assert bytes_of(command.board) == before


def test_limits_of_this_one_call(command, prepared: dict[str, str]) -> None:
    assert len(command.ok("dispatch", "--dry-run", "--max", "1", "--json").json["started"]) == 1
    assert len(command.ok("dispatch", "--dry-run", "--max", "3", "--json").json["started"]) == 3


def test_a_failing_worker_and_the_failure_limit_of_this_call(command) -> None:
    command.configure({"bad": [sys.executable, "-c", "raise SystemExit(3)"]})
    task_id = command.create("x", "--assignee", "bad")
    command.ok("dispatch", "--failure-limit", "1")
    assert finished(command, task_id) == {task_id: "blocked"}
    shown = command.ok("show", task_id, "--json").json
    assert [run["exit_code"] for run in shown["runs"]] == [3]
    assert "gave_up" in [event["kind"] for event in shown["events"]]


def test_the_terminals_lease(command) -> None:
    """Claim and heartbeats in a terminal: each beat gives the lease its own length again, and nothing is rescued."""
    task_id = command.create("x")
    now = int(time.time())
    first = command.ok("claim", task_id, "--ttl", "300", "--json").json
    assert now + 300 <= first["claim_expires"] <= now + 315
    command.ok("heartbeat", task_id)
    beaten = command.ok("show", task_id, "--json").json["task"]
    assert first["claim_expires"] <= beaten["claim_expires"] <= now + 330
    assert beaten["last_heartbeat_at"] >= now
    command.ok("heartbeat", task_id)
    again = command.ok("show", task_id, "--json").json["task"]
    assert again["claim_expires"] >= beaten["claim_expires"]
    assert command.ok("dispatch", "--json").json["rescued"] == []
    assert command.ok("show", task_id, "--json").json["task"]["status"] == "running"


def test_profiles_and_settings_are_those_of_hermes_wherever_the_board_is(command, tmp_path, monkeypatch) -> None:
    """``HERMES_KANBAN_HOME`` moves boards, logs and locks; profiles stay where Hermes has them."""
    elsewhere = tmp_path / "fast disk"
    elsewhere.mkdir()
    monkeypatch.setenv("HERMES_KANBAN_HOME", str(elsewhere))
    (command.home / "profiles" / "writer").mkdir(parents=True)
    command.configure({"quick": [sys.executable, "-c", "print('made it')"]}, max_in_progress=2)
    wanted = {"writer": "3", "quick": "2", "default": "1"}
    ids = [command.create(name, "--assignee", name, "--priority", prio) for name, prio in wanted.items()]
    assert (elsewhere / "kanban.db").exists()
    planned = command.ok("dispatch", "--dry-run", "--json").json
    assert [one["task_id"] for one in planned["started"]] == ids[:2]
    assert [one["lane"] for one in planned["started"]] == ["hermes", "command"]
    assert planned["skipped"][0]["reason"] == "at capacity (max_in_progress 2)"
    caps = command("status", "--json").json["caps"]
    assert caps["max_in_progress"] == {"value": 2, "source": str(command.home / "config.yaml")}
