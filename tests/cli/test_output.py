"""What is printed: text stays text, and a reader that goes away or interrupts is no error."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator

import pytest

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
