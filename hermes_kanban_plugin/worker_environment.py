"""The environment of a worker, exactly as the host sets it (contract section 5): a pure function."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hermes_kanban_plugin.locations import BoardLocation
    from hermes_kanban_plugin.models import Task, Workspace
    from hermes_kanban_plugin.store.leases import Lease

# A command may run until shortly before the attempt's own limit, not only for the terminal's default.
TERMINAL_GRACE_SECONDS = 30
_TERMINAL_LIMITS = ("TERMINAL_TIMEOUT", "TERMINAL_MAX_FOREGROUND_TIMEOUT")


def build(
    inherited: Mapping[str, str],
    task: Task,
    lease: Lease,
    workspace: Workspace,
    location: BoardLocation,
    home: str | None,
) -> dict[str, str]:
    """Return the worker's whole environment.

    Args:
        inherited: the dispatcher's environment.
        task: the claimed task.
        lease: what the worker must present with every write.
        workspace: where it works.
        location: the board it is pinned to.
        home: the Hermes home of its profile, or None when it has none (command lanes, unknown profiles).
    """
    # Nothing of another task may leak in from a dispatcher that was itself started by a worker.
    environment = {name: value for name, value in inherited.items() if not _is_scoped(name)}
    environment |= {
        "HERMES_PROFILE": task.assignee or "",
        "HERMES_KANBAN_TASK": task.id,
        "HERMES_KANBAN_WORKSPACE": str(workspace.path),
        "HERMES_KANBAN_RUN_ID": str(lease.run_id),
        "HERMES_KANBAN_CLAIM_LOCK": lease.lock,
        "HERMES_KANBAN_DB": str(location.database),
        "HERMES_KANBAN_WORKSPACES_ROOT": str(location.workspaces),
        "HERMES_KANBAN_BOARD": location.slug,
        "TERMINAL_CWD": str(workspace.path),
    }
    optional = {
        "HERMES_HOME": home,
        "HERMES_TENANT": task.tenant,
        "HERMES_KANBAN_BRANCH": workspace.branch or task.branch_name,
        "HERMES_KANBAN_GOAL_MODE": "1" if task.goal_mode else None,
        "HERMES_KANBAN_GOAL_MAX_TURNS": str(task.goal_max_turns) if task.goal_mode and task.goal_max_turns else None,
        **_terminal_limits(inherited, task.max_runtime_seconds),
    }
    return environment | {name: value for name, value in optional.items() if value}


def _is_scoped(name: str) -> bool:
    scoped = ("TASK", "RUN_ID", "CLAIM_LOCK", "WORKSPACE", "BRANCH", "GOAL_MODE", "GOAL_MAX_TURNS", "AGENT_PID")
    return name == "HERMES_TUI" or name in {f"HERMES_KANBAN_{end}" for end in scoped}


def _terminal_limits(inherited: Mapping[str, str], max_runtime: int | None) -> dict[str, str]:
    if not max_runtime:
        return {}
    wanted = max(1, max_runtime - TERMINAL_GRACE_SECONDS)
    return {name: str(wanted) for name in _TERMINAL_LIMITS if _seconds(inherited.get(name)) < wanted}


def _seconds(text: str | None) -> int:
    return int(text) if text and text.strip().isdecimal() else 0
