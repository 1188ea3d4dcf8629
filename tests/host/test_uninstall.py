"""Our tables beside the host's, and the board without them: the host never sees a difference."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from hermes_kanban_plugin.clock import Clock
from hermes_kanban_plugin.store.outcomes import Handoff
from hermes_kanban_plugin.testing import claim_one, make_board, violations

if TYPE_CHECKING:
    from tests.host.conftest import Actor, House

pytestmark = pytest.mark.host

OUR_TABLES = "SELECT name FROM sqlite_master WHERE type = 'table' AND name LIKE 'kp~_%' ESCAPE '~' ORDER BY name"
NAMES = "SELECT type, name FROM sqlite_master WHERE name NOT LIKE 'sqlite_%' ORDER BY type, name"
# All that the plain host does to a task, in one of its processes.
LIFE = """
first = kb.create_task(conn, title='first', assignee='worker')
then = kb.create_task(conn, title='then', parents=[first])
assert kb.claim_task(conn, first, claimer='here:1').status == 'running'
assert kb.heartbeat_claim(conn, first, claimer='here:1') and kb.heartbeat_worker(conn, first, note='half')
assert kb.block_task(conn, first, reason='which?', kind='needs_input') and kb.unblock_task(conn, first)
assert kb.claim_task(conn, first, claimer='here:1') and kb.complete_task(conn, first, summary='made')
assert kb.get_task(conn, then).status == 'ready'
assert kb.archive_task(conn, first) and kb.delete_archived_task(conn, first)
assert kb.dispatch_once(conn, spawn_fn=lambda *a, **k: None, dry_run=True) is not None
kb.init_db()
"""


def use(house: House) -> str:
    """Use a board until each of our tables has something in it; returns the id of the running task."""
    with make_board(house.database, Clock()) as board:
        done, running = (board.create_task(title=title, assignee="worker") for title in ("done", "running"))
        board.writer.execute("UPDATE tasks SET workspace_path = '/nowhere/at/all' WHERE id = :id", {"id": done})
        board.complete_run(claim_one(board, done, nonce="a"), Handoff("made"))
        claim_one(board, running, seconds=900, nonce="b")
    house.hermes_kanban("dispatch")
    tables = [row["name"] for row in house.rows(OUR_TABLES)]
    assert {"kp_runs", "kp_migrations"} < set(tables)
    return running


def live(host: Actor, running: str) -> None:
    host.ask(LIFE)
    assert host.ask(f"kb.get_task(conn, {running!r}).status") == "running"
    assert host.ask(f"kb.complete_task(conn, {running!r}, summary='by the host')") is True
    assert "by the host" in host.ask(f"kanban('show', {running!r})")


def test_host_lives_with_our_tables(house: House) -> None:
    running = use(house)
    before = house.rows("SELECT * FROM kp_runs")
    live(house.host(), running)
    assert house.rows("SELECT * FROM kp_runs") == before
    assert violations(house.database) == []


def test_host_lives_without_our_tables(house: House, tmp_path_factory: pytest.TempPathFactory) -> None:
    running = use(house)
    tables = [row["name"] for row in house.rows(OUR_TABLES)]
    with closing(sqlite3.connect(house.database, isolation_level=None)) as connection:
        for table in tables:
            connection.execute(f"DROP TABLE {table}")
    live(house.host(), running)
    fresh = type(house)(tmp_path_factory.mktemp("fresh"), house.stack)
    fresh.host()
    assert house.rows(NAMES) == fresh.rows(NAMES), "what is left is what the host makes"
    assert violations(house.database) == []


def test_we_come_back_to_a_board_that_dropped_us(house: House) -> None:
    running = use(house)
    with closing(sqlite3.connect(house.database, isolation_level=None)) as connection:
        for row in house.rows(OUR_TABLES):
            connection.execute(f"DROP TABLE {row['name']}")
    with make_board(house.database, Clock()) as board:
        assert board.task(running).status == "running"
        board.complete(running, Handoff("by hand"), "me")
        new = board.create_task(title="new")
        board.complete_run(claim_one(board, new, nonce="c"), Handoff("made"))
    assert {"kp_runs", "kp_migrations"} < {row["name"] for row in house.rows(OUR_TABLES)}
    assert violations(house.database) == []
