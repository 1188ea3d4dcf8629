"""What a worker left in its workspace, seen from outside: with git, without it, and within its time."""

from __future__ import annotations

import itertools
import os
import subprocess
from pathlib import Path

import pytest

from hermes_kanban_plugin.handoff import MAX_FILES, Changes
from hermes_kanban_plugin.supervisor import changes
from hermes_kanban_plugin.supervisor.changes import MAX_PATH, changes_in

SINCE = 1_700_000_000
ENVIRONMENT = {"PATH": os.environ["PATH"]}


def look(folder: Path, seconds: float = 30.0) -> Changes:
    return changes_in(str(folder), SINCE, {**ENVIRONMENT, "HOME": str(folder.parent)}, seconds)


def write(path: Path, age: int = -60) -> Path:
    """Make a file that is so many seconds older than the start."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("text")
    os.utime(path, (SINCE - age, SINCE - age))
    return path


def git(folder: Path, *words: str, when: int = SINCE - 3600) -> None:
    stamp = f"@{when} +0000"
    names = {f"GIT_{who}_{what}": "x@example.org" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    environment = {**ENVIRONMENT, **names, "GIT_AUTHOR_DATE": stamp, "GIT_COMMITTER_DATE": stamp, "HOME": str(folder)}
    subprocess.run(["git", "-c", "init.defaultBranch=main", *words], cwd=folder, env=environment, check=True,
                   capture_output=True)  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "workspace"
    made.mkdir()
    return made


@pytest.fixture
def repository(folder: Path) -> Path:
    write(folder / "old.txt")
    git(folder, "init")
    git(folder, "add", ".")
    git(folder, "commit", "-m", "before it all")
    return folder


def test_new_and_changed_files_are_named_and_old_ones_are_not(folder: Path) -> None:
    write(folder / "old.txt", age=60)
    write(folder / "new.txt")
    write(folder / "deep" / "er" / "new.md")
    write(folder / "node_modules" / "thing.js")
    assert look(folder) == Changes(["deep/er/new.md", "new.txt"], 0, "")


def test_a_link_is_not_followed_out_of_the_workspace(folder: Path) -> None:
    write(folder.parent / "outside" / "secret.txt")
    (folder / "link").symlink_to(folder.parent / "outside")
    assert "secret" not in str(look(folder))


def test_many_files_are_counted(folder: Path) -> None:
    for number in range(MAX_FILES + 5):
        write(folder / f"{number:03}.txt")
    found = look(folder)
    assert (len(found.files), found.more) == (MAX_FILES, 5)


def test_a_repository_says_what_is_not_committed_and_what_was(repository: Path) -> None:
    write(repository / "committed.txt")
    git(repository, "add", ".")
    git(repository, "commit", "-m", "half of it", when=SINCE + 5)
    (repository / "old.txt").write_text("changed")
    write(repository / "brand new.txt")
    found = look(repository)
    assert (list(found.files), found.more) == (["brand new.txt", "old.txt"], 0)
    lines = found.difference.splitlines()
    assert lines[0].startswith("commit ")
    assert lines[0].endswith(" half of it")
    assert "before it all" not in found.difference
    assert any("old.txt" in line and "|" in line for line in lines)


def test_an_untouched_repository_has_nothing_to_say(repository: Path) -> None:
    assert look(repository) == Changes([], 0, "")


def test_nothing_that_the_worker_configured_is_run(repository: Path) -> None:
    trap = repository.parent / "trap"
    trap.write_text(f"#!/bin/sh\ntouch {repository.parent / 'sprung'}\n")
    trap.chmod(0o755)
    for key in ("core.fsmonitor", "diff.external", "core.pager"):
        git(repository, "config", key, str(trap))
    (repository / "old.txt").write_text("changed")
    assert list(look(repository).files) == ["old.txt"]
    assert not (repository.parent / "sprung").exists()


def test_a_broken_repository_is_looked_at_without_git(folder: Path) -> None:
    (folder / ".git").write_text("gitdir: /nowhere")
    os.utime(folder / ".git", (SINCE - 60, SINCE - 60))
    write(folder / "new.txt")
    assert look(folder) == Changes(["new.txt"], 0, "")


@pytest.mark.parametrize("place", ["folder", "repository"])
def test_without_time_nothing_is_found_and_nothing_fails(place: str, request: pytest.FixtureRequest) -> None:
    made = request.getfixturevalue(place)
    write(made / "new.txt")
    assert look(made, seconds=0) == Changes([], 0, "")


def test_a_workspace_that_is_gone_has_nothing(folder: Path) -> None:
    folder.rmdir()
    assert look(folder) == Changes([], 0, "")


def test_one_folder_with_very_many_files_takes_no_longer_than_allowed(folder: Path, monkeypatch) -> None:
    for number in range(100):
        write(folder / f"{number:03}.txt")
    passed = itertools.count()
    monkeypatch.setattr(changes.time, "monotonic", lambda: float(next(passed)))
    found = look(folder, seconds=20.0)
    assert 0 < len(found.files) + found.more < 25


def test_a_file_may_be_called_anything_and_is_named_on_one_line(folder: Path) -> None:
    for name in (b"no\xff text", b"two\nlines", b"\x1b[31mred"):
        write(Path(os.fsdecode(os.path.join(os.fsencode(folder), name))))
    assert sorted(look(folder).files) == ["no\ufffd text", "two\ufffdlines", "\ufffd[31mred"]


def test_in_a_repository_too(repository: Path) -> None:
    write(Path(os.fsdecode(os.path.join(os.fsencode(repository), b"no\xff\ntext"))))
    assert look(repository).files == ["no\ufffd\ufffdtext"]


def test_an_endless_path_is_cut_to_its_end(folder: Path) -> None:
    write(folder.joinpath(*["d" * 100] * 5) / "the-file.txt")
    (name,) = look(folder).files
    assert len(name) == MAX_PATH
    assert name.startswith("…")
    assert name.endswith("/the-file.txt")
