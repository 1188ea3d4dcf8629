"""Workspaces: the folder a worker works in, prepared as the host prepares it (contract section 1).

``scratch`` is a folder of its own below the board, removed after the task is done; ``dir`` a folder that stays;
``worktree`` a linked git worktree with a branch.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from hermes_kanban_plugin.errors import WorkspaceFailed
from hermes_kanban_plugin.locations import metadata_of
from hermes_kanban_plugin.models import Workspace

if TYPE_CHECKING:
    from hermes_kanban_plugin.locations import BoardLocation
    from hermes_kanban_plugin.models import Task

GIT_SECONDS = 60
_GIT_PINS = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_COMMON_DIR", "GIT_OBJECT_DIRECTORY", "GIT_PREFIX")


def prepare(task: Task, location: BoardLocation) -> Workspace:
    """Return the task's workspace, made if it was not there.

    Raises:
        WorkspaceFailed: the path is missing, relative, not creatable, or not in a git repository (worktree).
    """
    try:
        if task.workspace_kind == "worktree":
            return _prepare_worktree(task, location)
        path = _folder(task, location)
        path.mkdir(parents=True, exist_ok=True)
    except OSError as problem:
        raise WorkspaceFailed(f"workspace of {task.id}: {problem.strerror} ({problem.filename})") from problem
    return Workspace(path=path)


def _folder(task: Task, location: BoardLocation) -> Path:
    if task.workspace_path:
        return _absolute(task.workspace_path, f"workspace of {task.id}")
    if task.workspace_kind == "scratch":
        return location.workspaces / task.id
    raise WorkspaceFailed(
        f"task {task.id} has a {task.workspace_kind} workspace and no path; create it with --workspace dir:/path"
    )


def _absolute(text: str, what: str) -> Path:
    path = Path(text).expanduser()
    if not path.is_absolute():
        raise WorkspaceFailed(f"{what}: {text!r} is relative and would depend on where the dispatcher was started")
    return path


def _prepare_worktree(task: Task, location: BoardLocation) -> Workspace:
    branch = (task.branch_name or "").strip() or f"wt/{task.id}"
    wanted = _absolute(task.workspace_path or _board_repository(task, location), f"worktree of {task.id}")
    if wanted.exists() and _is_linked(wanted):
        return Workspace(path=wanted.resolve(), branch=_git(wanted, "branch", "--show-current") or branch)
    repository = _repository(wanted)
    if repository is None:
        raise WorkspaceFailed(f"worktree of {task.id}: {wanted} is not inside a git repository; give it one")
    target = (
        repository / ".worktrees" / task.id if wanted.resolve() == repository or not task.workspace_path else wanted
    )
    _add_worktree(repository, target, branch)
    return Workspace(path=target, branch=branch)


def _board_repository(task: Task, location: BoardLocation) -> str:
    default = str(metadata_of(location).get("default_workdir") or "").strip()
    if not default:
        raise WorkspaceFailed(
            f"task {task.id} wants a worktree without a path and board {location.slug!r} has no default workdir; set "
            f"one with: hermes kanban boards set-default-workdir {location.slug} /path/to/repository"
        )
    return default


def _repository(path: Path) -> Path | None:
    """Return the top of the working tree that a path, or its nearest existing parent, is in."""
    while not path.exists() and path != path.parent:
        path = path.parent
    top = _git(path if path.is_dir() else path.parent, "rev-parse", "--show-toplevel")
    return Path(top).resolve() if top else None


def _is_linked(path: Path) -> bool:
    """Say whether a folder is a linked worktree (its git dir is not the repository's common one)."""
    answer = _git(path, "rev-parse", "--path-format=absolute", "--git-dir", "--git-common-dir")
    folders = (answer or "").splitlines()
    return len(folders) == 2 and Path(folders[0]).resolve() != Path(folders[1]).resolve()


def _add_worktree(repository: Path, target: Path, branch: str) -> None:
    if target.exists() and _is_linked(target):
        return
    known = _git(repository, "show-ref", "--verify", f"refs/heads/{branch}") is not None
    source = [str(target), branch] if known else ["-b", branch, str(target), "HEAD"]
    target.parent.mkdir(parents=True, exist_ok=True)
    done = _run_git(repository, "worktree", "add", *source)
    if done.returncode != 0:
        detail = " ".join((done.stderr or done.stdout).split())
        raise WorkspaceFailed(f"git worktree add failed for {target} on branch {branch}: {detail}")


def _git(folder: Path, *arguments: str) -> str | None:
    """Return what git prints, or None when it refuses."""
    done = _run_git(folder, *arguments)
    return done.stdout.strip() if done.returncode == 0 else None


def _run_git(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    # Inside a git hook GIT_DIR and the like name another repository than the folder's.
    environment = {name: value for name, value in os.environ.items() if name not in _GIT_PINS}
    command = ["git", "-C", str(folder), *arguments]
    try:
        return subprocess.run(
            command, capture_output=True, text=True, timeout=GIT_SECONDS, check=False, env=environment
        )
    except FileNotFoundError as problem:
        raise WorkspaceFailed("git is not installed, and a worktree workspace needs it") from problem
    except subprocess.TimeoutExpired as problem:
        raise WorkspaceFailed(f"git did not answer within {GIT_SECONDS} s in {folder}") from problem
