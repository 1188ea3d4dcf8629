"""The suite never touches a board outside its own temporary root, whatever it inherits."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from hermes_kanban_plugin.testing import make_board

ROOT = Path(__file__).resolve().parents[2]

# A test that goes for the inherited board by every road there is.
INTRUDER = """
import os
import pytest
from pathlib import Path
from hermes_kanban_plugin import locations, open_board
from hermes_kanban_plugin.board import Board
from hermes_kanban_plugin.clock import Clock
from hermes_kanban_plugin.store import connection
from hermes_kanban_plugin.testing import place_of

REAL = Path({real!r})

def test_nothing_is_inherited():
    assert not [name for name in os.environ if "KANBAN" in name]
    assert not locations.locate().database.is_relative_to(REAL.parent)

@pytest.mark.parametrize("road", [
    lambda: connection.open_reader(str(REAL)),
    lambda: connection.open_writer(str(REAL)),
    lambda: Board(place_of(REAL), Clock()),
])
def test_the_board_itself_is_refused(road):
    with pytest.raises(AssertionError, match="outside"):
        road()

def test_pointing_at_it_again_is_refused(monkeypatch):
    monkeypatch.setenv("HERMES_KANBAN_DB", str(REAL))
    with pytest.raises(AssertionError, match="outside"):
        open_board()

def test_a_link_to_it_is_refused(tmp_path):
    (tmp_path / "link.db").symlink_to(REAL)
    with pytest.raises(AssertionError, match="outside"):
        connection.open_reader(str(tmp_path / "link.db"))
"""


@pytest.fixture
def real(tmp_path: Path) -> Path:
    """Somebody's real home with a board in use, outside the root of the inner run."""
    folder = tmp_path / "somebody"
    folder.mkdir()
    with make_board(folder / "kanban.db") as board:
        board.create_task(title="do not touch")
    return folder


def contents(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def run_suite(real: Path, basetemp: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    inherited = {
        "HERMES_HOME": str(real),
        "HERMES_KANBAN_HOME": str(real),
        "HERMES_KANBAN_DB": str(real / "kanban.db"),
        "HERMES_KANBAN_BOARD": "default",
        "HERMES_KANBAN_TASK": "t_real",
        "HERMES_KANBAN_RUN_ID": "1",
        "HERMES_KANBAN_CLAIM_LOCK": "host:1:real",
    }
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:randomly", "-p", "no:xdist"]
    return subprocess.run(
        [*command, f"--basetemp={basetemp}", *arguments],
        cwd=ROOT, env={**os.environ, **inherited}, capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_the_suites_own_tests_leave_an_inherited_board_alone(real: Path, tmp_path: Path) -> None:
    before = contents(real)
    assert before
    verbs = ("block_and_unblock", "init_makes_a_board_once")
    tests = ["tests/unit/test_oracle.py", *(f"tests/cli/test_verbs.py::test_{verb}" for verb in verbs)]
    done = run_suite(real, tmp_path / "inner", *tests)
    assert done.returncode == 0, done.stdout
    assert contents(real) == before


def test_opening_it_from_a_test_is_refused(real: Path, tmp_path: Path) -> None:
    before = contents(real)
    folder = tmp_path / "tests"
    folder.mkdir()
    shutil.copy(ROOT / "tests/conftest.py", folder)
    (folder / "test_intruder.py").write_text(INTRUDER.format(real=str(real / "kanban.db")))
    done = run_suite(real, tmp_path / "inner", "-c", str(ROOT / "pyproject.toml"), f"--rootdir={tmp_path}", str(folder))
    assert done.returncode == 0, done.stdout
    assert "6 passed" in done.stdout
    assert contents(real) == before
