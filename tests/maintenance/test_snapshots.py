"""``backup``: a snapshot is whole, checked, of one moment, and never half there."""

from __future__ import annotations

import os
import sqlite3
import threading
from contextlib import closing
from pathlib import Path

import pytest

from hermes_kanban_plugin import open_board
from hermes_kanban_plugin.errors import BoardUnusable, InvalidArgument
from hermes_kanban_plugin.maintenance import snapshots
from hermes_kanban_plugin.store import snapshots as copies
from hermes_kanban_plugin.testing import violations
from tests.maintenance.conftest import Keeper


def attach(keeper: Keeper, task_id: str, name: str, content: bytes) -> Path:
    path = keeper.board.location.attachments / task_id / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    add = "INSERT INTO task_attachments (task_id, filename, stored_path, size, created_at) VALUES (?, ?, ?, ?, 0)"
    keeper.execute(add, task_id, name, str(path), len(content))
    return path


def test_a_snapshot_holds_the_board_and_says_what_it_is(keeper: Keeper, tmp_path: Path) -> None:
    task_id = keeper.create("keep me")
    keeper.finish(task_id)
    path = tmp_path / "kept.db"

    taken = snapshots.take(keeper.board, path)

    assert (taken.path, taken.board, taken.made_at) == (path, "default", keeper.now)
    assert (taken.tasks, taken.runs, taken.events) == (1, 1, 3)
    assert taken.bytes == path.stat().st_size > 0
    assert snapshots.inspect(path) == taken
    with closing(sqlite3.connect(path)) as copy:
        assert copy.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert copy.execute("SELECT id, status FROM tasks").fetchall() == [(task_id, "done")]
    assert violations(keeper.board.path) == []


def test_a_snapshot_is_one_file_and_reading_it_leaves_nothing_beside(keeper: Keeper, tmp_path: Path) -> None:
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    path = folder / "kept.db"
    snapshots.take(keeper.board, path)
    snapshots.inspect(path)

    assert [entry.name for entry in folder.iterdir()] == ["kept.db"]


def test_taking_a_snapshot_changes_nothing_on_the_board(keeper: Keeper, tmp_path: Path) -> None:
    keeper.finish(keeper.create())
    before, version = keeper.everything(), keeper.board.data_version()

    snapshots.take(keeper.board, tmp_path / "kept.db")

    assert keeper.everything() == before
    assert keeper.board.data_version() == version


def test_a_snapshot_is_of_one_moment_while_others_write(
    keeper: Keeper, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(copies, "PAGES", 2)
    for number in range(300):
        keeper.create(f"task {number}", body="x" * 400)
    written: list[float] = []

    def write(what: str, share: float) -> None:
        if what == snapshots.COPYING:
            keeper.create("written meanwhile")
            written.append(share)

    taken = snapshots.take(keeper.board, tmp_path / "kept.db", write)

    assert len(written) > 10
    assert taken.tasks == 300
    assert keeper.rows("SELECT count(*) FROM tasks") == [(300 + len(written),)]


def test_attachments_travel_with_the_board(keeper: Keeper, tmp_path: Path) -> None:
    task_id = keeper.create()
    large = os.urandom(3 * copies.CHUNK_BYTES + 17)
    attach(keeper, task_id, "report.pdf", large)
    attach(keeper, task_id, "empty.txt", b"")
    outside = tmp_path / "outside.txt"
    outside.write_text("somebody else's")
    add = "INSERT INTO task_attachments (task_id, filename, stored_path, size, created_at) VALUES (?, ?, ?, 1, 0)"
    keeper.execute(add, task_id, "outside.txt", str(outside))
    keeper.execute(add, task_id, "lost.txt", str(keeper.board.location.attachments / task_id / "lost.txt"))
    (keeper.board.location.attachments / "link").symlink_to(outside)
    keeper.execute(add, task_id, "link", str(keeper.board.location.attachments / "link"))
    os.mkfifo(keeper.board.location.attachments / "pipe")
    keeper.execute(add, task_id, "pipe", str(keeper.board.location.attachments / "pipe"))

    taken = snapshots.take(keeper.board, tmp_path / "kept.db")

    assert taken.attachments == 2
    assert taken.left_out == [f"{task_id}/lost.txt", "link", "pipe"]
    with closing(snapshots.open_snapshot(tmp_path / "kept.db")) as reader:
        stored = {one.path: b"".join(copies.content_of(reader, one)) for one in copies.stored_files(reader)}
    assert stored == {f"{task_id}/report.pdf": large, f"{task_id}/empty.txt": b""}
    without = snapshots.take(keeper.board, tmp_path / "small.db", attachments=False)
    assert (without.attachments, without.left_out) == (0, [])


def test_an_attachment_that_changed_in_the_snapshot_is_noticed(keeper: Keeper, tmp_path: Path) -> None:
    attach(keeper, keeper.create(), "report.txt", b"the truth")
    path = tmp_path / "kept.db"
    snapshots.take(keeper.board, path)
    with closing(sqlite3.connect(path)) as copy:
        copy.execute("UPDATE kp_snapshot_files SET content = ?", (b"the other",))
        copy.commit()

    with closing(snapshots.open_snapshot(path)) as reader:
        (stored,) = copies.stored_files(reader)
        with pytest.raises(BoardUnusable, match=r"report\.txt is damaged"):
            list(copies.content_of(reader, stored))


def test_an_existing_file_is_never_overwritten(keeper: Keeper, tmp_path: Path) -> None:
    path = tmp_path / "mine.txt"
    path.write_text("mine")

    with pytest.raises(InvalidArgument, match="exists already"):
        snapshots.take(keeper.board, path)
    with pytest.raises(InvalidArgument, match="exists already"):
        snapshots.take(keeper.board, Path(keeper.board.path))

    assert path.read_text() == "mine"


def test_a_damaged_board_gives_no_snapshot(home: Path, tmp_path: Path) -> None:
    with open_board(create=True) as board:
        for number in range(200):
            board.create_task(title=f"task {number}", body="x" * 500)
        with closing(sqlite3.connect(board.path)) as other:
            other.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    database = home / "kanban.db"
    content = bytearray(database.read_bytes())
    content[20 * 4096 : 24 * 4096] = b"\xff" * (4 * 4096)
    for suffix in ("-wal", "-shm"):
        database.with_name(f"kanban.db{suffix}").unlink(missing_ok=True)
    database.write_bytes(content)

    with open_board() as board, pytest.raises(BoardUnusable, match="damaged"):
        snapshots.take(board, tmp_path / "kept.db")

    assert [entry.name for entry in tmp_path.iterdir() if "kept" in entry.name] == []


def test_an_interrupted_snapshot_leaves_no_file(keeper: Keeper, tmp_path: Path) -> None:
    folder = tmp_path / "backups"

    def interrupt(what: str, share: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        snapshots.take(keeper.board, folder / "kept.db", interrupt)

    assert list(folder.iterdir()) == []
    assert not keeper.board.reader.in_transaction


def test_a_snapshot_of_a_busy_board_is_sound(home: Path, tmp_path: Path) -> None:
    """Failure mode G11, first half: taken during writes it checks out."""
    stop = threading.Event()

    def write() -> None:
        with open_board(create=True) as board:
            while not stop.is_set():
                board.create_task(title="busy", body="x" * 300)

    with open_board(create=True) as board:
        writers = [threading.Thread(target=write) for _ in range(3)]
        for writer in writers:
            writer.start()
        try:
            taken = [snapshots.take(board, tmp_path / f"kept-{number}.db") for number in range(5)]
        finally:
            stop.set()
            for writer in writers:
                writer.join()

    assert [one.tasks for one in taken] == sorted(one.tasks for one in taken)
    for one in taken:
        with closing(sqlite3.connect(one.path)) as copy:
            assert copy.execute("PRAGMA integrity_check").fetchone() == ("ok",)
            assert copy.execute("SELECT count(*) FROM task_events").fetchone() == (one.tasks,)


@pytest.mark.parametrize("content", [b"", b"not a database at all", b"SQLite format 3\0" + b"\0" * 100])
def test_what_is_no_snapshot_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "kept.db"
    path.write_bytes(content)

    with pytest.raises(BoardUnusable):
        snapshots.inspect(path)


def test_a_database_without_a_board_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "kept.db"
    with closing(sqlite3.connect(path)) as other:
        other.execute("CREATE TABLE songs (name TEXT)")

    with pytest.raises(BoardUnusable, match="holds no board"):
        snapshots.inspect(path)


def test_names_hold_board_and_moment_and_never_collide(keeper: Keeper) -> None:
    folder = snapshots.folder_of(keeper.board.location.root)
    first = snapshots.path_for(keeper.board.location, keeper.now)
    snapshots.take(keeper.board, first)
    second = snapshots.path_for(keeper.board.location, keeper.now)
    snapshots.take(keeper.board, second)
    keeper.clock.advance(60)
    third = snapshots.path_for(keeper.board.location, keeper.now)
    snapshots.take(keeper.board, third)

    assert len({first, second, third}) == 3
    assert snapshots.listed(folder) == [third, second, first]
    assert {snapshots.board_of(path) for path in (first, second, third)} == {"default"}
    assert snapshots.listed(folder, "other") == []
    assert snapshots.board_of(Path("mine.db")) == ""


def test_only_the_newest_are_kept_and_no_other_file_is_touched(keeper: Keeper) -> None:
    folder = snapshots.folder_of(keeper.board.location.root)
    taken = []
    for _ in range(4):
        taken.append(snapshots.take(keeper.board, snapshots.path_for(keeper.board.location, keeper.now)).path)
        keeper.clock.advance(3600)
    strangers = [folder / "mine.db", folder / "other-20200101-000000.db", folder / "default-20200101.db"]
    for stranger in strangers:
        stranger.write_text("")

    assert snapshots.prune(folder, "default", 2) == [taken[1], taken[0]]
    assert snapshots.listed(folder, "default") == [taken[3], taken[2]]
    assert all(stranger.exists() for stranger in strangers)
    for keep in (0, -1):
        with pytest.raises(InvalidArgument, match="at least 1"):
            snapshots.prune(folder, "default", keep)
    assert len(snapshots.listed(folder, "default")) == 2
