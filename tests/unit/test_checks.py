"""Checks that a card declares: what is one, and when it passes (failure mode D4)."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from hermes_kanban_plugin.checks import MAX_CHECKS, Check, Command, declared, unmet

BODY = """Write the report.

Check: file report.md
- [ ] check: tests
* Check:   file `with space.txt`
check: tests
Check the spelling, too.
Double-check: nothing
Check:
"""


def test_a_check_is_a_line_of_its_own_and_counts_once() -> None:
    assert declared(BODY) == [
        Check("file report.md", "report.md"),
        Check("tests"),
        Check("file `with space.txt`", "with space.txt"),
    ]


@pytest.mark.parametrize("body", [None, "", "No check here.", "Checks: tests", "xcheck: tests"])
def test_most_cards_declare_none(body: str | None) -> None:
    assert declared(body) == []


def test_there_is_an_end_to_them() -> None:
    assert len(declared("\n".join(f"check: number {n}" for n in range(1000)))) == MAX_CHECKS


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    folder = tmp_path / "workspace"
    folder.mkdir()
    (folder / "report.md").write_text("done")
    (folder / "folder").mkdir()
    return folder


def seen(workspace: Path, line: str, **commands: Command) -> str:
    """What is missing for one declared line, or nothing."""
    found = unmet(declared(f"check: {line}"), workspace, commands, os.environ)
    return found[0].seen if found else ""


@pytest.mark.parametrize("name", ["report.md", "./report.md", "folder/../report.md", "{workspace}/report.md"])
def test_a_file_that_is_there_passes(workspace: Path, name: str) -> None:
    assert seen(workspace, f"file {name.format(workspace=workspace)}") == ""


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("draft.md", "no such file"),
        ("folder", "no such file"),
        ("../secret", "not in the task's workspace"),
        ("/etc/hostname", "not in the task's workspace"),
        ("~nobody-of-that-name/x", "cannot be looked at"),
    ],
)
def test_a_file_that_is_missing_or_elsewhere_does_not(workspace: Path, name: str, words: str) -> None:
    (workspace.parent / "secret").write_text("x")
    assert words in seen(workspace, f"file {name}")


def test_a_link_that_leads_out_is_elsewhere(workspace: Path) -> None:
    (workspace / "out.md").symlink_to("/etc/hostname")
    assert "not in the task's workspace" in seen(workspace, "file out.md")


def python(code: str, seconds: float = 30) -> Command:
    return Command([sys.executable, "-c", code], seconds)


def test_a_command_passes_with_status_0_in_the_workspace(workspace: Path) -> None:
    code = "import os, sys; sys.exit(not os.path.exists('report.md'))"
    assert seen(workspace, "tests", tests=python(code)) == ""


def test_a_command_that_fails_shows_how(workspace: Path) -> None:
    code = "import sys; print('x' * 1000, 'two tests fail'); sys.exit(3)"
    found = seen(workspace, "tests", tests=python(code))
    assert found.startswith("its command ended with 3: …")
    assert found.endswith("two tests fail")
    assert len(found) < 500


def test_a_command_that_takes_too_long_is_ended_with_what_it_started(workspace: Path) -> None:
    code = "import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', 'input()'], stdin=subprocess.PIPE)"
    code += "; open('started', 'w').close(); time.sleep(600)"
    found = seen(workspace, "tests", tests=python(code, seconds=1.5))
    assert found == "it was not done within 1.5 s"
    assert (workspace / "started").exists()


def test_a_command_that_does_not_exist_and_a_name_that_nobody_knows(workspace: Path) -> None:
    assert "cannot be started" in seen(workspace, "tests", tests=Command(["/no/such/program"], 5))
    assert seen(workspace, "lint", tests=python("")) == "the settings have no check of that name (they have: tests)"


def test_the_board_carries_no_commands(workspace: Path) -> None:
    """Whatever stands there is a name, and never more."""
    assert "no check of that name" in seen(workspace, "touch broken; rm -rf .", touch=python(""))
    assert sorted(path.name for path in workspace.iterdir()) == ["folder", "report.md"]
