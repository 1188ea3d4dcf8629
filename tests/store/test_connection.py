"""Opening a board: what cannot be used is refused with a remedy and left as it is; what can, is opened with care."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from hermes_kanban_plugin.board import Board, create_board
from hermes_kanban_plugin.errors import BoardUnusable
from hermes_kanban_plugin.store import connection
from hermes_kanban_plugin.testing import FakeClock, make_board, place_of


def full_board(path: Path) -> None:
    """Make a board of many pages, all of them in the one file."""
    make_board(path).close()
    with closing(sqlite3.connect(path)) as other, other:
        sql = (
            "INSERT INTO task_comments (task_id, author, body, created_at) VALUES ('t_1', 'a', hex(zeroblob(2000)), 1)"
        )
        for _ in range(200):
            other.execute(sql)


def cut_to(path: Path, size: int) -> None:
    full_board(path)
    assert path.stat().st_size > 2 * size
    os.truncate(path, size)


def other_database(path: Path) -> None:
    with closing(sqlite3.connect(path)) as other:
        other.execute("CREATE TABLE invoices (id INTEGER PRIMARY KEY)")


UNUSABLE: dict[str, tuple[Callable[[Path], object], str]] = {
    "empty": (lambda path: path.touch(), "0 bytes.*hermes-kanban init"),
    "short text": (lambda path: path.write_text("hello"), "not an SQLite database.*HERMES_KANBAN_DB"),
    "long text": (lambda path: path.write_text("no database\n" * 5000), "not an SQLite database.*HERMES_KANBAN_DB"),
    "cut in the middle": (lambda path: cut_to(path, 300_000), "damaged or truncated.*backup"),
    "cut inside a page": (lambda path: cut_to(path, 300_001), "damaged or truncated.*backup"),
    "cut in the first page": (lambda path: cut_to(path, 1000), "(damaged or truncated|not an SQLite database)"),
    "no board": (other_database, "not a kanban board.*HERMES_KANBAN_DB"),
}


@pytest.mark.parametrize("kind", UNUSABLE)
def test_a_file_that_is_no_usable_board_is_refused_and_keeps_its_bytes(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "kanban.db"
    spoil, remedy = UNUSABLE[kind]
    spoil(path)
    before = path.read_bytes()
    for attempt in (lambda: Board(place_of(path), FakeClock()), lambda: make_board(path)):
        with pytest.raises(BoardUnusable, match=f"(?s){path}.*{remedy}"):
            attempt()
        assert path.read_bytes() == before


@pytest.mark.parametrize("kind", [kind for kind in UNUSABLE if kind != "no board"])
def test_neither_connection_opens_what_sqlite_would_take_for_a_new_database(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "kanban.db"
    UNUSABLE[kind][0](path)
    before = path.read_bytes()
    for opener in (connection.open_writer, connection.open_reader):
        with pytest.raises(BoardUnusable):
            opener(str(path))
        assert path.read_bytes() == before


@pytest.mark.parametrize("opener", [connection.open_writer, connection.open_reader])
def test_a_missing_board_is_refused_and_not_made(tmp_path: Path, opener: Callable[[str], sqlite3.Connection]) -> None:
    with pytest.raises(BoardUnusable, match=r"does not exist.*hermes-kanban init"):
        opener(str(tmp_path / "kanban.db"))
    assert not (tmp_path / "kanban.db").exists()


@pytest.mark.parametrize("opener", [connection.open_writer, connection.open_reader])
def test_a_folder_in_its_place_is_refused(tmp_path: Path, opener: Callable[[str], sqlite3.Connection]) -> None:
    with pytest.raises(BoardUnusable, match="is a folder"):
        opener(str(tmp_path))


@pytest.mark.parametrize("opener", [connection.open_writer, connection.open_reader])
def test_a_board_without_permission_is_refused(tmp_path: Path, deprived, opener) -> None:
    path = tmp_path / "kanban.db"
    full_board(path)
    path.chmod(0)
    with deprived(), pytest.raises(BoardUnusable, match=r"(permissions|readable and writable|read-only)"):
        opener(str(path))
    path.chmod(0o600)
    assert len(path.read_bytes()) > 300_000


def test_a_board_in_a_closed_folder_is_refused(tmp_path: Path, deprived) -> None:
    path = tmp_path / "closed" / "kanban.db"
    path.parent.mkdir()
    full_board(path)
    path.parent.chmod(0)
    try:
        with deprived(), pytest.raises(BoardUnusable, match="check its permissions"):
            connection.open_reader(str(path))
    finally:
        path.parent.chmod(0o700)


def test_a_read_only_board_can_be_read_and_refuses_changes(tmp_path: Path, deprived) -> None:
    path = tmp_path / "kanban.db"
    full_board(path)
    path.chmod(0o400)
    before = path.read_bytes()
    with deprived(), Board(place_of(path), FakeClock()) as board:
        assert board.tasks() == []
        with pytest.raises(BoardUnusable, match=r"read-only.*writable"):
            board.create_task(title="a task")
        assert board.tasks() == []
    assert path.read_bytes() == before


def test_a_folder_that_may_not_be_written_takes_no_board(tmp_path: Path, deprived) -> None:
    folder = tmp_path / "closed"
    folder.mkdir(mode=0o500)
    with deprived(), pytest.raises(BoardUnusable, match="folder"):
        create_board(place_of(folder / "kanban.db"))
    assert list(folder.iterdir()) == []


def test_a_full_disk_rolls_the_change_back_and_names_the_remedy(desk) -> None:
    desk.create()
    pages = desk.writer.execute("PRAGMA page_count").fetchone()[0]
    desk.writer.execute(f"PRAGMA max_page_count={pages}")
    before = desk.dump()
    with pytest.raises(BoardUnusable, match=r"full disk.*rolled back"), connection.translating(desk.board.path):
        desk.create(body="x" * 900_000)
    assert not desk.writer.in_transaction
    assert desk.dump() == before
    desk.writer.execute("PRAGMA max_page_count=1000000")
    desk.create(body="x" * 900_000)
    assert len(desk.board.tasks()) == 2


def test_a_board_keeps_its_rollback_journal(tmp_path: Path, plain) -> None:
    path = tmp_path / "kanban.db"
    make_board(path).close()
    with closing(plain(path)) as other:
        assert other.execute("PRAGMA journal_mode=DELETE").fetchone()[0] == "delete"
    with Board(place_of(path), FakeClock()) as board:
        board.create_task(title="a task")
        assert board.writer.execute("PRAGMA journal_mode").fetchone()[0] == "delete"
        assert not Path(f"{path}-wal").exists()
    with closing(plain(path)) as other:
        assert other.execute("PRAGMA journal_mode").fetchone()[0] == "delete"
        assert other.execute("SELECT count(*) FROM tasks").fetchone()[0] == 1


def test_a_new_board_has_a_write_ahead_log_and_changes_are_synced_in_full(board: Board) -> None:
    assert board.reader.execute("PRAGMA journal_mode").fetchone()[0] == "wal"
    assert board.writer.execute("PRAGMA synchronous").fetchone()[0] == 2


def test_the_reader_can_change_nothing(board: Board) -> None:
    for sql in ("INSERT INTO task_links VALUES ('t_1', 't_2')", "DROP TABLE tasks", "PRAGMA user_version=7"):
        with pytest.raises(sqlite3.OperationalError, match=r"readonly|read-only"):
            board.reader.execute(sql)


@pytest.mark.parametrize(
    ("wanted", "milliseconds"),
    [(None, 30_000), ("", 30_000), ("1234", 1234), ("0", 30_000), ("-5", 30_000), ("2.5", 30_000), ("soon", 30_000)],
)
def test_the_busy_timeout_follows_the_hosts_variable(
    board: Board, monkeypatch: pytest.MonkeyPatch, wanted: str | None, milliseconds: int
) -> None:
    if wanted is not None:
        monkeypatch.setenv("HERMES_KANBAN_BUSY_TIMEOUT_MS", wanted)
    for opener in (connection.open_writer, connection.open_reader):
        with closing(opener(board.path)) as opened:
            assert opened.execute("PRAGMA busy_timeout").fetchone()[0] == milliseconds


def test_a_lock_that_somebody_keeps_ends_in_a_remedy(desk, plain, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HERMES_KANBAN_BUSY_TIMEOUT_MS", "1")
    with closing(plain(desk.board.path)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(BoardUnusable, match="locked by another process"), connection.translating(desk.board.path):
            desk.create()
        other.execute("ROLLBACK")
    desk.create()
    assert len(desk.board.tasks()) == 1


def test_errors_that_are_not_the_files_pass_unchanged() -> None:
    with closing(sqlite3.connect(":memory:")) as database:
        database.execute("CREATE TABLE one (a NOT NULL)")
        with pytest.raises(sqlite3.IntegrityError), connection.translating("x"):
            database.execute("INSERT INTO one VALUES (NULL)")


def test_a_creator_killed_in_the_middle_leaves_no_board(tmp_path: Path, spawn) -> None:
    path = tmp_path / "kanban.db"
    assert spawn("board_dies_while_made.py", path).wait() == 9
    assert not path.exists()
    with make_board(path) as board:
        board.create_task(title="a task")


def test_of_two_creators_one_makes_the_board_and_both_can_use_it(tmp_path: Path, spawn) -> None:
    path = tmp_path / "kanban.db"
    creators = [spawn("board_creator.py", path) for _ in range(4)]
    for creator in creators:
        assert creator.stdout.readline() == "waiting\n"
    answers = [creator.communicate("go\n")[0].strip() for creator in creators]
    assert sorted(answers) == ["made", "stood", "stood", "stood"]
    assert [left.name for left in tmp_path.glob("kanban.db*")] == ["kanban.db"]
    Board(place_of(path), FakeClock()).close()


def test_the_second_of_two_creators_in_one_process_leaves_the_firsts_board_alone(tmp_path: Path) -> None:
    path = str(tmp_path / "kanban.db")

    def build_slowly(slow: sqlite3.Connection) -> None:
        slow.execute("CREATE TABLE tasks (id)")
        assert connection.create_file(path, lambda quick: quick.execute("CREATE TABLE tasks (id, title)"))

    assert not connection.create_file(path, build_slowly)
    with closing(connection.open_reader(path)) as reader:
        assert [column["name"] for column in reader.execute("PRAGMA table_info(tasks)")] == ["id", "title"]
    assert list(tmp_path.glob("kanban.db.new-*")) == []


@pytest.mark.parametrize("kilobytes", [1, 4, 16, 40, 64, 100, 120, 160, 4000])
def test_on_a_full_disk_a_board_is_made_whole_or_not_at_all(tmp_path: Path, spawn, kilobytes: int) -> None:
    path = tmp_path / "kanban.db"
    answer = spawn("board_creator.py", path, kilobytes * 1024).communicate("go\n")[0].splitlines()[-1]
    if kilobytes < 40:
        assert answer.startswith("refused")
    if answer.startswith("refused"):
        assert list(tmp_path.glob("kanban.db*")) == []
        assert "run the command again" in answer
    else:
        with Board(place_of(path), FakeClock()) as board:
            assert board.writer.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
            assert board.create_task(title="a task")


def test_what_is_tried_on_a_copy_changes_nothing_here(desk) -> None:
    desk.create(title="kept")
    before, bytes_before = desk.dump(), Path(desk.board.path).read_bytes()
    with closing(connection.open_copy(desk.board.reader)) as copy:
        copy.execute("UPDATE tasks SET title = 'changed'")
        assert [row["title"] for row in copy.execute("SELECT title FROM tasks")] == ["changed"]
    assert desk.dump() == before
    assert Path(desk.board.path).read_bytes() == bytes_before
