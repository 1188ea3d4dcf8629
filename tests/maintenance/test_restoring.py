"""``restore``: the snapshot's board stands there again, and nobody of the past holds a claim on it."""

from __future__ import annotations

import json
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from hermes_kanban_plugin import identity, locations, open_board
from hermes_kanban_plugin.board import Board
from hermes_kanban_plugin.errors import BoardInUse, BoardUnusable, SchemaTooNew, Superseded
from hermes_kanban_plugin.identity import ProcessIdentity
from hermes_kanban_plugin.locks import FileLock
from hermes_kanban_plugin.maintenance import restoring, snapshots
from hermes_kanban_plugin.maintenance.restoring import Restoration
from hermes_kanban_plugin.manager import Manager
from hermes_kanban_plugin.store import dispatchers, leases
from hermes_kanban_plugin.store import snapshots as copies
from hermes_kanban_plugin.testing import claim_one, violations
from tests.maintenance.conftest import Keeper
from tests.maintenance.test_snapshots import attach


@pytest.fixture
def restore(keeper: Keeper, manager: Manager) -> Callable[..., Restoration]:
    def run(path: Path, onto: Keeper = keeper, **how: bool) -> Restoration:
        return restoring.restore(path, onto.board.location, manager, keeper.clock, **how)

    return run


@pytest.fixture
def sleeper() -> Iterator[Callable[[], ProcessIdentity]]:
    """Start processes that can stand for a worker."""
    started: list[subprocess.Popen[bytes]] = []

    def start() -> ProcessIdentity:
        started.append(subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE))
        return identity.capture(started[-1].pid)

    yield start
    for child in started:
        child.kill()
        child.wait()
        assert child.stdin is not None
        child.stdin.close()


def kept(keeper: Keeper, name: str = "kept.db") -> Path:
    path = keeper.board.location.root / name
    snapshots.take(keeper.board, path)
    return path


def accept(keeper: Keeper, task_id: str, process: ProcessIdentity) -> leases.Lease:
    lease = keeper.claim(task_id)
    leases.accept(keeper.board.writer, lease, process, process, keeper.now + 120, keeper.now)
    return lease


def test_the_board_of_the_snapshot_stands_there_again(keeper: Keeper, restore: Callable[..., Restoration]) -> None:
    kept_task = keeper.create("kept")
    path = kept(keeper)
    keeper.create("lost")

    done = restore(path)

    assert [task.id for task in keeper.board.tasks()] == [kept_task]  # seen by the connection that was open
    assert (done.tasks, done.tasks_before, done.voided, done.obstacles) == (1, 2, [], [])
    assert violations(keeper.board.path) == []
    assert not keeper.rows("SELECT name FROM sqlite_master WHERE name LIKE 'kp_snapshot%'")


def test_the_replaced_board_is_kept_beside_and_can_be_restored_in_turn(
    keeper: Keeper, restore: Callable[..., Restoration]
) -> None:
    path = kept(keeper)
    later = keeper.create("made after the snapshot")

    first = restore(path)
    assert first.replaced is not None
    assert first.replaced.parent == Path(keeper.board.path).parent
    second = restore(first.replaced)

    assert [task.id for task in keeper.board.tasks()] == [later]
    assert second.replaced not in (None, first.replaced)


def test_claims_are_voided_and_tasks_go_back_to_their_columns(
    keeper: Keeper, another: Callable[[str], Keeper], restore: Callable[..., Restoration]
) -> None:
    """Failure mode G11: restored elsewhere it has no running ghosts."""
    ready, review, idle = keeper.create("ready"), keeper.create("review"), keeper.create("idle")
    lease = keeper.claim(ready, seconds=10**6)
    keeper.claim(review, seconds=10**6)
    keeper.execute("UPDATE kp_runs SET source_status = 'review' WHERE task_id = ?", review)
    path = kept(keeper)
    elsewhere = another("elsewhere")

    done = restore(path, elsewhere)

    assert sorted(done.voided) == sorted([ready, review])
    board = elsewhere.board
    assert {task.id: task.status for task in board.tasks()} == {ready: "ready", review: "review", idle: "ready"}
    assert {(run.outcome, run.claim_lock) for run in board.runs(ready)} == {("reclaimed", None)}
    (last,) = board.events(ready)[-1:]
    assert (last.kind, last.payload["reason"], last.run_id) == ("reclaimed", restoring.REASON, lease.run_id)
    assert violations(board.path) == []
    with pytest.raises(Superseded):
        board.heartbeat(lease, 60)


def test_a_run_id_is_never_given_out_twice(keeper: Keeper, restore: Callable[..., Restoration]) -> None:
    task_id = keeper.create()
    path = kept(keeper)
    old = keeper.finish(task_id)
    highest = keeper.rows("SELECT max(id) FROM task_events")[0][0]

    restore(path)

    with open_board() as board:
        new = claim_one(board, task_id, nonce="after")
        assert new.run_id > old.run_id
        assert min(event.id for event in board.events(task_id) if event.kind == "claimed") > highest


def test_nothing_is_restored_while_a_dispatcher_serves(keeper: Keeper, restore: Callable[..., Restoration]) -> None:
    path = kept(keeper)
    later = keeper.create("later")
    term, _ = dispatchers.begin(keeper.board.writer, identity.capture(_own_pid()), keeper.now)
    lock = FileLock(locations.dispatcher_lock(keeper.board.location.root))
    assert lock.acquire()
    try:
        with pytest.raises(BoardInUse, match=rf"a dispatcher or gateway \(pid {_own_pid()}\) serves.*--force"):
            restore(path)
        assert [task.id for task in keeper.board.tasks()] == [later]
        done = restore(path, force=True)
    finally:
        lock.release()

    assert keeper.board.tasks() == []
    assert len(done.obstacles) == 1
    # The one that serves goes on noting its ticks.
    assert keeper.rows("SELECT term, ended_at FROM kp_dispatchers") == [(term, None)]


def test_nobody_can_dispatch_while_it_is_restored(keeper: Keeper, manager: Manager) -> None:
    path = kept(keeper)
    location = keeper.board.location
    tried: list[bool] = []

    def try_to_lead(what: str, share: float) -> None:
        for lock_file in (locations.dispatcher_lock(location.root), locations.tick_lock(location.database)):
            lock = FileLock(lock_file)
            tried.append(lock.acquire())
            lock.release()

    restoring.restore(path, location, manager, keeper.clock, try_to_lead)

    before = 4  # the check of the snapshot, which stands in nobody's way
    assert True not in tried[before:]
    assert len(tried) > before
    assert FileLock(locations.dispatcher_lock(location.root)).acquire()


def test_nothing_is_restored_while_a_worker_runs(
    keeper: Keeper, restore: Callable[..., Restoration], sleeper: Callable[[], ProcessIdentity]
) -> None:
    path = kept(keeper)
    process = sleeper()
    task_id = keeper.create()
    accept(keeper, task_id, process)
    before = keeper.everything()

    with pytest.raises(BoardInUse, match=f"task {task_id} is being worked on by pid {process.pid}"):
        restore(path)

    assert keeper.everything() == before


def test_a_worker_that_is_overruled_is_fenced_off_and_nothing_starts_beside_it(
    keeper: Keeper, restore: Callable[..., Restoration], sleeper: Callable[[], ProcessIdentity]
) -> None:
    task_id, process = keeper.create(), sleeper()
    path = kept(keeper)
    lease = accept(keeper, task_id, process)

    restore(path, force=True)

    assert keeper.board.task(task_id).status == "ready"
    with pytest.raises(Superseded):
        keeper.board.heartbeat(lease, 60)
    candidates = [task.id for task in _candidates(keeper)]
    assert candidates == []
    assert keeper.rows("SELECT run_id, worker_pid, ended_at FROM kp_runs") == [(lease.run_id, process.pid, None)]
    keeper.execute("UPDATE kp_runs SET ended_at = 1")
    assert [task.id for task in _candidates(keeper)] == [task_id]


def test_a_claim_that_cannot_be_seen_counts_until_its_lease_ends(
    keeper: Keeper, restore: Callable[..., Restoration], sleeper: Callable[[], ProcessIdentity]
) -> None:
    path = kept(keeper)
    accept(keeper, keeper.create(), sleeper()._replace(host_id="another machine"))

    with pytest.raises(BoardInUse, match=r"claimed until .* by somebody who cannot be seen"):
        restore(path)
    keeper.clock.advance(121)

    assert restore(path).obstacles == []


def test_a_dead_worker_is_no_obstacle(
    keeper: Keeper, restore: Callable[..., Restoration], sleeper: Callable[[], ProcessIdentity]
) -> None:
    path = kept(keeper)
    accept(keeper, keeper.create(), sleeper()._replace(boot_id="an earlier boot"))

    assert restore(path).obstacles == []


def test_a_dry_run_changes_nothing_and_names_every_obstacle(
    keeper: Keeper, restore: Callable[..., Restoration], sleeper: Callable[[], ProcessIdentity]
) -> None:
    held = keeper.create()
    keeper.claim(held)
    path = kept(keeper)
    accept(keeper, keeper.create(), sleeper())
    before, files = keeper.everything(), sorted(keeper.board.location.root.rglob("*"))

    said = restore(path, dry_run=True)

    assert keeper.everything() == before
    new = set(keeper.board.location.root.rglob("*")) - set(files)
    assert {entry.name for entry in new} <= {"kanban", ".dispatcher.lock", "kanban.db.dispatch.lock"}
    assert (said.dry_run, said.voided, said.tasks, said.tasks_before) == (True, [held], 1, 2)
    assert len(said.obstacles) == 2
    assert said.replaced is None


def test_attachments_come_back_below_the_new_home(
    keeper: Keeper, another: Callable[[str], Keeper], restore: Callable[..., Restoration]
) -> None:
    task_id = keeper.create()
    attach(keeper, task_id, "report.txt", b"the report")
    path = kept(keeper)
    elsewhere = another("elsewhere")

    done = restore(path, elsewhere)

    ((stored,),) = elsewhere.rows("SELECT stored_path FROM task_attachments")
    assert Path(stored).is_relative_to(elsewhere.board.location.attachments)
    assert Path(stored).read_bytes() == b"the report"
    assert done.attachments == 1


def test_attachments_that_are_there_are_kept_beside_when_they_differ(
    keeper: Keeper, restore: Callable[..., Restoration]
) -> None:
    task_id = keeper.create()
    same, other = attach(keeper, task_id, "same.txt", b"same"), attach(keeper, task_id, "other.txt", b"as it was")
    path = kept(keeper)
    other.write_bytes(b"as it is")
    written = same.stat().st_mtime_ns

    assert restore(path).attachments == 1

    assert same.stat().st_mtime_ns == written
    assert other.read_bytes() == b"as it was"
    beside = [entry for entry in other.parent.iterdir() if entry not in (same, other)]
    assert [entry.read_bytes() for entry in beside] == [b"as it is"]


@pytest.mark.parametrize("evil", ["../../escaped.txt", "/tmp/escaped.txt"])
def test_an_attachment_that_leads_out_of_its_folder_is_refused(
    keeper: Keeper, restore: Callable[..., Restoration], evil: str
) -> None:
    attach(keeper, keeper.create(), "report.txt", b"x")
    path = kept(keeper)
    with closing(sqlite3.connect(path)) as copy:
        copy.execute("UPDATE kp_snapshot_files SET path = ?", (evil,))
        copy.commit()
    later = keeper.create("later")

    with pytest.raises(BoardUnusable, match="leads out of"):
        restore(path)

    assert later in [task.id for task in keeper.board.tasks()]


def test_a_damaged_snapshot_is_refused_and_the_board_stays(
    keeper: Keeper, restore: Callable[..., Restoration], tmp_path: Path
) -> None:
    for number in range(100):
        keeper.create(f"task {number}", body="x" * 500)
    path = kept(keeper)
    content = bytearray(path.read_bytes())
    content[8 * 4096 : 12 * 4096] = b"\xee" * (4 * 4096)
    path.write_bytes(content)
    before = keeper.everything()

    with pytest.raises(BoardUnusable, match="damaged"):
        restore(path)

    assert keeper.everything() == before


def test_a_snapshot_of_a_newer_version_is_refused(keeper: Keeper, restore: Callable[..., Restoration]) -> None:
    keeper.board.writer  # noqa: B018 - makes our tables
    path = kept(keeper)
    with closing(sqlite3.connect(path)) as copy:
        copy.execute("UPDATE kp_migrations SET name = '9999_from_the_future' WHERE name LIKE '0001%'")
        copy.commit()

    with pytest.raises(SchemaTooNew):
        restore(path)


@pytest.mark.parametrize("ruin", [b"", b"this was a board once", None])
def test_a_board_that_cannot_be_opened_is_moved_aside(
    home: Path, keeper: Keeper, manager: Manager, ruin: bytes | None
) -> None:
    """Failure mode G3: what was there is kept, and nothing makes an empty board of it."""
    task_id = keeper.create()
    path = kept(keeper)
    keeper.board.close()
    database = home / "kanban.db"
    for suffix in ("-wal", "-shm"):
        database.with_name(f"kanban.db{suffix}").unlink(missing_ok=True)
    if ruin is None:
        database.unlink()
    else:
        database.write_bytes(ruin)

    done = restoring.restore(path, locations.locate(), manager, keeper.clock)

    with open_board() as board:
        assert [task.id for task in board.tasks()] == [task_id]
    assert done.tasks_before is None
    if ruin is None:
        assert done.replaced is None
    else:
        assert done.replaced is not None
        assert done.replaced.read_bytes() == ruin


def ruin_an_index(keeper: Keeper) -> None:
    """Overwrite the root page of an index that only a check looks at: the board opens, and is damaged."""
    for number in range(40):
        keeper.create(f"filler {number}")
    (page,) = keeper.rows("SELECT rootpage FROM sqlite_master WHERE type = 'index' AND tbl_name = 'task_comments'")[0]
    size = copies.page_size_of(keeper.board.reader)
    database = keeper.board.location.database
    keeper.board.close()
    with closing(sqlite3.connect(database)) as last:
        last.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    with database.open("r+b") as file:
        file.seek((page - 1) * size)
        file.write(b"\xee" * size)


def test_a_damaged_board_still_tells_who_works_and_how_far_it_counted(
    home: Path, keeper: Keeper, manager: Manager, sleeper: Callable[[], ProcessIdentity]
) -> None:
    task_id, process = keeper.create(), sleeper()
    path = kept(keeper)
    lease = accept(keeper, task_id, process)
    ruin_an_index(keeper)
    location = locations.locate()

    with pytest.raises(BoardInUse, match=f"task {task_id} is being worked on by pid {process.pid}"):
        restoring.restore(path, location, manager, keeper.clock)
    done = restoring.restore(path, location, manager, keeper.clock, force=True)

    assert done.tasks_before is None  # it was moved aside, not read
    with open_board() as board:
        rows = board.reader.execute("SELECT run_id, worker_pid, ended_at FROM kp_runs").fetchall()
        assert [tuple(row) for row in rows] == [(lease.run_id, process.pid, None)]
        assert copies.counters_of(board.reader)["task_runs"] == lease.run_id


def test_a_board_that_tells_nothing_any_more_is_counted_far_beyond(
    home: Path, keeper: Keeper, manager: Manager
) -> None:
    lease = keeper.claim(keeper.create())
    path = kept(keeper)
    keeper.board.close()
    for suffix in ("-wal", "-shm"):
        (home / f"kanban.db{suffix}").unlink(missing_ok=True)
    (home / "kanban.db").write_bytes(b"this was a board once")

    restoring.restore(path, locations.locate(), manager, keeper.clock)

    with open_board() as board:
        assert copies.counters_of(board.reader)["task_runs"] == lease.run_id + restoring.UNSEEN_RUNS


@pytest.mark.parametrize("version", ["0.13.0", "0.15.2", "0.17.0", "0.19.0"])
def test_a_plain_copy_of_a_host_board_can_be_restored(
    keeper: Keeper, restore: Callable[..., Restoration], tmp_path: Path, version: str
) -> None:
    plain = tmp_path / "plain.db"
    shutil.copyfile(Path(__file__).parents[1] / "fixtures" / "boards" / f"hermes-{version}.db", plain)

    done = restore(plain)

    statuses = sorted(task.status for task in keeper.board.tasks())
    assert statuses == ["blocked", "done", "ready", "ready", "ready", "todo", "triage"]
    assert (done.tasks, done.tasks_before, len(done.voided)) == (8, 0, 1)
    assert violations(keeper.board.path) == []


def test_a_board_with_other_pages_takes_a_snapshot_too(
    home: Path, keeper: Keeper, another: Callable[[str], Keeper], restore: Callable[..., Restoration]
) -> None:
    task_id = keeper.create()
    path = kept(keeper)
    elsewhere = another("elsewhere")
    elsewhere.board.close()
    with closing(sqlite3.connect(elsewhere.board.path, isolation_level=None)) as other:
        for line in ("PRAGMA journal_mode=DELETE", "PRAGMA page_size=8192", "VACUUM", "PRAGMA journal_mode=WAL"):
            other.execute(line)

    with Board(elsewhere.board.location, keeper.clock) as board:
        restore(path, elsewhere)
        assert [task.id for task in board.tasks()] == [task_id]
        assert board.reader.execute("PRAGMA page_size").fetchone()[0] == 8192


def test_a_board_made_anew_gets_its_name_back_and_an_existing_one_keeps_its_own(
    keeper: Keeper, another: Callable[[str], Keeper], restore: Callable[..., Restoration]
) -> None:
    metadata = keeper.board.location.metadata
    metadata.parent.mkdir(parents=True)
    metadata.write_text(json.dumps({"name": "Research"}))
    path = kept(keeper)
    metadata.write_text(json.dumps({"name": "Renamed since"}))
    elsewhere = another("elsewhere")

    restore(path)
    restore(path, elsewhere)

    assert json.loads(metadata.read_text()) == {"name": "Renamed since"}
    assert json.loads(elsewhere.board.location.metadata.read_text()) == {"name": "Research"}


def test_an_interrupted_restore_leaves_the_board_as_it_was(
    keeper: Keeper, manager: Manager, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(copies, "PAGES", 2)
    keeper.create("kept")
    path = kept(keeper)
    keeper.create("later")
    before = keeper.everything()
    for stage in (restoring.CHECKING, restoring.PREPARING, restoring.KEEPING, restoring.POURING):

        def interrupt(what: str, share: float, stage: str = stage) -> None:
            if what == stage:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            restoring.restore(path, keeper.board.location, manager, keeper.clock, interrupt)
        assert keeper.everything() == before, stage
        assert not list(keeper.board.location.root.glob("*.restoring-*"))


def _candidates(keeper: Keeper) -> list[object]:
    from hermes_kanban_plugin.store import queries

    return list(queries.candidates(keeper.board.writer, keeper.now, 0))


def _own_pid() -> int:
    import os

    return os.getpid()
