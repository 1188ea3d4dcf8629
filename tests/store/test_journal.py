"""The history: rows in order, payloads as the host writes them, and nothing of a change that was rolled back."""

from __future__ import annotations

import sqlite3

import pytest

from hermes_kanban_plugin.errors import InvalidArgument
from hermes_kanban_plugin.store import journal
from hermes_kanban_plugin.store.transaction import immediate


@pytest.mark.parametrize("payload", [None, {}])
def test_an_empty_payload_is_null(desk, payload: dict | None) -> None:
    with immediate(desk.writer):
        journal.append(desk.writer, "t_1", "promoted", payload, desk.now)
    (row,) = desk.rows("SELECT * FROM task_events")
    expected = {"task_id": "t_1", "kind": "promoted", "payload": None, "run_id": None, "created_at": desk.now}
    assert {name: row[name] for name in expected} == expected


def test_text_of_any_language_is_stored_as_it_is(desk) -> None:
    with immediate(desk.writer):
        journal.append(desk.writer, "t_1", "heartbeat", {"note": "größer → 大"}, desk.now, 7)
    (row,) = desk.rows("SELECT * FROM task_events")
    assert (row["payload"], row["run_id"]) == ('{"note": "größer → 大"}', 7)


def test_many_rows_keep_their_order(desk) -> None:
    events = [(f"t_{number}", "promoted", {"number": number}, None) for number in range(50)]
    with immediate(desk.writer):
        journal.append_many(desk.writer, events, desk.now)
    assert [event.payload["number"] for event in desk.board.events()] == list(range(50))
    assert [event.payload["number"] for event in desk.board.events(after=47)] == [47, 48, 49]


@pytest.mark.parametrize("interruption", [ValueError, KeyboardInterrupt, SystemExit])
def test_whatever_interrupts_a_change_undoes_all_of_it(desk, interruption: type[BaseException]) -> None:
    def be_interrupted() -> None:
        with immediate(desk.writer):
            journal.append(desk.writer, "t_1", "promoted", None, desk.now)
            raise interruption

    before = desk.dump()
    with pytest.raises(interruption):
        be_interrupted()
    assert not desk.writer.in_transaction
    assert desk.dump() == before


def test_changes_put_together_are_one_transaction(desk) -> None:
    def do_half() -> None:
        with immediate(desk.writer):
            desk.create()
            desk.create(parents=("t_00000000",))

    before = desk.dump()
    with pytest.raises(InvalidArgument, match="unknown parent"):
        do_half()
    assert desk.dump() == before


def test_a_change_has_the_write_lock_from_its_first_statement_on(desk, plain) -> None:
    other = plain(desk.board.path)
    other.execute("PRAGMA busy_timeout=0")
    with immediate(desk.writer), pytest.raises(sqlite3.OperationalError, match="locked"):
        other.execute("BEGIN IMMEDIATE")
    other.execute("BEGIN IMMEDIATE")
    other.execute("ROLLBACK")
    other.close()
