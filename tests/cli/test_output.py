"""What is printed: text stays text, and a reader that goes away or interrupts is no error."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator

import pytest

from hermes_kanban_plugin import open_board

HOSTILE = "[bold red]x[/] \x1b[2J\x1b]0;owned\x07 <script>alert(1)</script> :boom: \x9b31m \r\x08 {x} %s"


@pytest.mark.parametrize("words", [("list",), ("show",), ("events",), ("runs",)])
def test_text_from_the_board_is_shown_as_text(command, words: tuple[str, ...]) -> None:
    task_id = command.create(HOSTILE, "--body", HOSTILE, "--tenant", HOSTILE)
    command.ok("complete", task_id, "--summary", HOSTILE)
    argument = () if words[0] in ("list", "events") else (task_id,)
    shown = command.ok(*words, *argument).out
    assert not [sign for sign in shown if (ord(sign) < 32 and sign != "\n") or 127 <= ord(sign) < 160]
    assert "<script>alert(1)</script>" in shown
    if words[0] != "events":  # there it stands in JSON
        assert "[bold red]x[/]" in shown
        assert ":boom:" in shown


def test_json_carries_every_character(command) -> None:
    title = HOSTILE + "\u2028 世界 🎉"
    task_id = command.add(title)
    assert command.ok("show", task_id, "--json").json["task"]["title"] == title.strip()
    assert "世界 🎉" in command.ok("list", "--json").out


def test_an_error_message_cannot_steer_the_terminal(command) -> None:
    command.ok("init")
    answer = command("show", "t_\x1b[2J\nx")
    assert answer.status == 2
    assert answer.err.count("\n") == 1
    assert "\x1b" not in answer.err


@pytest.mark.parametrize("words", [("list",), ("list", "--json"), ("events",), ("events", "--json")])
def test_a_reader_that_goes_away(command, words: tuple[str, ...]) -> None:
    for number in range(3):
        command.add(f"task {number}")
    ear, mouth = os.pipe()
    os.close(ear)
    done = subprocess.run(command.argv(*words), stdout=mouth, stderr=subprocess.PIPE, text=True, check=False)
    os.close(mouth)
    assert done.stderr == ""
    assert done.returncode == 0


@pytest.fixture(params=[(), ("--json",)], ids=["text", "json"])
def follower(command, request: pytest.FixtureRequest) -> Iterator[subprocess.Popen[str]]:
    command.ok("init")
    process = subprocess.Popen(
        command.argv("events", "--follow", *request.param), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    yield process
    process.kill()
    process.communicate()


def test_following_prints_what_is_new_and_ends_when_interrupted(command, follower: subprocess.Popen[str]) -> None:
    for title in ("one", "two"):
        task_id = command.create(title)
        line = follower.stdout.readline()  # arrives although the follower goes on
        assert task_id in line
        assert "created" in line
        if line.startswith("{"):
            assert json.loads(line)["task_id"] == task_id
    follower.send_signal(signal.SIGINT)
    out, err = follower.communicate(timeout=30)
    assert (out, err) == ("", "")
    assert follower.returncode == 130


FORGED = "a title\nnext     all is well\n         run-this\u2028also\x0bthis"


@pytest.mark.parametrize("words", [("list",), ("why",), ("show",), ("status",)])
def test_a_title_cannot_pass_for_lines_of_ours(command, words: tuple[str, ...]) -> None:
    task_id = command.create("plain", "--assignee", "nobody-known")
    with open_board() as board:
        board.writer.execute("UPDATE tasks SET title = ? WHERE id = ?", (FORGED, task_id))
    argument = () if words[0] in ("list", "status") else (task_id,)
    shown = command(*words, *argument).out.splitlines()
    assert not [line for line in shown if line.startswith(("next     all is well", "         run-this", "also"))]


def test_further_lines_of_a_body_are_indented(command) -> None:
    task_id = command.create("plain", "--body", "first\nready t_00000000\nthird")
    shown = command.ok("show", task_id).out.splitlines()
    assert "  body: first" in shown
    assert "    ready t_00000000" in shown


def test_text_is_read_in_the_order_in_which_it_is_written(command) -> None:
    command.add("a\u202eb\u2066c\u200bd\ufeffe")
    shown = command.ok("list").out
    assert not set(shown) & set("\u202e\u2066\u200b\ufeff")


@pytest.mark.parametrize("encoding", ["latin-1", "ascii"])
@pytest.mark.parametrize("words", [("list",), ("list", "--json"), ("show",), ("why",)])
def test_a_terminal_that_lacks_letters_shows_escapes(command, words: tuple[str, ...], encoding: str) -> None:
    task_id = command.add("世界 ä")
    argument = () if words[0] == "list" else (task_id,)
    environment = {**os.environ, "PYTHONIOENCODING": encoding}
    done = subprocess.run(command.argv(*words, *argument), capture_output=True, env=environment, check=False)
    assert done.stderr == b""
    assert rb"\u4e16" in done.stdout


@pytest.mark.parametrize("words", [("list",), ("status", "--json"), ("diagnostics",), ("why", "t_00000000")])
def test_nobody_needs_an_output(command, words: tuple[str, ...]) -> None:
    command.ok("init")
    line = " ".join([*command.argv(*words), ">&- 2>&-"])
    assert subprocess.run(["sh", "-c", line], check=False).returncode in (0, 1, 2)


def test_what_is_piped_is_neither_cut_nor_folded(command) -> None:
    title = "a long title " * 20
    command.create(title, "--assignee", "somebody-with-a-long-name")
    assert title.strip() in command.ok("list").out


def test_hints_name_the_board_that_was_named(command) -> None:
    command.ok("init")
    command.ok("--board", "two", "init")
    answer = command("--board", "two", "show", "t_00000000")
    assert "hermes-kanban --board two list" in answer.err
    assert "--board" not in command("show", "t_00000000").err
    task_id = command.ok("--board", "two", "create", "a task", "--json").json["id"]
    assert f"hermes-kanban --board two unblock {task_id}" in command.ok("--board", "two", "stop", task_id).out
    waiting = command.ok("--board", "two", "create", "b", "--parent", task_id)
    assert f"hermes-kanban --board two why {task_id}" in waiting.out


@pytest.mark.parametrize("words", [("create", "x"), ("gc",)])
def test_a_board_that_stays_locked_is_named_with_what_helps(locked, words: tuple[str, ...]) -> None:
    answer = locked(*words)
    assert answer.status == 1
    assert str(locked.board) in answer.err
    assert "is locked by another process" in answer.err


@pytest.mark.parametrize("words", [("dispatch",), ("scan",)])
def test_a_tick_that_failed_is_no_success(locked, words: tuple[str, ...]) -> None:
    answer = locked(*words)
    assert answer.status == 1
    assert "board default: plugin dispatcher_tick failed" in answer.out


@pytest.fixture
def locked(command, monkeypatch):
    """The command on a board that somebody else writes to all the time."""
    command.ok("init")
    monkeypatch.setenv("HERMES_KANBAN_BUSY_TIMEOUT_MS", "50")
    with open_board() as board:
        board.writer.execute("BEGIN IMMEDIATE")
        yield command
        board.writer.execute("ROLLBACK")
