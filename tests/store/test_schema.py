"""A board of ours is a board as the host makes it, plus tables of our own that are made once and step by step."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from sqlite_utils import Migrations

from hermes_kanban_plugin.board import Board
from hermes_kanban_plugin.errors import SchemaTooNew
from hermes_kanban_plugin.store import migrations
from hermes_kanban_plugin.testing import FakeClock, make_board, place_of

MAKE = """
import sys
from pathlib import Path
from hermes_cli import kanban_db as kb
kb.connect(Path(sys.argv[1])).close()
"""
USE = """
import sys
from pathlib import Path
from hermes_cli import kanban_db as kb
with kb.connect_closing(Path(sys.argv[1])) as board:
    task = kb.create_task(board, title="from the host", assignee="worker")
    assert kb.claim_task(board, task)
    assert kb.complete_task(board, task, summary="done by the host")
    print(task)
"""


def shape(path: Path) -> dict[str, object]:
    """Return what the host's tables and indexes look like, columns in order."""
    with closing(sqlite3.connect(path)) as board:
        sql = "SELECT type, name FROM sqlite_master WHERE name NOT LIKE '%kp_%' AND name NOT LIKE 'sqlite_%'"
        found = sorted(board.execute(sql).fetchall())
        looks = {"table": "table_xinfo", "index": "index_xinfo"}
        return {f"{kind} {name}": board.execute(f"PRAGMA {looks[kind]}({name})").fetchall() for kind, name in found}


def test_a_fresh_board_of_ours_has_exactly_the_hosts_tables_and_indexes(tmp_path: Path, host) -> None:
    ours, theirs = tmp_path / "ours.db", tmp_path / "theirs.db"
    make_board(ours).close()
    host(MAKE, theirs)
    assert shape(ours) == shape(theirs)
    assert len(shape(ours)) == 7 + 14


def test_the_host_finds_nothing_to_change_on_our_board(tmp_path: Path, host, dump) -> None:
    path = tmp_path / "kanban.db"
    with make_board(path) as board:
        board.create_task(title="ours")
    before = dump(path)
    host(MAKE, path)
    assert dump(path) == before


def test_host_and_plugin_take_turns_on_one_board(tmp_path: Path, host) -> None:
    path = tmp_path / "kanban.db"
    host(MAKE, path)
    with Board(place_of(path), FakeClock()) as board:
        board.create_task(title="ours")
        theirs = host(USE, path).strip()
        assert board.task(theirs).status == "done"
        assert {task.title for task in board.tasks()} == {"ours", "from the host"}
        assert board.reader.execute("PRAGMA integrity_check").fetchone()[0] == "ok"


def test_a_board_that_lost_our_tables_is_the_hosts_board_again(tmp_path: Path, host, plain) -> None:
    path, theirs = tmp_path / "ours.db", tmp_path / "theirs.db"
    make_board(path).close()
    with closing(plain(path)) as other:
        names = [row["name"] for row in other.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        for name in [name for name in names if name.startswith("kp_")]:
            other.execute(f"DROP TABLE {name}")
    host(USE, path)
    host(MAKE, theirs)
    assert shape(path) == shape(theirs)
    with closing(plain(path)) as other:
        assert (
            other.execute("SELECT count(*) FROM sqlite_master WHERE name LIKE '%kp\\_%' ESCAPE '\\'").fetchone()[0] == 0
        )


def test_our_steps_are_applied_once(desk) -> None:
    sql = "SELECT name FROM kp_migrations ORDER BY name"
    before, dumped = desk.rows(sql), desk.dump()
    assert [row["name"] for row in before] == sorted(step.name for step in migrations.steps._migrations)
    migrations.apply(desk.writer)
    assert desk.rows(sql) == before
    assert desk.dump() == dumped


def test_reading_a_board_adds_nothing_to_it(tmp_path: Path, host, dump) -> None:
    path = tmp_path / "kanban.db"
    host(MAKE, path)
    before, content = dump(path), path.read_bytes()
    with Board(place_of(path), FakeClock()) as board:
        assert board.tasks() == board.events() == []
    assert (dump(path), path.read_bytes()) == (before, content)


def test_many_openers_prepare_a_board_together_and_once(tmp_path: Path, host, spawn) -> None:
    path = tmp_path / "kanban.db"
    host(MAKE, path)
    openers = [spawn("claimers.py", path, f"opener{number}") for number in range(4)]
    twins = [spawn("twin_creator.py", path, f"key{number}") for number in range(4)]
    for child in (*openers, *twins):
        assert child.stdout.readline() == "waiting\n"
    for child in (*openers, *twins):
        child.stdin.write("go\n")
        child.stdin.flush()
    assert [child.wait() for child in (*openers, *twins)] == [0] * 8
    with closing(sqlite3.connect(path)) as board:
        applied = [row[0] for row in board.execute("SELECT name FROM kp_migrations")]
        assert sorted(applied) == sorted(step.name for step in migrations.steps._migrations)
        assert board.execute("SELECT count(*) FROM tasks").fetchone()[0] == 4


def future(path: Path) -> None:
    """Leave the mark of a newer version of ours on a board, folded into the one file."""
    make_board(path).close()
    with closing(sqlite3.connect(path)) as board, board:
        columns = [row[1] for row in board.execute("PRAGMA table_info(kp_migrations)") if row[1] != "id"]
        values = ["'9999_from_the_future'" if name == "name" else name for name in columns]
        copy = f"INSERT INTO kp_migrations ({', '.join(columns)}) SELECT {', '.join(values)} FROM kp_migrations LIMIT 1"
        board.execute(copy)


@pytest.mark.parametrize(
    "attempt",
    [
        lambda path: Board(place_of(path), FakeClock()),
        lambda path: make_board(path),
        lambda path: migrations.apply(sqlite3.connect(path)),
    ],
    ids=["open", "create", "apply"],
)
def test_a_board_of_a_newer_version_is_refused_untouched(tmp_path: Path, attempt: Callable[[Path], object]) -> None:
    path = tmp_path / "kanban.db"
    future(path)
    before = path.read_bytes()
    with pytest.raises(SchemaTooNew, match=r"9999_from_the_future.*pip install -U hermes-kanban-plugin"):
        attempt(path)
    assert path.read_bytes() == before


def test_a_board_that_becomes_newer_while_it_is_open_is_refused_before_the_first_change(tmp_path: Path, dump) -> None:
    path = tmp_path / "kanban.db"
    make_board(path).close()
    with Board(place_of(path), FakeClock()) as board:
        future(path)
        before = dump(path)
        with pytest.raises(SchemaTooNew):
            board.create_task(title="too late")
        assert dump(path) == before


def test_tables_of_a_plugin_are_made_by_the_first_change(tmp_path: Path) -> None:
    path = tmp_path / "kanban.db"
    make_board(path).close()
    extra = Migrations("a-plugin")

    @extra(name="0001_notes")
    def _create(database) -> None:
        database["plugin_notes"].create({"id": int, "note": str}, pk="id")

    for _ in range(2):
        with Board(place_of(path), FakeClock(), [extra]) as board:
            board.create_task(title="a task")
            assert board.reader.execute("SELECT count(*) FROM plugin_notes").fetchone()[0] == 0
