"""status: who dispatches and what runs, said at once, with everything down, and without a trace of the asking."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from hermes_kanban_plugin import locations, locks
from tests.conftest import wait_for


def change(command, sql: str) -> None:
    with closing(sqlite3.connect(command.board, isolation_level=None)) as other:
        other.execute(sql)


@pytest.fixture
def dispatcher(command) -> Iterator[subprocess.Popen[bytes]]:
    """A dispatcher that has ticked the default board."""
    command.ok("init")
    process = subprocess.Popen(command.argv("dispatcher"), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_for(lambda: command("status", "--json").json["dispatcher"]["last_tick_at"], "its first tick")
        yield process
    finally:
        process.send_signal(signal.SIGCONT)
        process.kill()
        process.wait()


def state(command) -> tuple[int, str, int | None]:
    answer = command("status", "--json")
    assert answer.err == ""
    return answer.status, answer.json["dispatcher"]["state"], answer.json["dispatcher"]["pid"]


def test_with_nothing_there_it_says_so_and_makes_nothing(command) -> None:
    answer = command("status")
    assert (answer.status, answer.err) == (1, "")
    assert answer.out.splitlines() == [
        "dispatcher never ran here; start it: hermes gateway restart (or hermes-kanban dispatcher)",
        "caps       none",
        "board      none yet; make one: hermes-kanban init",
    ]
    assert list(command.home.iterdir()) == []


def test_a_board_that_is_looked_at_gets_no_row(command) -> None:
    command.ok("init")
    before = command.ok("list", "--json").out, command.board.read_bytes()
    assert "board      default: empty" in command("status").out
    assert (command.ok("list", "--json").out, command.board.read_bytes()) == before
    left = {path.name for path in command.home.rglob("*")}
    assert left <= {"kanban.db", "kanban.db-wal", "kanban.db-shm"}, "no lock, no folder"


def test_a_dispatcher_that_serves(command, dispatcher: subprocess.Popen[bytes]) -> None:
    assert state(command) == (0, "serving", dispatcher.pid)
    said = command.ok("status", "--json").json["dispatcher"]
    assert said["serves"] is True
    assert said["lock_holder_pid"] == dispatcher.pid
    assert f"(pid {os.getpid()})" in said["started_by"]
    assert 0 <= said["last_tick_age_seconds"] < 45
    assert f"serving, pid {dispatcher.pid}, started by" in command.ok("status").out


def test_a_dead_dispatcher_shows_at_once(command, dispatcher: subprocess.Popen[bytes]) -> None:
    dispatcher.kill()
    dispatcher.wait()
    assert state(command) == (1, "dead", dispatcher.pid)
    assert f"dead, pid {dispatcher.pid} ended without a word" in command("status").out


def test_a_stopped_dispatcher(command, dispatcher: subprocess.Popen[bytes]) -> None:
    dispatcher.terminate()
    dispatcher.wait()
    assert state(command)[:2] == (1, "stopped")


def test_a_frozen_dispatcher_is_named_with_the_way_to_wake_it(command, dispatcher: subprocess.Popen[bytes]) -> None:
    dispatcher.send_signal(signal.SIGSTOP)
    change(command, "UPDATE kp_dispatchers SET last_tick_at = last_tick_at - 100")
    assert state(command) == (1, "silent", dispatcher.pid)
    assert f"kill -CONT {dispatcher.pid}" in command("status").out


def test_a_pid_that_somebody_else_has_by_now_is_no_dispatcher(command) -> None:
    """The row says this very process, but started at another time: a reused pid."""
    command.ok("init")
    command.add("x")
    here = locations.kanban_root()
    change(
        command,
        "INSERT INTO kp_dispatchers (host_id, boot_id, pid_namespace, pid, started, began_at, last_tick_at) "
        f"VALUES ('another machine', 'b', 'n', {os.getpid()}, 1.0, 1, 1)",
    )
    assert state(command) == (1, "dead", os.getpid())
    assert not locations.dispatcher_lock(here).exists()


def test_a_lock_that_is_not_ours_is_hermes(command) -> None:
    command.ok("init")
    lock = locks.FileLock(locations.dispatcher_lock(command.home))
    assert lock.acquire()
    try:
        assert state(command) == (1, "hermes", os.getpid())
        assert f"not ours: pid {os.getpid()} holds the lock" in command("status").out
    finally:
        lock.release()
    assert state(command)[1] == "never"


def test_columns_runs_and_caps(command, worker) -> None:
    command.configure({}, max_spawn=4, max_in_progress_per_profile=2)
    running, _ = command.add("the one that runs"), command.add("the one that waits")
    worker(running)
    said = command("status", "--json").json
    assert said["caps"]["max_spawn"] == {"value": 4, "source": str(command.home / "config.yaml")}
    assert said["caps"]["max_in_progress"] == {"value": None, "source": "default"}
    (board,) = said["boards"]
    assert board["counts"] == {"running": 1, "ready": 1}
    (run,) = board["running"]
    assert (run["task_id"], run["run_id"], run["title"]) == (running, 1, "the one that runs")
    assert 0 <= run["age_seconds"] < 60
    assert 540 < run["lease_left_seconds"] <= 600
    text = command("status").out
    assert "board      default: 1 running, 1 ready" in text
    assert f"max_spawn 4 ({command.home / 'config.yaml'})" in text
    assert running in text


def test_one_board_or_all(command) -> None:
    command.ok("init")
    command.ok("--board", "other", "init")
    assert [one["board"] for one in command("status", "--json").json["boards"]] == ["default", "other"]
    assert [one["board"] for one in command("--board", "other", "status", "--json").json["boards"]] == ["other"]
    command("--board", "nosuch", "status").refused(2, "board 'nosuch' does not exist")


def test_what_cannot_be_read_is_said_and_the_rest_still_shows(command) -> None:
    command.ok("init")
    command.ok("--board", "bad", "init")
    (command.home / "kanban/boards/bad/kanban.db").write_bytes(b"no database" * 100)
    (command.home / "config.yaml").write_text("plugins: {entries: {hermes-kanban: {leese_seconds: 1}}}")
    answer = command("status")
    assert answer.err == ""
    assert "did you mean 'lease_seconds'" in answer.out
    assert "board      default: empty" in answer.out
    assert "is not an SQLite database" in answer.out


def test_a_long_list_is_cut(command, worker) -> None:
    for number in range(22):
        worker(command.add(f"task {number}"))
    answer = command("status")
    assert "and 2 more: hermes-kanban list --status running" in answer.out
    assert len(command("status", "--json").json["boards"][0]["running"]) == 22


def test_a_lock_file_that_nobody_holds(tmp_path: Path) -> None:
    assert locks.holder(tmp_path / "missing") is None
    (tmp_path / "free").touch()
    assert locks.holder(tmp_path / "free") is None
