"""Deliverables: copied out of the scratch workspace before it goes, all of them or none."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from hermes_kanban_plugin import artifacts

if TYPE_CHECKING:
    from tests.tools.conftest import Seat


def attachments(seat: Seat, task_id: str) -> list[dict[str, Any]]:
    rows = seat.board.reader.execute("SELECT * FROM task_attachments WHERE task_id = ? ORDER BY id", (task_id,))
    return [dict(row) for row in rows]


def test_declared_file_is_copied_and_every_place_names_the_copy(seat: Seat) -> None:
    lease = seat.work()
    workspace = seat.workspace(lease.task_id, report_txt="42 words")
    seat.call("kanban_complete", summary="counted", artifacts=[str(workspace / "report.txt")])
    copy = seat.board.location.attachments / lease.task_id / "report.txt"
    assert copy.read_text() == "42 words"
    assert not workspace.exists()
    (row,) = attachments(seat, lease.task_id)
    assert (row["filename"], row["stored_path"], row["size"]) == ("report.txt", str(copy), 8)
    assert (row["uploaded_by"], row["created_at"]) == ("kanban_complete", seat.clock.now())
    assert seat.board.runs(lease.task_id)[0].metadata == {"artifacts": [str(copy)]}
    history = seat.events(lease.task_id)
    assert ("attached", {"filename": "report.txt", "size": 8, "by": "kanban_complete"}) in history
    assert dict(history)["completed"]["artifacts"] == [str(copy)]


def test_file_outside_the_workspace_stays_where_it_is(seat: Seat, tmp_path: Path) -> None:
    lease = seat.work()
    seat.workspace(lease.task_id)
    outside = tmp_path / "chart.png"
    outside.write_bytes(b"png")
    seat.call("kanban_complete", summary="drawn", artifacts=str(outside))
    assert seat.board.runs(lease.task_id)[0].metadata == {"artifacts": [str(outside)]}
    assert attachments(seat, lease.task_id) == []


def test_file_of_a_folder_that_stays_is_not_copied(seat: Seat, tmp_path: Path) -> None:
    lease = seat.work(workspace_kind="dir", workspace_path=str(tmp_path))
    seat.call("kanban_complete", summary="built", artifacts=[str(tmp_path / "not yet built")])
    assert attachments(seat, lease.task_id) == []


def test_file_that_the_prose_names_is_kept_too(seat: Seat) -> None:
    lease = seat.work()
    workspace = seat.workspace(lease.task_id, report_txt="42", notes_txt="x", other_txt="y")
    prose = f"The report is `{workspace}/report.txt`, see also {workspace}/notes.txt. {workspace}/gone.txt is gone."
    seat.call("kanban_complete", summary=prose)
    assert [row["filename"] for row in attachments(seat, lease.task_id)] == ["report.txt", "notes.txt"]


def test_files_in_the_metadata_in_the_argument_and_in_the_prose_are_one_list(seat: Seat) -> None:
    lease = seat.work()
    workspace = seat.workspace(lease.task_id, a_txt="a", b_txt="b", c_txt="c")
    a, b, c = (str(workspace / f"{name}.txt") for name in "abc")
    seat.call("kanban_complete", summary=f"see {c} and {a}", metadata={"artifacts": [a]}, artifacts=[b, a, " "])
    assert [row["filename"] for row in attachments(seat, lease.task_id)] == ["a.txt", "b.txt", "c.txt"]


def test_second_file_of_a_name_gets_another_one(seat: Seat) -> None:
    lease = seat.work()
    workspace = seat.workspace(lease.task_id, report_txt="first")
    (workspace / "sub").mkdir()
    (workspace / "sub" / "report.txt").write_text("second")
    paths = [str(workspace / "report.txt"), str(workspace / "sub" / "report.txt")]
    seat.call("kanban_complete", summary="two", artifacts=paths)
    names = [row["filename"] for row in attachments(seat, lease.task_id)]
    assert names == ["report.txt", "report_1.txt"]
    folder = seat.board.location.attachments / lease.task_id
    assert [(folder / name).read_text() for name in names] == ["first", "second"]


@pytest.mark.parametrize(
    "flaw",
    ["missing.txt", "a folder", "no\0path", "x" * 300, "../gone/missing.txt"],
    ids=["missing", "folder", "impossible", "too long", "roundabout"],
)
def test_file_that_cannot_be_kept_keeps_the_task_open_and_leaves_no_copy(
    seat: Seat, refused: Callable[..., str], flaw: str
) -> None:
    lease = seat.work()
    workspace = seat.workspace(lease.task_id, good_txt="good")
    (workspace / "a folder").mkdir()
    bad = f"{workspace}/{flaw}".replace("../gone", f"../{lease.task_id}")
    message = refused("kanban_complete", summary="done", artifacts=[str(workspace / "good.txt"), bad])
    assert "could not preserve the declared artifact" in message
    assert "call again with the same hand-off" in message
    assert not (seat.board.location.attachments / lease.task_id).exists()
    assert seat.call("kanban_complete", summary="done", artifacts=[str(workspace / "good.txt")])["ok"] is True


def test_home_of_nobody_is_a_refusal(seat: Seat, refused: Callable[..., str]) -> None:
    lease = seat.work()
    seat.workspace(lease.task_id)
    assert "could not preserve" in refused("kanban_complete", summary="x", artifacts=["~no-such-user-here/x"])


def test_file_that_is_too_large_is_refused(seat: Seat, refused: Callable[..., str]) -> None:
    lease = seat.work()
    workspace = seat.workspace(lease.task_id)
    large = workspace / "large.bin"
    large.touch()
    os.truncate(large, artifacts.MAX_BYTES + 1)
    assert str(artifacts.MAX_BYTES) in refused("kanban_complete", summary="done", artifacts=[str(large)])
    os.truncate(large, artifacts.MAX_BYTES)
    assert seat.call("kanban_complete", summary="done", artifacts=[str(large)])["ok"] is True


def test_copies_of_a_superseded_worker_are_taken_away_and_others_stay(seat: Seat) -> None:
    old = seat.work()
    workspace = seat.workspace(old.task_id, report_txt="mine")
    folder = seat.board.location.attachments / old.task_id
    folder.mkdir(parents=True)
    (folder / "report.txt").write_text("from the user")
    seat.board.reclaim(seat.board.task(old.task_id), None, "ann")
    seat.claim(old.task_id)
    before = seat.dump()
    answer = seat.call("kanban_complete", summary="done", artifacts=[str(workspace / "report.txt")])
    assert "superseded" in answer["error"]
    assert [path.name for path in folder.iterdir()] == ["report.txt"]
    assert (folder / "report.txt").read_text() == "from the user"
    assert seat.dump() == before


def test_copy_that_breaks_off_leaves_no_half_file(
    seat: Seat, refused: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    lease = seat.work()
    workspace = seat.workspace(lease.task_id, report_txt="42 words")

    def full(_: Any, target: Any) -> None:
        target.write(b"42")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(artifacts.shutil, "copyfileobj", full)
    message = refused("kanban_complete", summary="done", artifacts=[str(workspace / "report.txt")])
    assert "No space left on device" in message


def test_link_out_of_the_workspace_is_not_followed(seat: Seat, tmp_path: Path) -> None:
    lease = seat.work()
    workspace = seat.workspace(lease.task_id)
    secret = tmp_path / "elsewhere.txt"
    secret.write_text("elsewhere")
    (workspace / "link.txt").symlink_to(secret)
    seat.call("kanban_complete", summary="done", artifacts=[str(workspace / "link.txt")])
    assert attachments(seat, lease.task_id) == []
