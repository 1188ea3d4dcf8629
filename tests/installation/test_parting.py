"""What is said of a board when setup is taken back: all that only we know of it, and nothing else."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hermes_kanban_plugin import locations
from hermes_kanban_plugin.board import Board
from hermes_kanban_plugin.cli import main
from hermes_kanban_plugin.clock import Clock
from hermes_kanban_plugin.installation import parting, start_file
from hermes_kanban_plugin.store import flags, timers
from hermes_kanban_plugin.store.outcomes import Handoff
from hermes_kanban_plugin.testing import claim_one, make_board

LANES = ("quick",)


@pytest.fixture
def board(home: Path) -> Board:
    return make_board(home / "kanban.db", Clock())


def said() -> list[str]:
    return parting.left_behind(locations.locate(), LANES)


def test_a_board_that_hermes_can_serve_alone_is_not_mentioned(board: Board) -> None:
    board.create_task(title="ready", assignee="worker")
    done = board.create_task(title="done", assignee="quick")
    board.complete(done, Handoff("by hand"), "me")
    assert said() == []


def test_a_pause_is_unknown_to_hermes(board: Board) -> None:
    flags.put(board.writer, flags.PAUSED, "too hot", "me", 1)
    (line,) = said()
    assert line.startswith("board default: it is paused, which Hermes does not know")


def test_a_task_that_waits_for_a_time_would_wait_for_ever(board: Board) -> None:
    parked, opened = (board.create_task(title=title, assignee="worker") for title in ("parked", "opened"))
    for task_id in (parked, opened):
        timers.park(board.writer, task_id, 4_000_000_000, None, "me", 1)
    board.writer.execute("UPDATE tasks SET status = 'ready' WHERE id = ?", (opened,))
    (line,) = said()
    assert parked in line
    assert opened not in line
    assert line.endswith("hermes kanban unblock TASK")


def test_tasks_of_a_lane_have_nobody(board: Board) -> None:
    ids = [board.create_task(title=str(number), assignee="quick") for number in range(7)]
    (line,) = said()
    assert sum(task_id in line for task_id in ids) == 5
    assert "and 2 more wait for a command lane" in line


def test_work_that_runs_is_let_end_first(board: Board) -> None:
    claim_one(board, board.create_task(title="x", assignee="worker"))
    (line,) = said()
    assert "1 running under our supervisors" in line


@pytest.mark.parametrize("content", [b"", b"no database at all, but long enough to look like something" * 20])
def test_a_board_that_cannot_be_read_says_nothing(home: Path, content: bytes) -> None:
    (home / "kanban.db").write_bytes(content)
    assert said() == []


def test_undo_says_it(
    board: Board, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(start_file, "find", lambda: start_file.Environment(tmp_path, None, tmp_path / "clone"))
    flags.put(board.writer, flags.PAUSED, "too hot", "me", 1)
    for words, count in (["--undo", "--dry-run"], 1), (["--undo", "--profile", "default"], 0), (["--undo"], 1):
        assert main.main(["setup", *words, "--json"]) == 0
        assert len(json.loads(capsys.readouterr().out)["notes"]) == count
