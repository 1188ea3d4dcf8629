"""A mistake is one line on standard error and an exit status; the board is left as it was."""

from __future__ import annotations

import sqlite3
import subprocess
from pathlib import Path

import pytest

NEEDS_TASK = (("show",), ("runs",), ("events",), ("claim",), ("heartbeat",), ("complete",), ("block",), ("unblock",),
              ("reclaim",), ("stop",), ("edit", "--clear-claim"), ("edit", "--reset-failures"))  # fmt: skip


@pytest.mark.parametrize("words", NEEDS_TASK)
def test_unknown_task(command, words: tuple[str, ...]) -> None:
    command.add("another one")
    command(*words, "t_nosuch").refused(2, "unknown task 't_nosuch'", "hermes-kanban list")


@pytest.mark.parametrize("words", [("list",), ("dispatch",), ("dispatcher",), ("create", "x"), ("claim", "t_1")])
def test_unknown_board(command, words: tuple[str, ...]) -> None:
    command("--board", "nosuch", *words).refused(2, "board 'nosuch' does not exist", "--board nosuch init")
    assert not (command.home / "kanban/boards/nosuch").exists()


def test_a_name_that_cannot_be_a_boards(command) -> None:
    command("--board", "../x", "list").refused(2, "cannot be a board's name")


@pytest.mark.parametrize(
    ("words", "named"),
    [
        ((), "VERB"),
        (("list", "--bogus"), "--bogus"),
        (("list", "--js"), "--js"),  # no abbreviations: they change their meaning with the next version
        (("list", "--status", "bogus"), "'bogus'"),
        (("show",), "task_id"),
        (("create",), "title"),
        (("create", "x", "--priority", "high"), "high"),
        (("create", "x", "--max-runtime", "0"), "duration"),
        (("create", "x", "--max-runtime", "²"), "²"),
        (("create", "x", "--workspace", "dir"), "workspace"),
        (("claim", "t_1", "--ttl", "0"), "at least 1"),
        (("stop",), "task_id"),
        (("setup", "--check", "--bogus"), "--bogus"),
        (("dispatch", "--max", "-1"), "--max"),
        (("block", "t_1", "x", "--kind", "bogus"), "'bogus'"),
    ],
)
def test_words_that_are_not_understood(command, words: tuple[str, ...], named: str) -> None:
    command(*words).refused(2, named, "--help")


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (("create", "  "), "title is required"),
        (("create", "x", "--parent", "t_none"), "unknown parent task(s): t_none"),
        (("create", "x", "--branch", "b"), "worktree"),
        (("create", "x", "--skill", "a,b"), "comma"),
        (("create", "x", "--priority", str(2**40)), "priority"),
        (("create", "x", "--max-retries", str(2**40)), "max_retries"),
    ],
)
def test_a_task_that_cannot_be(command, words: tuple[str, ...], named: str) -> None:
    command.ok("init")
    command(*words).refused(2, named)
    assert command.ok("list", "--json").json == []


@pytest.mark.parametrize("words", [("list",), ("show", "t_1"), ("create", "x"), ("dispatch",), ("init",)])
@pytest.mark.parametrize(
    ("content", "named"), [(b"no database at all, just some text that is long enough" * 40, "not an SQLite"),
                           (b"", "0 bytes")]
)  # fmt: skip
def test_a_damaged_board(command, words: tuple[str, ...], content: bytes, named: str) -> None:
    command.board.write_bytes(content)
    command(*words).refused(1, str(command.board), named)
    assert command.board.read_bytes() == content


def test_a_truncated_board(command) -> None:
    for number in range(3):
        command.add(f"task {number} {'x' * 3000}")
    with sqlite3.connect(command.board) as writer:
        writer.execute("PRAGMA journal_mode = DELETE")
    writer.close()
    content = command.board.read_bytes()[:8192]
    command.board.write_bytes(content)
    command("list").refused(1, str(command.board))
    assert command.board.read_bytes() == content


def test_another_kind_of_database(command) -> None:
    with sqlite3.connect(command.board) as other:
        other.execute("CREATE TABLE songs (title TEXT)")
    other.close()
    content = command.board.read_bytes()
    command("create", "x").refused(1, "not a kanban board")
    assert command.board.read_bytes() == content


BAD_YAML = ("kanban: [", "not valid YAML")
MISSPELT = ("plugins: {entries: {hermes-kanban: {leese_seconds: 1}}}", "did you mean 'lease_seconds'")


@pytest.mark.parametrize(
    ("words", "slip"),
    [
        (("dispatch",), BAD_YAML),
        (("dispatch",), MISSPELT),
        (("dispatch", "--dry-run"), BAD_YAML),
        (("dispatch", "--dry-run"), MISSPELT),
        (("dispatcher",), BAD_YAML),
    ],
)
def test_bad_settings(command, words: tuple[str, ...], slip: tuple[str, str]) -> None:
    text, named = slip
    command.add("x")
    (command.home / "config.yaml").write_text(text)
    command(*words).refused(2, "config.yaml", named)


def test_a_misspelt_key_does_not_keep_the_dispatcher_down(command) -> None:
    (command.home / "config.yaml").write_text(MISSPELT[0])
    argv = command.argv("dispatcher", "--until-eof")
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0
    assert MISSPELT[1] in done.stderr
    assert "go on under their supervisors" in done.stderr


def test_a_bad_value_of_hermes_is_named_and_its_default_counts(command) -> None:
    command.add("x")
    (command.home / "config.yaml").write_text("kanban: {max_spawn: many}")
    answer = command("dispatch", "--dry-run")
    assert answer.status == 0
    assert answer.err.count("\n") == 1
    assert "config.yaml, section kanban" in answer.err
    assert "max_spawn: 'many'" in answer.err
    assert "max_spawn: 'many'" in command("status").out


def test_a_path_that_the_system_refuses(command) -> None:
    command("list", HERMES_KANBAN_DB="/" + "x" * 300).refused(1, "too long")
    command("list", HERMES_KANBAN_DB="~nobody-has-this-name/x.db").refused(2, "HERMES_KANBAN_DB")


def test_a_folder_in_the_boards_place(command, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    command("list", HERMES_KANBAN_DB=str(tmp_path / "folder")).refused(1, "is a folder")


def test_output_that_cannot_be_written(command) -> None:
    command.add("x")
    with Path("/dev/full").open("w") as full:
        for words in (("list",), ("list", "--json")):
            done = subprocess.run(command.argv(*words), stdout=full, stderr=subprocess.PIPE, text=True, check=False)
            assert done.returncode == 1
            assert "Traceback" not in done.stderr
            assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("seconds", ["2592001", "9000000000000000000", "99999999999999999999999"])
def test_a_claim_that_would_outlive_everybody_is_refused_before_it_is_made(command, seconds: str) -> None:
    task_id = command.add("x")
    command("claim", task_id, "--ttl", seconds).refused(2, "--ttl")
    assert command.state(task_id)[0].status == "ready"


def test_numbers_and_names_that_no_board_can_hold(command) -> None:
    command.add("x")
    command("events", "--after", "9" * 23).refused(2, "cannot be used")
    assert "Traceback" not in command("backup", "~nobody-has-this-name/x.db", "--dry-run").err
