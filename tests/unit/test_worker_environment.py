"""A worker's environment and arguments: the contract's list, and the real host's own spawn function."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from hermes_kanban_plugin import lanes, locations, worker_environment
from hermes_kanban_plugin.models import Task, Workspace
from hermes_kanban_plugin.settings import PluginSettings
from hermes_kanban_plugin.store.leases import Lease

TASK = Task(id="t_0a1b2c3d", title="a title", status="running", created_at=1, assignee="coder", current_run_id=7)
LEASE = Lease("t_0a1b2c3d", 7, "host:1:abc-t_0a1b2c3d")
INHERITED = {"PATH": "/usr/bin", "LANG": "C.UTF-8", "HERMES_TUI": "1", "API_KEY": "kept"}


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    (tmp_path / "work").mkdir()
    return Workspace(path=tmp_path / "work")


def build(workspace: Workspace, task: Task = TASK, inherited: dict[str, str] = INHERITED) -> dict[str, str]:
    return worker_environment.build(inherited, task, LEASE, workspace, locations.locate(), "/homes/coder")


def test_the_whole_environment(home: Path, workspace: Workspace) -> None:
    assert build(workspace) == {
        "PATH": "/usr/bin",
        "LANG": "C.UTF-8",
        "API_KEY": "kept",
        "HERMES_HOME": "/homes/coder",
        "HERMES_PROFILE": "coder",
        "HERMES_KANBAN_TASK": "t_0a1b2c3d",
        "HERMES_KANBAN_WORKSPACE": str(workspace.path),
        "HERMES_KANBAN_RUN_ID": "7",
        "HERMES_KANBAN_CLAIM_LOCK": LEASE.lock,
        "HERMES_KANBAN_DB": str(home / "kanban.db"),
        "HERMES_KANBAN_WORKSPACES_ROOT": str(home / "kanban/workspaces"),
        "HERMES_KANBAN_BOARD": "default",
        "TERMINAL_CWD": str(workspace.path),
    }


def test_what_applies_only_sometimes(home: Path, workspace: Workspace) -> None:
    task = TASK.model_copy(
        update={"tenant": "acme", "goal_mode": True, "goal_max_turns": 9, "max_runtime_seconds": 600}
    )
    added = build(workspace.model_copy(update={"branch": "wt/x"}), task).items() - build(workspace).items()
    assert dict(added) == {
        "HERMES_TENANT": "acme",
        "HERMES_KANBAN_BRANCH": "wt/x",
        "HERMES_KANBAN_GOAL_MODE": "1",
        "HERMES_KANBAN_GOAL_MAX_TURNS": "9",
        "TERMINAL_TIMEOUT": "570",
        "TERMINAL_MAX_FOREGROUND_TIMEOUT": "570",
    }


def test_nothing_of_another_task_leaks_in(home: Path, workspace: Workspace) -> None:
    ends = ("TASK", "RUN_ID", "CLAIM_LOCK", "WORKSPACE", "BRANCH", "GOAL_MODE", "GOAL_MAX_TURNS")
    stale = {f"HERMES_KANBAN_{end}": "of another task" for end in ends}
    assert build(workspace, inherited={**INHERITED, **stale}) == build(workspace)


def test_a_command_lane_keeps_the_inherited_home(home: Path, workspace: Workspace) -> None:
    inherited = {"HERMES_HOME": "/inherited"}
    built = worker_environment.build(inherited, TASK, LEASE, workspace, locations.locate(), None)
    assert built["HERMES_HOME"] == "/inherited"


@pytest.mark.parametrize(
    ("limit", "inherited", "timeout"),
    [(600, None, "570"), (600, "100", "570"), (600, "570", "570"), (600, "9000", "9000"), (20, None, "1"),
     (600, "soon", "570"), (600, " 900 ", " 900 "), (600, "²", "570"), (None, "5", "5")],
)  # fmt: skip
def test_the_terminal_limit_is_only_ever_raised(
    home: Path, workspace: Workspace, limit: int | None, inherited: str | None, timeout: str
) -> None:
    given = INHERITED if inherited is None else {**INHERITED, "TERMINAL_TIMEOUT": inherited}
    built = build(workspace, TASK.model_copy(update={"max_runtime_seconds": limit}), given)
    assert built["TERMINAL_TIMEOUT"] == timeout


# Runs in a process of the host: its own spawn function, with Popen replaced by a recorder.
ASK_HOST = """
import json, os, subprocess, sys
inherited, tasks, workspace, board = json.load(sys.stdin)
from hermes_cli import kanban_db as kb
import hermes_cli.profiles, hermes_cli.config, hermes_cli.tools_config, hermes_constants
spawned = []
class Recorder:
    pid = 4711
    def __init__(self, argv, **how):
        spawned.append([argv, how["env"], str(how["cwd"]), how["stdout"].name])
subprocess.Popen = Recorder
for fields in tasks:
    os.environ.clear()
    os.environ.update(inherited)
    kb._default_spawn(kb.Task(**fields), workspace, board=board)
print(json.dumps(spawned))
"""
# What the host's Task needs at least; the rest has defaults there.
HOST_TASK = {
    "id": "t_0a1b2c3d", "title": "a title", "body": None, "assignee": "coder", "status": "running", "priority": 0,
    "created_by": None, "created_at": 1, "started_at": None, "completed_at": None, "workspace_kind": "scratch",
    "workspace_path": None, "claim_lock": LEASE.lock, "claim_expires": None, "tenant": None, "current_run_id": 7,
}  # fmt: skip
VARIANTS: list[dict[str, Any]] = [
    {},
    {"tenant": "acme", "branch_name": "feature/x", "max_runtime_seconds": 900},
    {"skills": ["one", "two"], "model_override": "vendor/model-9"},
    {"goal_mode": True, "goal_max_turns": 5},
    {"goal_mode": True, "max_runtime_seconds": 10},
    {"assignee": "default"},
]


@pytest.mark.host
@pytest.mark.parametrize("board", ["default", "alpha"])
@pytest.mark.parametrize("binary", [None, "~/bin/hermes", "nosuch-hermes"])
def test_the_host_starts_the_same_worker(
    home: Path, tmp_path: Path, workspace: Workspace, monkeypatch: pytest.MonkeyPatch, board: str, binary: str | None
) -> None:
    (home / "profiles/coder").mkdir(parents=True)
    (home / "kanban/boards/alpha").mkdir(parents=True)
    (home / "kanban/boards/alpha/board.json").write_text("{}")
    inherited = {
        "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin",
        "HOME": str(tmp_path),
        "HERMES_HOME": str(home),
        "HERMES_TUI": "1",
        "TERMINAL_TIMEOUT": "120",
        "UNRELATED": "kept",
        **({"HERMES_BIN": binary} if binary else {}),
    }
    asked = [inherited, [{**HOST_TASK, **variant} for variant in VARIANTS], str(workspace.path), board]
    told = subprocess.run(
        [sys.executable, "-c", ASK_HOST], input=json.dumps(asked), capture_output=True, text=True, check=False,
        env={name: value for name, value in inherited.items() if name != "HERMES_BIN"},
    )  # fmt: skip
    assert told.returncode == 0, told.stderr
    for name in set(os.environ) - {"PYTEST_CURRENT_TEST"}:
        monkeypatch.delenv(name)
    for name, value in inherited.items():
        monkeypatch.setenv(name, value)
    location = locations.locate(board)
    spawned = json.loads(told.stdout)
    assert len(spawned) == len(VARIANTS)
    for variant, (argv, environment, directory, log) in zip(VARIANTS, spawned, strict=True):
        task = TASK.model_copy(update=variant)
        launch = lanes.launch_of(task, LEASE, workspace, PluginSettings())
        ours = worker_environment.build(inherited, task, LEASE, workspace, location, launch.home)
        assert ours == environment, variant
        assert launch.argv == argv, variant
        assert str(workspace.path) == directory
        assert str(location.logs / f"{task.id}.log") == log
