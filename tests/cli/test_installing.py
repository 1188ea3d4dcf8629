"""setup as a command: what it says when something is in the way, what comes next, and its exit status."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hermes_kanban_plugin.cli import main
from hermes_kanban_plugin.installation import start_file
from hermes_kanban_plugin.installation.start_file import Environment

MANAGED = "plugins: {enabled: [other]}\n"


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The site-packages that setup finds, with our distribution in it."""
    folder = tmp_path / "site"
    record = folder / "hermes_kanban_plugin-0.1.0.dist-info" / "RECORD"
    record.parent.mkdir(parents=True)
    record.write_text("hermes_kanban_plugin/__init__.py,,\n")
    monkeypatch.setattr(start_file, "find", lambda: Environment(folder, record, None))
    monkeypatch.setattr(start_file, "runs_the_host", lambda: True)
    monkeypatch.setenv("HERMES_MANAGED_DIR", str(tmp_path / "managed"))
    return folder


def test_an_obstacle_is_the_last_word_and_the_exit_status(
    home: Path, site: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    managed = tmp_path / "managed" / "config.yaml"
    managed.parent.mkdir()
    managed.write_text(MANAGED)
    for words, status in (
        (["setup", "--dry-run"], 1),
        (["setup", "--check"], 1),
        (["setup"], 1),
        (["setup", "--check"], 1),
    ):
        assert main.main(words) == status
        assert f"in the way: {managed} belongs to the administrator" in capsys.readouterr().out
    assert main.main(["setup", "--json"]) == 1
    said = json.loads(capsys.readouterr().out)
    assert (said["complete"], said["changes"], len(said["obstacles"])) == (False, [], 1)
    managed.unlink()
    assert main.main(["setup", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["complete"] is True


def test_undo_goes_as_far_as_it_can(home: Path, site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (home / "profiles" / "bad").mkdir(parents=True)
    assert main.main(["setup"]) == 0
    (home / "profiles" / "bad" / "config.yaml").write_text("a: [")
    capsys.readouterr()
    assert main.main(["setup", "--undo"]) == 1
    assert "in the way: " in capsys.readouterr().out
    assert not (home / "config.yaml").exists()
    assert not (site / start_file.NAME).exists()


@pytest.mark.parametrize(
    ("folder", "words"), [(False, "uninstall hermes-kanban-plugin"), (True, "hermes plugins remove hermes-kanban")]
)
def test_what_comes_after_undo_is_said_for_this_installation(
    home: Path,
    site: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    folder: bool,
    words: str,
) -> None:
    if folder:
        clone = home / "plugins" / "hermes-kanban"
        clone.mkdir(parents=True)
        monkeypatch.setattr(start_file, "find", lambda: Environment(site, None, clone))
    assert main.main(["setup"]) == 0
    capsys.readouterr()
    assert main.main(["setup", "--undo"]) == 0
    assert capsys.readouterr().out.splitlines()[-1].endswith(words)


def test_a_python_that_does_not_run_hermes_sets_nothing_up(
    home: Path, site: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(start_file, "runs_the_host", lambda: False)
    assert main.main(["setup"]) == 1
    assert "does not run Hermes" in capsys.readouterr().err
    assert not (home / "config.yaml").exists()
