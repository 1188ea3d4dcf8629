"""What a person or a script gets wrong, and settings that are broken just when somebody asks what is wrong."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
from pathlib import Path

import pytest

from hermes_kanban_plugin import open_board
from tests.conftest import host_lock, wait_for

NO_YAML, WRONG = "plugins: [", "plugins: {entries: {hermes-kanban: {lease_seconds: soon}}}"


@pytest.mark.parametrize(
    "words",
    [
        ("pause", ""),
        ("resume", " "),
        ("--board", "", "status"),
        ("--board=", "list"),
        ("restore", ""),
        ("export", ""),
        ("backup", ""),
        ("list", "--board", ""),
    ],
)
def test_an_empty_name_is_no_other_board(command, words: tuple[str, ...]) -> None:
    command.ok("init")
    command(*words).refused(2, "empty name")
    assert "paused" not in command("status").out


def test_contradictions_are_refused(command) -> None:
    command.ok("init")
    command.ok("--board", "two", "init")
    command("pause", "two", "--board", "default").refused(2, "two boards are named")
    command("reclaim", "--stale", "--reason", "why").refused(2, "--reason")
    command.ok("pause", "two", "--board", "two")


def test_what_is_no_snapshot_is_named_as_that(command, tmp_path: Path) -> None:
    command.ok("init")
    command("restore", str(tmp_path / "missing.db")).refused(2, "there is no snapshot at")
    text = tmp_path / "text.db"
    text.write_text("no database at all " * 100)
    command("restore", str(text)).refused(1, "is no snapshot of a board", "name another file")


@pytest.mark.parametrize(
    ("words", "broken"),
    [
        (("why", "TASK"), NO_YAML),
        (("why", "TASK"), WRONG),
        (("diagnostics",), NO_YAML),
        (("doctor",), WRONG),
        (("scan",), NO_YAML),
        (("scan",), WRONG),
        (("reclaim", "--stale"), NO_YAML),
        (("stop", "TASK"), NO_YAML),
        (("status",), NO_YAML),
        (("backup",), NO_YAML),
    ],
)
def test_what_helps_out_of_trouble_works_with_broken_settings(command, broken: str, words: tuple[str, ...]) -> None:
    task_id = command.create("x", "--assignee", "nobody-known")
    (command.home / "config.yaml").write_text(broken)
    answer = command(*(task_id if word == "TASK" else word for word in words))
    assert answer.status in (0, 1)
    assert answer.out
    assert "Traceback" not in answer.err
    if words[0] in ("why", "diagnostics", "doctor"):
        assert "nobody dispatches" in answer.out or "nobody-known" in answer.out


def test_doctor_goes_on_where_nothing_can_be_mended(command) -> None:
    command.ok("init")
    (command.home / "config.yaml").write_text("plugins: [")
    answer = command("doctor", "--fix")
    assert answer.status == 1
    assert "nothing was mended" in answer.err or "in the way" in answer.out or "cannot" in answer.out
    assert "correct the file" in answer.out


@pytest.mark.parametrize("verb", [("reclaim",), ("stop",), ("cancel",), ("complete",), ("block",)])
def test_a_dry_run_refuses_what_the_command_refuses(command, verb: tuple[str, ...]) -> None:
    """The pid of a foreign claim belongs to somebody else by now, so nobody may stop it."""
    task_id = command.create("x", "--assignee", "coder")
    stranger, lock = subprocess.Popen(["sleep", "60"]), host_lock()
    try:
        with open_board() as board:
            board.writer.execute(
                "INSERT INTO task_runs (id, task_id, status, claim_lock, worker_pid, started_at) "
                "VALUES (1, ?, 'running', ?, ?, 1)",
                (task_id, lock, stranger.pid),
            )
            board.writer.execute(
                "UPDATE tasks SET status = 'running', claim_lock = ?, claim_expires = 9999999999, "
                "worker_pid = ?, current_run_id = 1 WHERE id = ?",
                (lock, stranger.pid, task_id),
            )
        tried, done = (command(*verb, task_id, *more) for more in (("--dry-run",), ()))
        assert (tried.status, done.status) == (2, 2)
        assert tried.err == done.err
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


def test_trying_a_restore_or_a_backup_makes_no_file(command, tmp_path: Path) -> None:
    command.create("x")
    snapshot = tmp_path / "s.db"
    command.ok("backup", str(snapshot))
    before = sorted(str(path) for path in command.home.rglob("*") if not path.name.endswith(("-shm", "-wal")))
    tried = command.ok("backup", "--dry-run", "--json").json
    assert (tried["dry_run"], len(tried["would_write"]), tried["snapshots"]) == (True, 1, [])
    command.ok("restore", str(snapshot), "--dry-run")
    after = sorted(str(path) for path in command.home.rglob("*") if not path.name.endswith(("-shm", "-wal")))
    assert after == before


def test_watch_puts_the_screen_back_when_it_is_ended(command) -> None:
    command.create("x")
    ours, theirs = pty.openpty()
    environment = {**os.environ, "TERM": "xterm"}
    watching = subprocess.Popen(command.argv("watch"), stdin=theirs, stdout=theirs, stderr=theirs, env=environment)
    os.close(theirs)
    seen = b""

    def read() -> bool:
        nonlocal seen
        seen += os.read(ours, 65536)
        return b"\x1b[?1049h" in seen and b"ready" in seen

    wait_for(read, "the picture")
    watching.send_signal(signal.SIGTERM)
    assert watching.wait(timeout=20) == 128 + signal.SIGTERM
    try:
        while chunk := os.read(ours, 65536):
            seen += chunk
    except OSError:
        pass  # the other end was closed
    os.close(ours)
    assert b"\x1b[?1049l" in seen


def test_watch_on_a_terminal_that_can_do_nothing_prints_once(command) -> None:
    command.create("a task to see")
    ours, theirs = pty.openpty()
    done = subprocess.Popen(command.argv("watch"), stdin=theirs, stdout=theirs, env={**os.environ, "TERM": "dumb"})
    os.close(theirs)
    assert done.wait(timeout=30) == 0
    assert b"a task to see" in os.read(ours, 65536)
    os.close(ours)
