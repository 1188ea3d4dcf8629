"""Checks of a board's file: what is torn, what only looks so for a moment, and what must not fail."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from hermes_kanban_plugin.host import board_file


@pytest.fixture
def naps(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """No test waits; what would have been waited is kept."""
    slept: list[float] = []
    monkeypatch.setattr(board_file.time, "sleep", slept.append)
    return slept


@pytest.fixture(params=[512, 4096, 65536])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[sqlite3.Connection]:
    """A database of several pages, of the least, the usual and the greatest size, which its header writes as 1."""
    with closing(sqlite3.connect(tmp_path / "some.db", isolation_level=None)) as connection:
        connection.execute(f"PRAGMA page_size = {request.param}")
        connection.execute("CREATE TABLE some AS SELECT randomblob(300000) AS a")
        yield connection


def file_of(connection: sqlite3.Connection) -> Path:
    return Path(connection.execute("PRAGMA database_list").fetchone()[2])


def cut(connection: sqlite3.Connection) -> bytes:
    """Take the last page off; returns it."""
    path, size = file_of(connection), connection.execute("PRAGMA page_size").fetchone()[0]
    content = path.read_bytes()
    os.truncate(path, len(content) - size)
    return content[-size:]


def test_a_whole_file_passes_at_first_sight(database: sqlite3.Connection, naps: list[float]) -> None:
    board_file.check_length(database)
    assert naps == []


def test_a_file_that_stays_short_is_torn(database: sqlite3.Connection, naps: list[float]) -> None:
    cut(database)
    with pytest.raises(sqlite3.DatabaseError, match="torn-extend"):
        board_file.check_length(database)
    assert sum(naps) < 1


def test_a_file_that_is_still_growing_is_not_torn(
    database: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As another process's checkpoint looks, between its first page and its last."""
    path, last = file_of(database), cut(database)

    def grow(_: float) -> None:
        with path.open("ab") as growing:
            growing.write(last)

    monkeypatch.setattr(board_file.time, "sleep", grow)
    board_file.check_length(database)


def test_what_has_no_file_passes() -> None:
    with closing(sqlite3.connect(":memory:")) as connection:
        board_file.check_length(connection)


def test_what_is_gone_passes(database: sqlite3.Connection, naps: list[float]) -> None:
    file_of(database).unlink()
    board_file.check_length(database)


@pytest.mark.parametrize("content", [b"", b"SQLite format 3\x00", b"SQLite format 3\x00 and more"])
def test_a_header_that_may_be_a_database(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "some.db").write_bytes(content)
    board_file.check_header(tmp_path / "some.db")


def test_the_header_of_a_file_that_is_not_there(tmp_path: Path) -> None:
    board_file.check_header(tmp_path / "some.db")
    assert not (tmp_path / "some.db").exists()


def test_a_file_in_the_place_of_another_is_looked_at_anew(tmp_path: Path) -> None:
    path = tmp_path / "some.db"
    path.write_bytes(b"SQLite format 3\x00")
    board_file.check_header(path)
    path.unlink()
    path.write_bytes(b"something else")
    with pytest.raises(sqlite3.DatabaseError, match="file is not a database"):
        board_file.check_header(path)


def test_a_copy_that_cannot_be_made_is_none(tmp_path: Path) -> None:
    assert board_file.back_up(tmp_path / "some.db") is None


def test_each_content_has_its_own_copy(tmp_path: Path) -> None:
    path = tmp_path / "some.db"
    copies = []
    for content in (b"one", b"one", b"two"):
        path.write_bytes(content)  # the same file, so the same descriptor
        copies.append(board_file.back_up(path))
    assert copies[0] == copies[1] != copies[2]
    assert [copy.read_bytes() for copy in copies if copy] == [b"one", b"one", b"two"]
    assert len(list(tmp_path.glob("some*"))) == 3


def test_a_copy_has_the_rights_of_the_original(tmp_path: Path) -> None:
    path = tmp_path / "some.db"
    path.write_bytes(b"secret")
    path.chmod(0o600)
    copy = board_file.back_up(path)
    assert copy is not None
    assert copy.stat().st_mode == path.stat().st_mode


def test_no_descriptor_of_a_board_is_ever_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Closing one is the harm (contract W1)."""
    closed: list[int] = []
    monkeypatch.setattr(board_file.os, "close", closed.append)
    path = tmp_path / "some.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("CREATE TABLE some (a)")
        for _ in range(3):
            board_file.check_header(path)
            board_file.check_length(connection)
            board_file.back_up(path)
        seen = path.stat()
        kept = board_file._kept[seen.st_dev, seen.st_ino]
        assert os.fstat(kept).st_ino == seen.st_ino
    assert closed == []
