"""Terms of dispatching: begun, noted, ended, and what a crash leaves behind."""

from __future__ import annotations

import os

from hermes_kanban_plugin import identity
from hermes_kanban_plugin.board import Board
from hermes_kanban_plugin.identity import ProcessIdentity
from hermes_kanban_plugin.store import dispatchers
from hermes_kanban_plugin.store.dispatchers import Term
from hermes_kanban_plugin.testing import FakeClock, violations

FIRST = ProcessIdentity("machine", "boot", "pid:[1]", 100, 1.5)
SECOND = ProcessIdentity("machine", "later boot", "pid:[1]", 100, None)


def test_a_board_that_was_never_dispatched_has_no_term(desk) -> None:
    assert dispatchers.latest(desk.writer) is None


def test_a_term_says_who_dispatches_and_since_when(desk) -> None:
    assert dispatchers.begin(desk.writer, FIRST, 1000) == (1, None)
    assert dispatchers.latest(desk.board.reader) == Term(1, FIRST, 1000, 1000, None)
    dispatchers.note_tick(desk.writer, 1, 1010)
    assert dispatchers.latest(desk.board.reader) == Term(1, FIRST, 1000, 1010, None)
    dispatchers.end(desk.writer, 1, "SIGTERM", 1020)
    assert dispatchers.latest(desk.board.reader) == Term(1, FIRST, 1000, 1020, 1020)
    assert desk.rows("SELECT reason FROM kp_dispatchers") == [{"reason": "SIGTERM"}]
    assert violations(desk.board.path) == []


def test_a_term_that_was_never_ended_is_a_crash_for_the_next_one_only(desk) -> None:
    dispatchers.begin(desk.writer, FIRST, 1000)
    term, before = dispatchers.begin(desk.writer, SECOND, 1100)
    assert (term, before.dispatcher, before.ended_at) == (2, FIRST, None)
    assert dispatchers.latest(desk.writer) == Term(2, SECOND, 1100, 1100, None)
    dispatchers.end(desk.writer, 2, "SIGINT", 1200)
    term, before = dispatchers.begin(desk.writer, FIRST, 1300)
    assert (term, before.dispatcher, before.ended_at) == (3, SECOND, 1200)
    assert desk.rows("SELECT ended_at FROM kp_dispatchers WHERE term = 1") == [{"ended_at": None}]


def test_an_ended_term_stays_as_it_ended(desk) -> None:
    dispatchers.begin(desk.writer, FIRST, 1000)
    dispatchers.end(desk.writer, 1, "SIGTERM", 1020)
    before = desk.dump()
    dispatchers.note_tick(desk.writer, 1, 1030)
    dispatchers.end(desk.writer, 1, "again", 1040)
    assert desk.dump() == before


def test_each_write_is_about_one_term(desk) -> None:
    dispatchers.begin(desk.writer, FIRST, 1000)
    dispatchers.begin(desk.writer, SECOND, 1100)
    dispatchers.note_tick(desk.writer, 1, 1200)
    assert dispatchers.latest(desk.writer).last_tick_at == 1100
    dispatchers.end(desk.writer, 1, "late", 1300)
    assert dispatchers.latest(desk.writer).ended_at is None


def test_who_serves_a_board_by_its_own_record(board: Board, clock: FakeClock) -> None:
    me = identity.capture(os.getpid())
    elsewhere = me._replace(host_id="another machine")
    assert dispatchers.serving(board.writer, clock.now()) is None
    for who, later in ((me, 10_000), (elsewhere, dispatchers.UNSEEN_SECONDS)):
        term, _ = dispatchers.begin(board.writer, who, clock.now())
        found = dispatchers.serving(board.writer, clock.now() + later)
        assert found is not None
        assert found.dispatcher == who
        if who == elsewhere:
            assert dispatchers.serving(board.writer, clock.now() + later + 1) is None
        dispatchers.end(board.writer, term, "asked to stop", clock.now())
        assert dispatchers.serving(board.writer, clock.now()) is None
    dispatchers.begin(board.writer, me._replace(pid=2**22 - 1), clock.now())
    assert dispatchers.serving(board.writer, clock.now()) is None  # it died without a word
