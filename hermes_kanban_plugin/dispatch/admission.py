"""Which of the tasks that could start may start now: caps and assignees, no I/O.

A running task counts once, on whatever board it is (contract W20, failure modes E6, E7), and review tasks count like
all others. Rule source: contract section 4.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from hermes_kanban_plugin.models import Skipped

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from hermes_kanban_plugin.models import Task
    from hermes_kanban_plugin.settings import HostSettings


class Admitted(NamedTuple):
    """A task that may start: for whom, on which lane, and whether the default assignee has to be written first."""

    task: Task
    assignee: str
    lane: str
    assigned_by_default: bool


class Admission(NamedTuple):
    """The tasks that may start, best first, and the others with the reason why not."""

    admitted: list[Admitted]
    skipped: list[Skipped]


def admit(
    candidates: Sequence[Task],
    running: Mapping[str, int],
    limits: HostSettings,
    lane_of: Callable[[str], str | None],
) -> Admission:
    """Choose the tasks to start, in the order they are given.

    Args:
        candidates: tasks that are free to start, best first.
        running: running tasks by assignee over all boards.
        limits: the caps; ``max_spawn`` and ``max_in_progress`` both bound all running tasks, the smaller one counts.
        lane_of: the lane of an assignee, or None when nobody can be started for it.
    """
    counts = dict(running)
    caps = [cap for cap in (limits.max_spawn, limits.max_in_progress) if cap is not None]
    free = min(caps) - sum(counts.values()) if caps else len(candidates)
    admitted: list[Admitted] = []
    skipped: list[Skipped] = []
    for task in candidates:
        assignee = task.assignee or limits.default_assignee.strip().lower()
        lane = lane_of(assignee) if assignee else None
        reason = _obstacle(assignee, lane, counts.get(assignee, 0), limits, full=len(admitted) >= free)
        if reason or lane is None:
            skipped.append(Skipped(task_id=task.id, reason=reason))
            continue
        counts[assignee] = counts.get(assignee, 0) + 1
        admitted.append(Admitted(task, assignee, lane, assigned_by_default=not task.assignee))
    return Admission(admitted, skipped)


def _obstacle(assignee: str, lane: str | None, running: int, limits: HostSettings, *, full: bool) -> str:
    if not assignee:
        return "no assignee, and kanban.default_assignee is not set"
    if lane is None:
        return (
            f"nobody to start for {assignee!r}: neither a profile nor a lane in the settings; a terminal can claim it"
        )
    if full:
        caps = {"max_spawn": limits.max_spawn, "max_in_progress": limits.max_in_progress}
        return f"at capacity ({', '.join(f'{name} {cap}' for name, cap in caps.items() if cap is not None)})"
    cap = limits.max_in_progress_per_profile
    if cap is not None and running >= cap:
        return f"{assignee} is at its capacity ({running} running, max_in_progress_per_profile {cap})"
    return ""
