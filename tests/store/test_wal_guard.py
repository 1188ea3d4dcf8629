"""Our connections never take the write-ahead log away from a program that has lost its locks (contract W1)."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from hermes_kanban_plugin.board import Board
from hermes_kanban_plugin.errors import UnknownTask
from hermes_kanban_plugin.testing import FakeClock, make_board, place_of


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A board that nobody has open."""
    path = tmp_path / "kanban.db"
    with make_board(path) as board:
        board.create_task(title="a task")
    return path


@pytest.fixture
def careless(path: Path, spawn) -> Callable[[str], None]:
    """Another process on the board, its locks dropped; call it to make it write a comment."""
    child = spawn("careless_writer.py", path)
    assert child.stdout.readline() == "locks dropped\n"

    def write(body: str) -> None:
        child.stdin.write(f"{body}\n")
        child.stdin.flush()
        assert child.stdout.readline() == "written\n"

    return write


@pytest.fixture
def seen(path: Path, spawn) -> Callable[[], list[str]]:
    """What a third, fresh process finds on the board."""
    return lambda: json.loads(spawn("comments.py", path).communicate()[0])


def we_write(path: Path) -> None:
    with Board(place_of(path), FakeClock()) as board:
        board.comment(board.tasks()[0].id, "we", "ours")


def we_read(path: Path) -> None:
    with Board(place_of(path), FakeClock()) as board:
        assert len(board.tasks()) == 1


def we_fail(path: Path) -> None:
    def comment_twice() -> None:
        with Board(place_of(path), FakeClock()) as board:
            board.comment(board.tasks()[0].id, "we", "ours")
            board.comment("t_00000000", "we", "lost")

    with pytest.raises(UnknownTask):
        comment_twice()


def test_a_plain_connection_would_lose_it(path: Path, careless, seen, plain) -> None:
    with closing(plain(path)) as connection:
        connection.execute(
            "INSERT INTO task_comments (task_id, author, body, created_at) VALUES ('t_1', 'plain', 'plain', 1)"
        )
    assert not Path(f"{path}-wal").exists()
    careless("after")
    assert "after" not in seen()


@pytest.mark.parametrize("work", [we_write, we_fail])
def test_closing_a_board_that_we_wrote_keeps_what_others_write_later(path: Path, careless, seen, work) -> None:
    work(path)
    log = Path(f"{path}-wal").stat().st_ino
    careless("after")
    assert Path(f"{path}-wal").stat().st_ino == log
    assert seen() == ["before", "ours", "after", "ok"]


def test_closing_a_board_that_we_only_read_keeps_what_others_write_later(path: Path, careless, seen) -> None:
    we_read(path)
    assert Path(f"{path}-wal").exists()
    careless("after")
    assert seen() == ["before", "after", "ok"]


def test_many_boards_opened_and_closed_in_turn_lose_nothing(path: Path, careless, seen) -> None:
    for number in range(10):
        we_write(path)
        careless(f"after {number}")
        we_read(path)
    expected = [body for number in range(10) for body in ("ours", f"after {number}")]
    assert seen() == ["before", *expected, "ok"]


def test_while_our_reader_is_open_a_careless_pair_loses_nothing(path: Path, careless, seen, spawn) -> None:
    with Board(place_of(path), FakeClock()):
        second = spawn("careless_writer.py", path)
        assert second.stdout.readline() == "locks dropped\n"
        second.communicate()  # it ends, and SQLite in it believes to be the last user
        careless("after")
        assert seen() == ["before", "before", "after", "ok"]
