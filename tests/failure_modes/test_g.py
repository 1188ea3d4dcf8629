"""Group G: the board's file, its copies and its growth."""

from __future__ import annotations

import sqlite3
import threading
from contextlib import closing
from pathlib import Path

import pytest

from hermes_kanban_plugin import locations, open_board
from hermes_kanban_plugin.cli.main import main
from hermes_kanban_plugin.errors import BoardUnusable, InvalidArgument
from hermes_kanban_plugin.maintenance import restoring, retention, snapshots
from hermes_kanban_plugin.maintenance.retention import Policy
from hermes_kanban_plugin.store.outcomes import Handoff
from hermes_kanban_plugin.testing import place_of, violations

DAY = 86_400


def dump(path: Path) -> str:
    with closing(sqlite3.connect(path)) as other:
        return "\n".join(other.iterdump())


@pytest.mark.parametrize("damage", ["header", "middle", "cut off", "empty"])
def test_G3_no_command_makes_fewer_rows_of_a_damaged_board(home: Path, capsys, damage: str) -> None:
    with open_board(create=True) as board:
        for number in range(300):
            board.create_task(title=f"task {number}", body="x" * 400)
        taken = snapshots.take(board, home / "kept.db")
        with closing(sqlite3.connect(board.path)) as other:
            other.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    database = home / "kanban.db"
    for suffix in ("-wal", "-shm"):
        database.with_name(f"kanban.db{suffix}").unlink(missing_ok=True)
    content = bytearray(database.read_bytes())
    if damage == "header":
        content[:16] = b"\0" * 16
    elif damage == "middle":
        content[8192 : 8192 + 40_960] = b"\xff" * 40_960
    else:
        content = content[: 5000 if damage == "cut off" else 0]
    database.write_bytes(content)
    commands = [
        ["list"], ["stats"], ["watch"], ["status"], ["init"], ["create", "x"], ["dispatch"], ["scan"], ["gc"],
        ["gc", "--dry-run"], ["backup"], ["export"], ["pause"], ["resume"], ["events"],
    ]  # fmt: skip

    for words in commands:
        main(words)
        capsys.readouterr()

    # Whatever was refused or done: the bytes that were there are there, and no snapshot of less was taken.
    assert len(database.read_bytes()) >= len(content)
    for made in snapshots.listed(snapshots.folder_of(home)):
        assert snapshots.inspect(made).tasks >= taken.tasks
    assert main(["restore", str(home / "kept.db")]) == 0
    with open_board() as board:
        assert len(board.tasks()) == 300
    assert violations(database) == []


def test_G4_a_thousand_backups_keep_a_bounded_number_of_copies(stage) -> None:
    stage.create()
    folder = snapshots.folder_of(stage.home)
    for _ in range(40):
        stage.clock.advance(60)
        snapshots.take(stage.board, snapshots.path_for(stage.board.location, stage.now))
        snapshots.prune(folder, "default", 3)

    assert len(list(folder.iterdir())) == 3


@pytest.mark.parametrize("days", [-1, 0, 3651, 10**12])
def test_G9_a_retention_call_with_an_impossible_number_removes_nothing(stage, days: int, capsys) -> None:
    task_id = stage.create()
    stage.tick()
    stage.complete(task_id)
    log = stage.board.location.logs / f"{task_id}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    log.write_text("evidence")
    stage.clock.advance(4000 * DAY)
    before = dump(stage.home / "kanban.db")

    for field in Policy._fields:
        with pytest.raises(InvalidArgument, match="nothing was removed"):
            retention.clean(stage.board, Policy()._replace(**{field: days}))
        assert main(["gc", f"--{field.replace('_', '-')}", str(days)]) == 2

    assert capsys.readouterr().out == ""
    assert dump(stage.home / "kanban.db") == before
    assert log.read_text() == "evidence"


def test_G9_a_dry_run_says_what_goes_and_takes_nothing(stage) -> None:
    task_id = stage.create()
    stage.tick()
    stage.complete(task_id)
    stage.clock.advance(100 * DAY)
    before = dump(stage.home / "kanban.db")

    said = retention.survey(stage.board, Policy())
    assert dump(stage.home / "kanban.db") == before
    done = retention.clean(stage.board, Policy())

    assert [(heap.name, heap.items) for heap in said.heaps] == [(heap.name, heap.items) for heap in done.heaps]
    assert done.items > 0
    assert stage.status(task_id) == "done"


def test_G11_a_snapshot_taken_during_writes_is_restored_elsewhere_without_ghosts(
    stage, tmp_path: Path, monkeypatch
) -> None:
    running = [stage.create(title=f"runs {number}") for number in range(5)]
    assert sorted(stage.started()) == sorted(running)
    stop = threading.Event()

    def write() -> None:
        with open_board() as board:
            while not stop.is_set():
                board.create_task(title="meanwhile", body="x" * 200)

    writers = [threading.Thread(target=write) for _ in range(2)]
    for writer in writers:
        writer.start()
    try:
        taken = snapshots.take(stage.board, tmp_path / "kept.db")
    finally:
        stop.set()
        for writer in writers:
            writer.join()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    location = place_of(elsewhere / "kanban.db")

    done = restoring.restore(taken.path, location, stage.runtime.manager, stage.clock)

    with closing(sqlite3.connect(location.database)) as other:
        assert other.execute("PRAGMA quick_check").fetchone() == ("ok",)
        assert other.execute(
            "SELECT count(*) FROM tasks WHERE status = 'running' OR claim_lock IS NOT NULL"
        ).fetchone() == (0,)
        assert other.execute("SELECT count(*) FROM task_runs WHERE ended_at IS NULL").fetchone() == (0,)
    assert sorted(done.voided) == sorted(running)
    assert violations(location.database) == []
    for task_id in running:
        stage.complete(task_id)


def test_G11_a_board_that_is_gone_comes_back_from_its_newest_snapshot(stage, home: Path, capsys) -> None:
    task_id = stage.create()
    assert main(["backup", "--all"]) == 0
    stage.restart()
    for path in home.glob("kanban.db*"):
        path.unlink()
    with pytest.raises(BoardUnusable, match="does not exist"):
        stage.board  # noqa: B018

    assert main(["restore", str(snapshots.folder_of(home))]) == 0

    assert stage.status(task_id) == "ready"
    assert "restored board default" in capsys.readouterr().out


def test_G13_a_large_board_is_listed_kept_small_and_figured_without_a_wait_for_workers(stage) -> None:
    """The speed is a matter of bench/; here: the clean-up is bounded per transaction, and idempotent."""
    ids = [stage.create(title=f"old {number}") for number in range(30)]
    with open_board(clock=stage.clock) as board:
        for task_id in ids:
            board.complete(task_id, Handoff(summary="x"), "me")
    stage.clock.advance(60 * DAY)
    stage.configure(keep_days=30)

    assert retention.clean(stage.board, Policy()).items == 60
    assert retention.clean(stage.board, Policy()).items == 0
    assert len(stage.board.tasks(status="done")) == 30


def test_G12_one_command_names_the_file_that_is_used(home: Path, capsys) -> None:
    (home / "kanban").mkdir()
    (home / "kanban" / "kanban.db").write_bytes(b"")
    with open_board(create=True):
        pass

    main(["status", "--json"])

    out = capsys.readouterr().out
    assert f'"path": "{locations.locate().database}"' in out
