"""accept: what a person says to a completion that came too late."""

from __future__ import annotations

import pytest

from hermes_kanban_plugin import open_board
from hermes_kanban_plugin.breaker import Terms
from hermes_kanban_plugin.causes import Cause
from hermes_kanban_plugin.store import outcomes
from hermes_kanban_plugin.store.outcomes import Failure, Handoff, StoredArtifact
from hermes_kanban_plugin.testing import claim_one


@pytest.fixture
def late(monkeypatch: pytest.MonkeyPatch, tmp_path):
    """A task that was given up, and a hand-off that came a moment later, with a file; returns task, run and file."""
    monkeypatch.setenv("HERMES_PROFILE", "ann")
    report = tmp_path / "kept" / "report.md"
    report.parent.mkdir()
    report.write_text("work")
    with open_board(create=True) as board:
        task_id = board.create_task(title="x", assignee="nobody")
        lease = claim_one(board, task_id)
        outcomes.fail(board.writer, lease, Failure(Cause.CRASHED, "died", {}, Terms(1)), board.clock.now())
        files = [StoredArtifact("report.md", str(report), 4)]
        assert board.keep_completion(lease, Handoff("counted 42 words", metadata={"words": 42}, artifacts=files))
        child = board.create_task(title="y", parents=(task_id,))
    return task_id, lease.run_id, report, child


def status_of(task_id: str) -> str:
    with open_board() as board:
        return board.task(task_id).status


def test_accepting_finishes_the_task(command, late) -> None:
    task_id, run_id, report, child = late
    answer = command("accept", task_id)
    assert answer.out.splitlines() == [
        f"accepted {task_id} run {run_id}, done", "counted 42 words", "file report.md 4 bytes", f"ready now: {child}",
    ]  # fmt: skip
    assert (answer.status, answer.err) == (0, "")
    assert (status_of(task_id), status_of(child)) == ("done", "ready")
    assert report.exists()
    with open_board() as board:
        completed = next(event for event in board.events(task_id) if event.kind == "completed")
    assert completed.payload["actor"] == "ann"


def test_rejecting_leaves_the_task_and_removes_the_files(command, late) -> None:
    task_id, run_id, report, _ = late
    assert command("accept", task_id, "--reject").out.startswith(f"rejected {task_id} run {run_id}, blocked\n")
    assert status_of(task_id) == "blocked"
    assert not report.exists()
    command("accept", task_id).refused(2, "no completion", f"hermes-kanban show {task_id}")


@pytest.mark.parametrize("flags", [(), ("--reject",)])
def test_a_dry_run_shows_it_and_decides_nothing(command, late, flags) -> None:
    task_id, run_id, report, _ = late
    answer = command("accept", task_id, "--dry-run", "--json", *flags)
    expected = {
        "task_id": task_id, "run_id": run_id, "decision": "rejected" if flags else "accepted", "dry_run": True,
        "status": "blocked", "promoted": [], "summary": "counted 42 words", "result": None, "metadata": {"words": 42},
        "created_cards": [], "artifacts": [{"filename": "report.md", "stored_path": str(report), "size": 4}],
    }  # fmt: skip
    found = answer.json
    assert found.pop("handed_over_at") > 0
    assert found == expected
    assert command("accept", task_id).status == 0


def test_a_task_that_is_not_there_is_refused(command, late) -> None:
    command("accept", "t_00000000").refused(2, "unknown task", "hermes-kanban list")
