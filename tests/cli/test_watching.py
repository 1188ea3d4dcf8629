"""``watch`` on a real terminal: it shows, it chooses, it takes back, it ends, and it leaves the terminal as it was."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from hermes_kanban_plugin import open_board
from hermes_kanban_plugin.cli.watching import split_keys
from hermes_kanban_plugin.models import TERMINAL
from hermes_kanban_plugin.testing import claim_one

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX terminals")

CODES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b[=>]|\x1b\][^\x07]*\x07")


class Terminal:
    """A terminal of 24 lines and 80 columns with ``watch`` in it."""

    def __init__(self, command) -> None:
        import fcntl
        import pty
        import struct
        import termios

        self.leader, follower = pty.openpty()
        fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
        self.before = termios.tcgetattr(follower)
        environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "80", "LINES": "24"}
        self.process = subprocess.Popen(
            command.argv("watch"), stdin=follower, stdout=follower, stderr=subprocess.PIPE, env=environment
        )
        self.follower = follower
        self.raw = ""

    def read(self) -> None:
        import select

        while select.select([self.leader], [], [], 0.05)[0]:
            try:
                self.raw += os.read(self.leader, 65536).decode(errors="replace")
            except OSError:
                return

    def frame(self) -> str:
        """The picture that was drawn last."""
        self.read()
        frames = self.raw.split("\x1b[H")
        return CODES.sub("", frames[-1]) if len(frames) > 1 else ""

    def shows(self, *words: str, seconds: float = 30) -> str:
        """Wait until the newest picture has all these words, and return it."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            frame = self.frame()
            if all(word in frame for word in words):
                return frame
        raise AssertionError(f"no {words} in: {self.frame()}")

    def press(self, keys: str) -> None:
        os.write(self.leader, keys.encode())

    def attributes(self) -> list[object]:
        import termios

        return termios.tcgetattr(self.follower)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        assert self.process.stderr is not None
        self.process.stderr.close()
        os.close(self.leader)
        os.close(self.follower)


@pytest.fixture
def terminal(command) -> Iterator[object]:
    opened: list[Terminal] = []

    def open_terminal() -> Terminal:
        opened.append(Terminal(command))
        return opened[-1]

    yield open_terminal
    for one in opened:
        one.close()


def running(title: str, nonce: str) -> str:
    with open_board(create=True) as board:
        task_id = board.create_task(title=title, assignee="me")
        claim_one(board, task_id, seconds=900, lane=TERMINAL, nonce=nonce)
        return task_id


def test_it_shows_the_board_follows_it_and_ends_with_q(command, terminal) -> None:
    first = running("first", "a")
    screen = terminal()

    frame = screen.shows(first, "no dispatcher yet", "q quit")
    assert all(len(line.rstrip()) <= 80 for line in frame.split("\n"))
    second = running("second", "b")
    screen.shows(first, second, "2 running")
    screen.press("q")

    assert screen.process.wait(timeout=30) == 0
    assert screen.attributes() == screen.before
    assert "\x1b[?1049l" in screen.raw or (screen.read() or "\x1b[?1049l" in screen.raw)


def test_a_key_takes_the_chosen_run_back_after_a_question(command, terminal) -> None:
    first, second = running("first", "a"), running("second", "b")
    with open_board() as board:
        order = [
            run.task_id for run in sorted((board.held_run(first), board.held_run(second)), key=lambda run: run.task_id)
        ]
    screen = terminal()
    screen.shows(f"> {order[0]}")
    screen.press("\x1b[B")
    screen.shows(f"> {order[1]}")
    screen.press("r")
    screen.shows(f"take {order[1]} back", "y yes")
    screen.press("n")
    screen.shows("left alone")
    assert {task["status"] for task in command.ok("list", "--json").json} == {"running"}
    screen.press("r")
    screen.shows("y yes")
    screen.press("y")

    screen.shows(f"reclaimed {order[1]}, it is ready", "1 running")
    statuses = {task["id"]: task["status"] for task in command.ok("list", "--json").json}
    assert statuses == {order[0]: "running", order[1]: "ready"}


def test_a_run_that_ended_meanwhile_is_not_taken_back(command, terminal) -> None:
    task_id = running("first", "a")
    screen = terminal()
    screen.shows(f"> {task_id}")
    screen.press("r")
    screen.shows("y yes")
    with open_board() as board:
        board.reclaim(board.task(task_id), None, "somebody else")
        claim_one(board, task_id, seconds=900, lane=TERMINAL, nonce="b")
    screen.press("y")

    screen.shows("not held by run 1 any more, nothing was done")
    assert command.ok("list", "--json").json[0]["status"] == "running"


@pytest.mark.parametrize("end", ["signal", "key"])
def test_an_interrupt_leaves_the_terminal_as_it_was(command, terminal, end: str) -> None:
    task_id = running("first", "a")
    screen = terminal()
    screen.shows(task_id)
    if end == "signal":
        screen.process.send_signal(signal.SIGINT)
    else:
        screen.press("\x04")

    assert screen.process.wait(timeout=30) in (0, 130)
    assert screen.attributes() == screen.before


def test_without_a_terminal_it_prints_one_picture(command) -> None:
    task_id = running("first", "a")

    text = command.ok("watch").out
    again = command.ok("watch", "--once").out
    found = command.ok("watch", "--json").json

    assert task_id in text
    assert "q quit" not in text
    assert max(len(line) for line in (text + again).splitlines()) <= 80
    assert "\x1b" not in text
    assert found["runs"][0]["task_id"] == task_id


def test_keys_are_told_apart() -> None:
    assert split_keys("\x1b[A\x1bOBjkrq") == ["up", "down", "down", "up", "r", "q"]
    assert split_keys("r\x1b[5~") == ["r"]
    assert split_keys("") == ["q"]
