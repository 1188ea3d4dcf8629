"""Being the one dispatcher: terms on the boards, crashes, and naming a holder that is frozen."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from hermes_kanban_plugin import identity, locations
from hermes_kanban_plugin.dispatch.leadership import FROZEN_SECONDS, NOTE_SECONDS, Leadership
from hermes_kanban_plugin.locks import FileLock
from hermes_kanban_plugin.manager import Manager
from hermes_kanban_plugin.runtime import Runtime
from hermes_kanban_plugin.store import dispatchers
from hermes_kanban_plugin.testing import make_board, violations
from tests.conftest import wait_for

HOLDER = """
import os, sys
from pathlib import Path
from hermes_kanban_plugin import identity, locations
from hermes_kanban_plugin.board import open_board
from hermes_kanban_plugin.locks import FileLock
from hermes_kanban_plugin.store import dispatchers
lock = FileLock(locations.dispatcher_lock(Path(sys.argv[1])))
assert lock.acquire()
for slug in sys.argv[3:]:
    with open_board(slug, create=True) as board:
        dispatchers.begin(board.writer, identity.capture(os.getpid()), int(sys.argv[2]))
print("holding", flush=True)
sys.stdin.read()
"""


class Rounds:
    """Stands for the event that ends the wait: set after so many looks at it, with no time passing."""

    def __init__(self, rounds: int, between=lambda: None) -> None:
        self.left = rounds
        self.between = between

    def wait(self, seconds: float) -> bool:
        self.between()
        self.left -= 1
        return self.left <= 0


@pytest.fixture
def runtime(home, clock):
    serving = Runtime(home, clock, Manager(discover=False))
    yield serving
    serving.close()


@pytest.fixture
def leadership(runtime):
    return Leadership(runtime)


@pytest.fixture
def holder(home):
    """Start a process that holds the lock and whose last tick was at a given second; it never ticks again."""
    started: list[subprocess.Popen[str]] = []

    def hold(ticked_at: int, *boards: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", HOLDER, str(home), str(ticked_at), *boards],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        started.append(process)
        assert process.stdout.readline() == "holding\n"
        return process

    yield hold
    for process in started:
        process.kill()
        process.communicate()


def terms(board) -> list[tuple]:
    rows = board.reader.execute("SELECT term, last_tick_at, ended_at, reason FROM kp_dispatchers ORDER BY term")
    return [tuple(row) for row in rows]


def named(caplog) -> list[str]:
    return [record.getMessage() for record in caplog.records if "has not ticked" in record.getMessage()]


def test_a_frozen_holder_is_named_once_with_its_pid(leadership, holder, clock, board, caplog) -> None:
    process = holder(clock.now() - FROZEN_SECONDS, "default")
    assert not leadership.acquire(Rounds(3, lambda: clock.advance(60)))
    (line,) = named(caplog)
    assert f"dispatcher pid {process.pid} holds {locations.dispatcher_lock(leadership.runtime.root)}" in line
    assert "has not ticked board default for 45 s" in line
    assert f"kill -CONT {process.pid}" in line
    assert violations(board.path) == []


def test_a_holder_is_named_when_it_falls_silent_while_somebody_waits(leadership, holder, clock, board, caplog) -> None:
    holder(clock.now(), "default")
    assert not leadership.acquire(Rounds(FROZEN_SECONDS, lambda: clock.advance(1)))
    assert named(caplog) == []
    assert not leadership.acquire(Rounds(1))
    assert len(named(caplog)) == 1


def test_a_frozen_holder_of_two_boards_is_named_once(leadership, holder, clock, board, home, caplog) -> None:
    with make_board(home / "kanban/boards/other/kanban.db", clock) as other:
        me = identity.capture(os.getpid())
        term, _ = dispatchers.begin(other.writer, me, clock.now())
        dispatchers.end(other.writer, term, "SIGTERM", clock.now())
    holder(clock.now() - FROZEN_SECONDS, "default", "other")  # term 1 there, term 2 here
    leadership.acquire(Rounds(5))
    assert len(named(caplog)) == 1


def test_a_dead_dispatcher_is_not_named_for_the_host_that_holds_the_lock(
    leadership, holder, clock, board, caplog
) -> None:
    dead = subprocess.Popen(["true"])
    gone = identity.capture(dead.pid)
    dead.wait()
    dispatchers.begin(board.writer, gone, clock.now() - FROZEN_SECONDS)
    holder(clock.now())  # holds the lock and knows nothing of terms, as the gateway
    leadership.acquire(Rounds(2))
    assert named(caplog) == []


def test_who_ended_its_term_is_not_named(leadership, holder, clock, board, caplog) -> None:
    term, _ = dispatchers.begin(board.writer, identity.capture(os.getpid()), clock.now() - 100)
    dispatchers.end(board.writer, term, "SIGTERM", clock.now() - 90)
    holder(clock.now())
    assert not leadership.acquire(Rounds(2))
    assert named(caplog) == []


def test_the_lock_is_had_as_soon_as_its_holder_is_dead(leadership, holder, clock, board) -> None:
    process = holder(clock.now() - FROZEN_SECONDS, "default")
    assert not leadership.acquire(Rounds(1))
    process.kill()
    process.wait()
    assert leadership.acquire(Rounds(1))
    leadership.note_tick(locations.serving_boards(leadership.runtime.root))
    assert leadership.follows_crash


def test_a_tick_is_noted_at_most_every_ten_seconds(leadership, clock, board) -> None:
    began = clock.now()
    leadership.note_tick([board.location])
    for _ in range(NOTE_SECONDS - 1):
        clock.advance(1)
        leadership.note_tick([board.location])
    assert terms(board) == [(1, began, None, None)]
    clock.advance(1)
    leadership.note_tick([board.location])
    assert terms(board) == [(1, began + NOTE_SECONDS, None, None)]
    clock.jump(-7200)
    leadership.note_tick([board.location])
    assert terms(board) == [(1, clock.now(), None, None)]  # a clock that went back does not make it look frozen


@pytest.mark.parametrize(
    ("ended", "lives", "crashed"), [(None, False, True), (None, True, False), ("SIGTERM", False, False)]
)
def test_an_unended_term_of_a_dead_dispatcher_is_a_crash(leadership, clock, board, ended, lives, crashed) -> None:
    """One that still lives and gave its lock up is on its way out and ends its term in a moment."""
    dispatcher = identity.capture(os.getpid())
    if not lives:
        dispatcher = dispatcher._replace(boot_id="an earlier boot")
    before, _ = dispatchers.begin(board.writer, dispatcher, clock.now() - 100)
    if ended:
        dispatchers.end(board.writer, before, ended, clock.now() - 50)
    leadership.note_tick([board.location])
    assert leadership.follows_crash is crashed


def test_the_first_dispatcher_of_a_board_follows_no_crash(leadership, board) -> None:
    leadership.note_tick([board.location])
    assert not leadership.follows_crash


def test_a_board_that_is_new_while_we_serve_gets_a_term_of_its_own(leadership, home, clock, board) -> None:
    leadership.note_tick(locations.serving_boards(home))
    with make_board(home / "kanban/boards/later/kanban.db", clock) as later:
        assert terms(later) == []
        leadership.note_tick(locations.serving_boards(home))
        assert [row[0] for row in terms(later)] == [1]
    assert [row[0] for row in terms(board)] == [1]


def test_a_board_that_cannot_be_written_keeps_no_other_from_its_note(leadership, home, clock, board, caplog) -> None:
    broken = home / "kanban/boards/broken/kanban.db"
    broken.parent.mkdir(parents=True)
    broken.write_bytes(b"not a board at all" * 100)
    boards = locations.serving_boards(home)
    leadership.note_tick([*boards[1:], *boards[:1]])
    assert [location.slug for location in boards] == ["default", "broken"]
    assert 'board=broken msg="it does not know who serves it' in caplog.text
    assert len(terms(board)) == 1


def test_release_ends_the_terms_with_the_reason_and_frees_the_lock(leadership, home, clock, board) -> None:
    assert leadership.acquire(Rounds(1))
    leadership.note_tick([board.location])
    other = FileLock(locations.dispatcher_lock(home))
    assert not other.acquire()
    clock.advance(3)
    leadership.release([board.location], "SIGTERM")
    assert other.acquire()
    assert terms(board) == [(1, clock.now(), clock.now(), "SIGTERM")]
    leadership.release([board.location], "again")
    assert terms(board) == [(1, clock.now(), clock.now(), "SIGTERM")]
    other.release()


@pytest.mark.parametrize(("number", "gently"), [(signal.SIGKILL, True), (signal.SIGTERM, False)])
def test_a_dispatcher_that_follows_a_killed_one_starts_gently(workshop, tmp_path, number, gently) -> None:
    command = [sys.executable, "-m", "hermes_kanban_plugin.cli.main", "dispatcher"]
    said = tmp_path / "said"

    def latest():
        row = workshop.board.reader.execute("SELECT max(term) AS term FROM kp_dispatchers").fetchone()
        return row["term"] or 0

    for term, number_now in ((1, number), (2, signal.SIGTERM)):
        with said.open("w") as stream:
            process = subprocess.Popen(command, stderr=stream)
        try:
            wait_for(lambda term=term: latest() == term, f"term {term}")
        finally:
            process.send_signal(number_now)
            process.wait(timeout=30)
    assert ("the dispatcher before this one crashed" in said.read_text()) is gently
