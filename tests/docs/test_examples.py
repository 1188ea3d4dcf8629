"""What the pages tell people to type is tried: commands parse, Python runs, the tutorial ends as it says."""

from __future__ import annotations

import os
import re
import shlex
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from hermes_kanban_plugin.board import open_board
from hermes_kanban_plugin.cli import parser

COMMAND = re.compile(r"(?:^|\$\(|^\w+=\S+ )\s*(hermes-kanban(?: [^|\n]*?)?)(?:\)?$| \||\s&$)", re.MULTILINE)
WITH_COMMANDS = ("README.md", "docs/tutorial/*.md", "docs/how-to/*.md", "docs/reference/*.md")


def commands(docs: Any) -> list[tuple[str, str]]:
    paths = [path for pattern in WITH_COMMANDS for path in sorted(docs.root.glob(pattern))]
    pages = [docs.page(str(path.relative_to(docs.root))) for path in paths]
    return [(page.path.name, found) for page in pages for code in page.code("sh") for found in COMMAND.findall(code)]


def test_every_command_that_a_page_shows_parses(docs: Any, capsys: pytest.CaptureFixture[str]) -> None:
    refused = []
    shown = commands(docs)
    for page, command in shown:
        try:
            parser.parse(shlex.split(command)[1:])
        except SystemExit as end:
            if end.code:
                refused.append((page, command, capsys.readouterr().err))
    assert refused == []
    assert len(shown) > 30  # the pattern finds them


def test_no_command_of_a_page_is_overlooked(docs: Any) -> None:
    """Each line of shell that names the command is one that the test above parsed."""
    lines = [line for page in docs.pages() for code in page.code("sh") for line in code.splitlines()]
    naming = [line for line in lines if re.search(r"(?<![/\w-])hermes-kanban (?!--allow)[a-z-]", line)]
    assert [line for line in naming if not COMMAND.search(line) and not line.startswith("hermes ")] == []


def test_the_python_of_the_readme_and_the_how_to_pages_runs(docs: Any, tmp_path: Path) -> None:
    paths = [docs.root / "README.md", *sorted((docs.root / "docs" / "how-to").glob("*.md"))]
    examples = [
        (path.name, code) for path in paths for code in docs.page(str(path.relative_to(docs.root))).code("python")
    ]
    assert {name for name, _ in examples} == {"README.md", "write-a-plugin.md"}
    for number, (name, code) in enumerate(examples):
        home = tmp_path / f"home{number}"
        home.mkdir()
        script = tmp_path / f"example{number}.py"
        script.write_text(code, encoding="utf-8")
        done = subprocess.run(
            [sys.executable, str(script)], env={**os.environ, "HERMES_HOME": str(home)}, cwd=tmp_path,
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert done.returncode == 0, f"{name}: {done.stderr}"
        assert (home / "kanban.db").exists(), name


@pytest.mark.skipif(sys.platform == "win32", reason="needs a shell and supervisors")
def test_the_tutorial_ends_as_it_says(docs: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = Path(sys.executable).with_name("hermes-kanban")
    assert program.exists(), "the suite needs the installed command"
    script = "set -eu\n" + "\n".join(docs.page("docs/tutorial/first-board.md").code("sh"))
    monkeypatch.delenv("HERMES_HOME")
    environment = {
        **os.environ, "TMPDIR": str(tmp_path), "PATH": f"{program.parent}{os.pathsep}{os.environ['PATH']}"
    }  # fmt: skip
    shell = subprocess.Popen(
        ["bash", "-c", script + '\necho "home=$HERMES_HOME"'], env=environment, cwd=tmp_path, start_new_session=True,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        output, complaints = shell.communicate(timeout=60)
    finally:
        if shell.poll() is None:
            os.killpg(shell.pid, signal.SIGKILL)
            shell.communicate()
    assert shell.returncode == 0, complaints
    home = Path(output.splitlines()[-1].removeprefix("home="))
    monkeypatch.setenv("HERMES_HOME", str(home))
    with open_board() as board:
        tasks = {task.title: task for task in board.tasks()}
        assert {title: task.status for title, task in tasks.items()} == {
            "Count the words": "done", "Count again": "done", "Publish": "done",
        }  # fmt: skip
        assert [run.summary for run in board.runs(tasks["Count the words"].id)] == ["4"]
        assert [run.summary for run in board.runs(tasks["Count again"].id)] == ["2"]


@pytest.mark.parametrize("name", ["README.md", "docs/how-to/remove-the-plugin.md"])
def test_the_statements_that_drop_our_tables_leave_the_hosts(docs: Any, name: str, home: Path) -> None:
    (statements,) = [
        code.split('"')[1] for code in docs.page(name).code("sh") if code.startswith("sqlite3") and "DROP" in code
    ]
    with open_board(create=True) as board:
        task_id = board.create_task(title="stays")
    database = sqlite3.connect(home / "kanban.db", isolation_level=None)
    try:
        assert database.execute("SELECT 1 FROM sqlite_master WHERE name = 'kp_runs'").fetchone()
        database.executescript(statements)
        left = [row[0] for row in database.execute("SELECT name FROM sqlite_master WHERE name LIKE '%kp_%'")]
        titles = [row[0] for row in database.execute("SELECT title FROM tasks")]
    finally:
        database.close()
    assert left == []
    assert titles == ["stays"]
    with open_board() as board:  # installed again
        board.block(task_id, "later", None, "me")
        assert board.task(task_id).status == "blocked"
