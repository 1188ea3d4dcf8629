from __future__ import annotations

from pathlib import Path

import pytest

from hermes_kanban_plugin.worker_logs import log_of, rotate


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = log_of(tmp_path / "logs", "t_1")
    path.parent.mkdir()
    path.write_text("newest")
    return path


def kept(log: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in log.parent.iterdir()}


def test_one_file_for_each_task(tmp_path: Path) -> None:
    assert log_of(tmp_path, "t_1") == tmp_path / "t_1.log"


def test_a_small_log_stays(log: Path) -> None:
    rotate(log, len("newest"), 3)
    assert kept(log) == {"t_1.log": "newest"}


def test_a_log_that_grew_too_large_moves_aside(log: Path) -> None:
    rotate(log, 5, 1)
    assert kept(log) == {"t_1.log.1": "newest"}


def test_generations_move_on_and_the_oldest_goes(log: Path) -> None:
    for number in (1, 2, 3):
        log.with_name(f"t_1.log.{number}").write_text(f"older {number}")
    rotate(log, 5, 3)
    assert kept(log) == {"t_1.log.1": "newest", "t_1.log.2": "older 1", "t_1.log.3": "older 2"}


def test_a_gap_in_the_generations(log: Path) -> None:
    log.with_name("t_1.log.2").write_text("older 2")
    rotate(log, 5, 3)
    assert kept(log) == {"t_1.log.1": "newest", "t_1.log.3": "older 2"}


def test_without_backups_it_is_deleted(log: Path) -> None:
    rotate(log, 5, 0)
    assert kept(log) == {}


def test_a_log_of_another_task_is_left_alone(log: Path) -> None:
    log.with_name("t_10.log").write_text("of another task")
    rotate(log, 5, 0)
    assert kept(log) == {"t_10.log": "of another task"}


def test_nothing_to_rotate(tmp_path: Path) -> None:
    rotate(tmp_path / "missing/t_1.log", 5, 1)
    assert not (tmp_path / "missing").exists()
