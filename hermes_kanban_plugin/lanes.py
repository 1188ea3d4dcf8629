"""Lanes: what kind of worker an assignee means, and the command that starts it.

An assignee that the settings map to a command is a *command* lane; one that is a Hermes profile is the *hermes* lane;
anything else is nobody we can start, and its tasks wait for a terminal to claim them (contract section 4).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from hermes_kanban_plugin import host
from hermes_kanban_plugin.dispatch.holder import COMMAND_LANE
from hermes_kanban_plugin.host import worker_toolsets

if TYPE_CHECKING:
    from hermes_kanban_plugin.models import Task, Workspace
    from hermes_kanban_plugin.settings import PluginSettings
    from hermes_kanban_plugin.store.leases import Lease

HERMES = "hermes"
COMMAND = COMMAND_LANE
REVIEW_SKILL = "sdlc-review"


class Launch(NamedTuple):
    """How a worker is started: its arguments, its Hermes home if any, and whether exit status 0 means done."""

    argv: list[str]
    home: str | None
    completes: bool


def lane_of(assignee: str, settings: PluginSettings) -> str | None:
    """Return the lane of an assignee, or None when nobody can be started for it."""
    if assignee in settings.lanes:
        return COMMAND
    return HERMES if host.profile_home(assignee) is not None else None


def launch_of(task: Task, lease: Lease, workspace: Workspace, settings: PluginSettings) -> Launch:
    """Return how to start the worker of a claimed task; its assignee has a lane."""
    assignee = task.assignee or ""
    lane = settings.lanes.get(assignee)
    if lane is not None:
        words = {
            "{task_id}": task.id,
            "{run_id}": str(lease.run_id),
            "{title}": task.title,
            "{body}": task.body or "",
            "{workspace}": str(workspace.path),
        }
        return Launch([_fill(argument, words) for argument in lane.command], None, completes=True)
    home = host.profile_home(assignee)
    return Launch(hermes_arguments(task, assignee), str(home) if home else None, completes=False)


def hermes_arguments(task: Task, profile: str) -> list[str]:
    """Return the argument vector of a Hermes worker, as the host would start it (contract section 5)."""
    plain = ["--cli"] if host.knows_plain_flag() else []
    arguments = [*host.command(), "-p", profile, *plain, "--accept-hooks"]
    for skill in skills_of(task):
        arguments += ["--skills", skill]
    if task.model_override:
        arguments += ["-m", task.model_override]
    toolsets = worker_toolsets.of_profile(profile)
    if toolsets:
        arguments += ["--toolsets", ",".join(toolsets)]
    arguments += ["chat", "-q", f"work kanban task {task.id}"]
    return [*arguments, "-Q"] if task.goal_mode else arguments


def skills_of(task: Task) -> list[str]:
    """Return the skills that a Hermes worker of a task is started with; a review has one of its own."""
    return [REVIEW_SKILL] if task.status == "review" else task.skill_names


def _fill(argument: str, words: dict[str, str]) -> str:
    """Replace the placeholders of one argument in one pass, so that a title cannot smuggle in another one."""
    import re

    pattern = "|".join(re.escape(word) for word in words)
    return re.sub(pattern, lambda found: words[found.group()], argument)
