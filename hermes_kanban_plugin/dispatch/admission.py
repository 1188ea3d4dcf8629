"""Which of the tasks that could start may start now: caps, pools, memory and assignees, no I/O.

A running task counts once, on whatever board it is (contract W20, failure modes E6, E7), and review tasks count like
all others. Rule source: contract section 4; failure modes E10 to E12.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from hermes_kanban_plugin.memory import Memory
from hermes_kanban_plugin.models import Skipped

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

    from hermes_kanban_plugin.models import Task
    from hermes_kanban_plugin.settings import Settings

# How many workers may run on a machine whose memory cannot be seen.
BLIND_CAP = 2


class Pool(NamedTuple):
    """Something that several assignees share: how many of their tasks may run at a time, all together."""

    size: int
    assignees: Collection[str]


class Limits(NamedTuple):
    """What bounds the running tasks; None is no bound.

    ``max_spawn`` and ``max_in_progress`` both bound all of them. ``assignee_caps`` counts instead of
    ``max_in_progress_per_profile`` for those that it names.
    """

    max_spawn: int | None = None
    max_in_progress: int | None = None
    max_in_progress_per_profile: int | None = None
    default_assignee: str = ""
    assignee_caps: Mapping[str, int] = {}
    pools: Mapping[str, Pool] = {}
    memory: Memory = Memory.AMPLE

    @property
    def bind(self) -> bool:
        """Whether a task that is free to start may have to wait for another one to end."""
        caps = (self.max_spawn, self.max_in_progress, self.max_in_progress_per_profile)
        shared = self.assignee_caps or self.pools or self.memory is not Memory.AMPLE
        return bool(shared) or any(cap is not None for cap in caps)

    def named(self) -> dict[str, object]:
        """Return the bounds that are set, by their names in the settings."""
        found = {name: value for name, value in self._asdict().items() if value not in (None, {}, "", Memory.AMPLE)}
        if self.pools:
            found["pools"] = {name: pool.size for name, pool in self.pools.items()}
        return {name: value for name, value in found.items() if name != "default_assignee"}


class Admitted(NamedTuple):
    """A task that may start: for whom, on which lane, and whether the default assignee has to be written first."""

    task: Task
    assignee: str
    lane: str
    assigned_by_default: bool


class Obstacle(NamedTuple):
    """What keeps a task from being started now: one word for programs, a sentence for people."""

    code: str
    reason: str


class Admission(NamedTuple):
    """The tasks that may start, best first, and the others with the reason why not."""

    admitted: list[Admitted]
    skipped: list[Skipped]


def limits_of(settings: Settings, memory: Memory = Memory.AMPLE) -> Limits:
    """Return what the settings, and the memory of the machine, say about how much may run."""
    known, plugin = settings.host, settings.plugin
    return Limits(
        max_spawn=known.max_spawn,
        max_in_progress=known.max_in_progress,
        max_in_progress_per_profile=known.max_in_progress_per_profile,
        default_assignee=known.default_assignee.strip().lower(),
        assignee_caps=plugin.assignee_caps,
        pools={name: Pool(pool.size, frozenset(pool.assignees)) for name, pool in plugin.pools.items()},
        memory=memory if plugin.memory_guard else Memory.AMPLE,
    )


def in_order(tasks: Iterable[Task], now: int, aging_seconds: int) -> list[Task]:
    """Return tasks best first: priority, raised by one for each ``aging_seconds`` since a task was made; then age.

    So that no task waits for ever behind more important ones (failure mode E10). With 0 waiting raises nothing.
    """

    def rank(task: Task) -> tuple[int, int, str]:
        raised = max(0, now - task.created_at) // aging_seconds if aging_seconds else 0
        return -(task.priority + raised), task.created_at, task.id

    return sorted(tasks, key=rank)


def admit(
    candidates: Sequence[Task],
    running: Mapping[str, int],
    limits: Limits,
    lane_of: Callable[[str], str | None],
) -> Admission:
    """Choose the tasks to start, in the order they are given.

    Args:
        candidates: tasks that are free to start, best first.
        running: running tasks by assignee over all boards.
        limits: the bounds; of those for all running tasks the smallest one counts.
        lane_of: the lane of an assignee, or None when nobody can be started for it.
    """
    counts = dict(running)
    admitted: list[Admitted] = []
    skipped: list[Skipped] = []
    for task in candidates:
        assignee = task.assignee or limits.default_assignee
        lane = lane_of(assignee) if assignee else None
        obstacle = _nobody(assignee) if lane is None else _bound(assignee, counts, limits)
        if obstacle is not None:
            skipped.append(Skipped(task_id=task.id, **obstacle._asdict()))
        elif lane is not None:
            counts[assignee] = counts.get(assignee, 0) + 1
            admitted.append(Admitted(task, assignee, lane, assigned_by_default=not task.assignee))
    return Admission(admitted, skipped)


def _nobody(assignee: str) -> Obstacle:
    if not assignee:
        return Obstacle("no_assignee", "no assignee, and kanban.default_assignee is not set")
    who = f"nobody to start for {assignee!r}: neither a profile nor a lane in the settings"
    return Obstacle("assignee_not_found", f"{who}; a terminal can claim it")


def _bound(assignee: str, counts: Mapping[str, int], limits: Limits) -> Obstacle | None:
    whole = sum(counts.values())
    scarce = _short_of_memory(whole, limits.memory)
    if scarce:
        return Obstacle("memory", f"{scarce} (memory_guard)")
    taken = (
        _full(whole, limits)
        or _at_its_cap(assignee, counts.get(assignee, 0), limits)
        or _pool_is_taken(assignee, counts, limits)
    )
    return Obstacle("capacity", taken) if taken else None


def _full(running: int, limits: Limits) -> str:
    caps = {"max_spawn": limits.max_spawn, "max_in_progress": limits.max_in_progress}
    given = {name: cap for name, cap in caps.items() if cap is not None}
    if not given or running < min(given.values()):
        return ""
    return f"at capacity ({', '.join(f'{name} {cap}' for name, cap in given.items())})"


def _short_of_memory(running: int, memory: Memory) -> str:
    if memory is Memory.CRITICAL:
        return "the machine has no memory left for another worker"
    if memory is Memory.TIGHT and running:
        return f"the machine is short of memory, so no more workers than the {running} that run"
    if memory is Memory.UNKNOWN and running >= BLIND_CAP:
        return f"the machine's memory cannot be seen, so no more than {BLIND_CAP} workers run"
    return ""


def _at_its_cap(assignee: str, running: int, limits: Limits) -> str:
    if assignee in limits.assignee_caps:
        name, cap = "assignee_caps", limits.assignee_caps[assignee]
    elif limits.max_in_progress_per_profile is not None:
        name, cap = "max_in_progress_per_profile", limits.max_in_progress_per_profile
    else:
        return ""
    return f"{assignee} is at its capacity ({running} running, {name} {cap})" if running >= cap else ""


def _pool_is_taken(assignee: str, counts: Mapping[str, int], limits: Limits) -> str:
    for name, pool in limits.pools.items():
        used = sum(counts.get(member, 0) for member in pool.assignees)
        if assignee in pool.assignees and used >= pool.size:
            return f"pool {name!r} is taken ({used} running, size {pool.size})"
    return ""
