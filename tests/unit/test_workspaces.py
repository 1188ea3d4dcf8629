"""Workspaces with a real git, compared with what the host would prepare."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from hermes_kanban_plugin import locations, workspaces
from hermes_kanban_plugin.errors import WorkspaceFailed
from hermes_kanban_plugin.models import Task, Workspace


def git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    folder.mkdir()
    git(folder, "init", "--quiet", "--initial-branch=main")
    git(folder, "config", "user.email", "a@example.invalid")
    git(folder, "config", "user.name", "a")
    (folder / "src").mkdir()
    (folder / "src/file.txt").write_text("x")
    git(folder, "add", ".")
    git(folder, "commit", "--quiet", "--message", "first")
    return folder


def prepare(kind: str, path: object = None, *, branch: str | None = None, task_id: str = "t_1") -> Workspace:
    stored = None if path is None else str(path)
    task = Task(
        id=task_id, title="x", status="running", created_at=1,
        workspace_kind=kind, workspace_path=stored, branch_name=branch,
    )  # fmt: skip
    return workspaces.prepare(task, locations.locate())


class TestFolders:
    def test_scratch_is_a_folder_of_its_own_below_the_board(self, home: Path) -> None:
        made = prepare("scratch")
        assert made == Workspace(path=home / "kanban/workspaces/t_1")
        assert made.path.is_dir()
        (made.path / "kept").touch()
        assert (prepare("scratch").path / "kept").exists()  # the next attempt finds what the last one left

    def test_scratch_may_have_a_stored_path(self, home: Path, tmp_path: Path) -> None:
        assert prepare("scratch", tmp_path / "old").path == tmp_path / "old"

    def test_dir_is_made_and_kept(self, home: Path, tmp_path: Path) -> None:
        made = prepare("dir", tmp_path / "a/b/c")
        assert made == Workspace(path=tmp_path / "a/b/c")
        assert made.path.is_dir()

    def test_dir_knows_the_home_of_the_user(self, home: Path, tmp_path: Path) -> None:
        assert prepare("dir", "~/mine").path == tmp_path / "mine"

    @pytest.mark.parametrize("kind", ["scratch", "dir", "worktree"])
    @pytest.mark.parametrize("path", ["work", "./work", "../../etc", ".."])
    def test_relative_is_refused(self, home: Path, kind: str, path: str) -> None:
        with pytest.raises(WorkspaceFailed, match="relative"):
            prepare(kind, path)

    def test_dir_without_a_path_is_refused_with_the_remedy(self, home: Path) -> None:
        with pytest.raises(WorkspaceFailed, match="--workspace dir:/path"):
            prepare("dir")

    def test_a_path_that_is_a_file_or_below_one(self, home: Path, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        for path in (tmp_path / "file", tmp_path / "file/below"):
            with pytest.raises(WorkspaceFailed, match="t_1"):
                prepare("dir", path)
        assert (tmp_path / "file").is_file()


class TestWorktrees:
    def test_a_repository_gets_a_worktree_for_the_task(self, home: Path, repository: Path) -> None:
        made = prepare("worktree", repository)
        assert made == Workspace(path=repository / ".worktrees/t_1", branch="wt/t_1")
        assert (made.path / "src/file.txt").read_text() == "x"
        assert git(made.path, "branch", "--show-current") == "wt/t_1"
        assert git(repository, "branch", "--show-current") == "main"

    def test_a_named_branch_new_or_known(self, home: Path, repository: Path) -> None:
        assert prepare("worktree", repository, branch="feature/new").branch == "feature/new"
        git(repository, "branch", "known")
        made = prepare("worktree", repository, branch=" known ", task_id="t_2")
        assert git(made.path, "branch", "--show-current") == "known" == made.branch

    def test_a_concrete_path_inside_or_outside_the_work_tree(self, home: Path, repository: Path) -> None:
        inside = prepare("worktree", repository / "trees/one")
        assert inside.path == repository / "trees/one"
        assert git(inside.path, "branch", "--show-current") == "wt/t_1"

    def test_the_next_attempt_reuses_it(self, home: Path, repository: Path) -> None:
        first = prepare("worktree", repository)
        (first.path / "half done.txt").touch()
        assert prepare("worktree", repository) == first
        assert prepare("worktree", first.path) == first  # the stored path of the first attempt
        assert (first.path / "half done.txt").exists()
        assert git(repository, "worktree", "list").count("\n") == 1

    def test_a_reused_one_says_the_branch_it_is_on(self, home: Path, repository: Path) -> None:
        first = prepare("worktree", repository)
        git(first.path, "switch", "--quiet", "--create", "elsewhere")
        assert prepare("worktree", first.path).branch == "elsewhere"
        git(first.path, "switch", "--quiet", "--detach")
        assert prepare("worktree", first.path).branch == "wt/t_1"

    def test_the_default_workdir_of_the_board(self, home: Path, repository: Path) -> None:
        metadata = locations.locate().metadata
        metadata.parent.mkdir(parents=True)
        for default in (repository, repository / "src"):
            metadata.write_text(json.dumps({"default_workdir": str(default)}))
            assert prepare("worktree").path == repository / ".worktrees/t_1"

    def test_without_a_path_and_a_default_it_is_refused_with_the_remedy(self, home: Path) -> None:
        with pytest.raises(WorkspaceFailed, match="set-default-workdir default"):
            prepare("worktree")

    def test_not_a_repository(self, home: Path, tmp_path: Path) -> None:
        for path in (tmp_path / "plain", tmp_path / "plain/deeper"):
            with pytest.raises(WorkspaceFailed, match="not inside a git repository"):
                prepare("worktree", path)
        assert not (tmp_path / "plain").exists()

    @pytest.mark.parametrize("branch", ["main", "--force", "a..b", "with space"])
    def test_what_git_refuses_is_told_in_one_line(self, home: Path, repository: Path, branch: str) -> None:
        with pytest.raises(WorkspaceFailed, match="git worktree add failed") as refusal:
            prepare("worktree", repository, branch=branch)
        assert "\n" not in str(refusal.value)

    def test_without_git(self, home: Path, repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PATH", "")
        with pytest.raises(WorkspaceFailed, match="git is not installed"):
            prepare("worktree", repository)

    def test_a_dispatcher_inside_a_git_hook(
        self, home: Path, repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        other = tmp_path / "other"
        other.mkdir()
        git(other, "init", "--quiet")
        monkeypatch.setenv("GIT_DIR", str(other / ".git"))
        monkeypatch.setenv("GIT_INDEX_FILE", str(other / ".git/index"))
        assert prepare("worktree", repository).path == repository / ".worktrees/t_1"
