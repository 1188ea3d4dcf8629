"""Scratch workspaces go when nobody needs them any more, and nothing else ever goes."""

from __future__ import annotations

from pathlib import Path

import pytest

from hermes_kanban_plugin import identity
from hermes_kanban_plugin.store import cleanups, leases, orphans
from hermes_kanban_plugin.store.outcomes import Handoff

SOMEBODY = identity.ProcessIdentity("host", "boot", "namespace", 100, 1.5)


def scratch(desk, task_id: str, folder: Path | None = None) -> Path:
    """Give a task a scratch workspace with a file in it."""
    path = folder or desk.board.location.workspaces / task_id
    path.mkdir(parents=True)
    (path / "notes.txt").write_text("kept?")
    desk.put(task_id, workspace_path=str(path))
    return path


def done(desk, **fields: object) -> tuple[str, Path]:
    lease = desk.claimed(**fields)
    path = scratch(desk, lease.task_id)
    desk.board.complete_run(lease, Handoff("done"))
    return lease.task_id, path


def test_completing_queues_the_workspace_and_a_later_tidy_removes_it(desk) -> None:
    task_id, path = done(desk)
    (queued,) = cleanups.due(desk.writer)
    assert (queued.task_id, queued.path) == (task_id, str(path))
    assert path.exists()
    assert desk.board.tidy() == [task_id]
    assert not path.exists()
    assert desk.board.tidy() == []


def test_completing_by_hand_queues_it_too(desk) -> None:
    task_id = desk.create()
    path = scratch(desk, task_id)
    desk.board.complete(task_id, Handoff("done"), "ann")
    assert desk.board.tidy() == [task_id]
    assert not path.exists()


@pytest.mark.parametrize("kind", ["dir", "worktree"])
def test_a_workspace_that_is_not_scratch_is_never_queued(desk, kind: str) -> None:
    lease = desk.claimed(workspace_kind=kind)
    path = scratch(desk, lease.task_id)
    desk.board.complete_run(lease, Handoff("done"))
    assert desk.board.tidy() == []
    assert path.exists()


def test_an_open_child_keeps_it(desk) -> None:
    lease = desk.claimed()
    path = scratch(desk, lease.task_id)
    child = desk.create(parents=(lease.task_id,))
    desk.board.complete_run(lease, Handoff("done"))
    assert desk.board.tidy() == []
    assert path.exists()
    desk.board.complete(child, Handoff("done"), "ann")
    assert desk.board.tidy() == [lease.task_id]
    assert not path.exists()


def test_a_task_that_was_opened_again_keeps_it(desk) -> None:
    task_id, path = done(desk)
    desk.put(task_id, status="ready")
    assert desk.board.tidy() == []
    assert path.exists()


def test_a_living_process_of_the_task_keeps_it(desk) -> None:
    lease = desk.claimed()
    leases.accept(desk.writer, lease, SOMEBODY, SOMEBODY, desk.now + 60, desk.now)
    path = scratch(desk, lease.task_id)
    desk.board.complete(lease.task_id, Handoff("done"), "ann")
    assert desk.board.tidy() == []
    assert path.exists()
    orphans.mark_ended(desk.writer, [lease.run_id], desk.now)
    assert desk.board.tidy() == [lease.task_id]
    assert not path.exists()


@pytest.mark.parametrize("where", ["outside", "the root itself", "beside", "through a link", "through dots"])
def test_only_what_lies_below_the_workspaces_folder_is_removed(desk, tmp_path: Path, where: str) -> None:
    root = desk.board.location.workspaces
    root.mkdir(parents=True)
    outside = tmp_path / "outside"
    outside.mkdir()
    beside = Path(f"{root}-mine")
    beside.mkdir()
    (root / "link").symlink_to(outside)
    path = {
        "outside": outside,
        "the root itself": root,
        "beside": beside,
        "through a link": root / "link",
        "through dots": root / ".." / ".." / ".." / "outside",
    }[where]
    task_id = desk.create()
    desk.put(task_id, workspace_path=str(path))
    desk.board.complete(task_id, Handoff("done"), "ann")
    assert desk.board.tidy() == [task_id]
    assert path.exists()
    assert outside.exists()


def test_a_folder_that_is_gone_already_is_forgotten(desk) -> None:
    lease = desk.claimed()
    desk.put(lease.task_id, workspace_path=str(desk.board.location.workspaces / "gone"))
    desk.board.complete_run(lease, Handoff("done"))
    assert desk.board.tidy() == [lease.task_id]
    assert cleanups.due(desk.writer) == []


def test_a_queue_outlives_whoever_filled_it(desk) -> None:
    task_id, path = done(desk)
    desk.board.close()
    with type(desk.board)(desk.board.location, desk.board.clock) as later:
        assert later.tidy() == [task_id]
    assert not path.exists()


def test_a_task_that_works_in_the_same_folder_keeps_it(desk) -> None:
    """What a worker creates without parents inherits its folder, and must not lose it when the creator is done."""
    lease = desk.claimed()
    path = scratch(desk, lease.task_id)
    follower = desk.create()
    desk.put(follower, workspace_path=str(path))
    desk.board.complete_run(lease, Handoff("done"))
    assert desk.board.tidy() == []
    assert (path / "notes.txt").exists()
    desk.board.complete(follower, Handoff("done"), "ann")
    desk.board.tidy()
    assert not path.exists()
