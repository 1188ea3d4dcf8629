"""What a diagnosis needs from outside the board: the plugins' verdicts, profiles, skills, caps, the machine."""

from __future__ import annotations

import sqlite3
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from hermes_kanban_plugin import host, lanes, locations, machine
from hermes_kanban_plugin.diagnosis.collection import Surroundings, collect
from hermes_kanban_plugin.diagnosis.facts import THRESHOLDS, Dispatching, Machine, MissingSkill, Thresholds
from hermes_kanban_plugin.diagnosis.finding import Finding, worst_first
from hermes_kanban_plugin.diagnosis.wording import addressed
from hermes_kanban_plugin.dispatch import examination, standing
from hermes_kanban_plugin.dispatch.admission import limits_of
from hermes_kanban_plugin.dispatch.tick import running_on
from hermes_kanban_plugin.host import skills
from hermes_kanban_plugin.maintenance import snapshots
from hermes_kanban_plugin.memory import Memory

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from hermes_kanban_plugin.board import Board
    from hermes_kanban_plugin.diagnosis.answer import Answer
    from hermes_kanban_plugin.diagnosis.facts import BoardFacts
    from hermes_kanban_plugin.host.skills import Shelf
    from hermes_kanban_plugin.locations import BoardLocation
    from hermes_kanban_plugin.models import Task
    from hermes_kanban_plugin.runtime import Runtime
    from hermes_kanban_plugin.settings import HostSettings


def look(runtime: Runtime, board: Board, only: str | None = None) -> BoardFacts:
    """Return the facts of a board as this process sees them; not a byte is changed.

    Args:
        runtime: settings, plugins and the other boards.
        board: the board.
        only: the one task that is asked about, or None for the whole board.

    Raises:
        UnknownTask: that task is not on the board.
    """
    if only is not None:
        board.task(only)
    return collect(board.reader, board.slug, board.clock.now(), around(runtime, board), only)


def inspect(runtime: Runtime, location: BoardLocation) -> list[Finding]:
    """Return what is wrong on a board, the worst first.

    Raises:
        BoardUnusable: it cannot be read.
    """
    return diagnose(runtime, look(runtime, runtime.open(location)))


def diagnose(runtime: Runtime, facts: BoardFacts) -> list[Finding]:
    """Return what all plugins find in the facts, the worst first; an answer that is no list of findings is reported."""
    found: list[Finding] = []
    for name, answer in runtime.manager.tell("kanban_diagnose", facts=facts):
        if isinstance(answer, (list, tuple)) and all(isinstance(one, Finding) for one in answer):
            found += answer
        else:
            problem = TypeError(f"plugin {name} answered {answer!r}, not a list of findings")
            runtime.manager.report("kanban_diagnose", problem)
    return worst_first(found if _is_current(facts.board) else [_addressed(one, facts.board) for one in found])


def addressed_answer(found: Answer, board: str) -> Answer:
    """Return an answer whose command names its board, unless that is the current one."""
    if found.next.command is None or _is_current(board):
        return found
    event = found.next.model_copy(update={"command": addressed(found.next.command, board)})
    return found.model_copy(update={"next": event})


def addressed_command(command: str, board: str) -> str:
    """Return a command that names its board, unless that is the current one."""
    return command if _is_current(board) else addressed(command, board)


def _addressed(found: Finding, board: str) -> Finding:
    return found if found.fix is None else found.model_copy(update={"fix": addressed(found.fix, board)})


def _is_current(board: str) -> bool:
    return board == locations.locate().slug


def around(runtime: Runtime, board: Board) -> Surroundings:
    """Return the ways to look at what is not on the board."""
    plugin = runtime.settings.plugin
    served = locations.serving_boards(runtime.root)
    others = [location for location in served if location.database != board.location.database]
    return Surroundings(
        examine=partial(examination.examine, runtime.manager),
        lane_of=lambda assignee: lanes.lane_of(assignee, plugin),
        missing_skills=partial(_missing_skills, cache(skills.shelf_of)),
        held_by=_holder(runtime, board),
        machine=machine_of(board.location),
        limits=limits_of(runtime.settings, machine.memory() if plugin.memory_guard else Memory.AMPLE),
        thresholds=thresholds_of(runtime.settings.host),
        cooldown_seconds=plugin.rate_limit_cooldown_seconds,
        max_starts_per_hour=plugin.max_starts_per_hour,
        lease_seconds=plugin.lease_seconds,
        aging_seconds=plugin.priority_aging_seconds,
        decomposes=runtime.settings.host.auto_decompose and host.can_decompose(),
        elsewhere=running_on(runtime, others),
        dispatching=dispatching_of(runtime.root, board.location, board.clock.now()),
    )


def thresholds_of(settings: HostSettings) -> Thresholds:
    """Return from when on something is worth a finding, by the host's ``kanban.diagnostics``; what is no number is
    passed over, as the host does (contract section 4).
    """
    given, known = settings.diagnostics, THRESHOLDS
    return Thresholds(
        failure_threshold=_whole(given.get("failure_threshold"), settings.failure_limit),
        blocked_stale_seconds=_whole(given.get("blocked_stale_hours"), known.blocked_stale_seconds, 3600),
        stranded_seconds=_whole(given.get("stranded_threshold_seconds"), known.stranded_seconds),
        block_cycle_threshold=_whole(given.get("block_cycle_threshold"), known.block_cycle_threshold),
        block_cycle_window_seconds=_whole(given.get("block_cycle_window_seconds"), known.block_cycle_window_seconds),
    )


def _whole(value: object, default: int, unit: int = 1) -> int:
    """Return a positive number as a whole number of units, otherwise the default."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < float("inf"):
        return default
    return max(1, int(value * unit))


def dispatching_of(root: Path, location: BoardLocation, now: int) -> Dispatching:
    """Return who dispatches a board."""
    found = standing.look(root, [location], now)
    term = found.term
    return Dispatching(
        state=found.state,
        pid=found.pid,
        last_tick_at=term.last_tick_at if term else None,
        ended_at=term.ended_at if term else None,
    )


def machine_of(location: BoardLocation) -> Machine:
    """Return what a board stands on: SQLite, the file system, the newest backup."""
    folder = snapshots.folder_of(location.root)
    newest = next(iter(snapshots.listed(folder, location.slug)), None)
    mounted = file_system_of(location.database)
    return Machine(
        sqlite_version=sqlite3.sqlite_version_info[:3],
        journal_mode="",
        path=str(location.database),
        file_system=mounted[0] if mounted else None,
        mount_point=mounted[1] if mounted else None,
        backup_at=int(newest.stat().st_mtime) if newest is not None else None,
        backup_folder=str(folder),
    )


def file_system_of(path: Path) -> tuple[str, str] | None:
    """Return type and mount point of the file system that a path is on, or None when that cannot be seen."""
    try:
        mounts = psutil.disk_partitions(all=True)
    except (OSError, psutil.Error):
        return None
    real = path.resolve()
    holding = [mount for mount in mounts if real.is_relative_to(mount.mountpoint)]
    best = max(holding, key=lambda mount: len(Path(mount.mountpoint).parts), default=None)
    return (best.fstype, best.mountpoint) if best is not None else None


def _missing_skills(
    shelf_of: Callable[[str], Shelf | None], profile: str, wanted: Sequence[str]
) -> Sequence[MissingSkill]:
    """Return which skills a profile lacks; each profile is looked through once."""
    shelf = shelf_of(profile) if wanted else None
    names = shelf.lacks(wanted) if shelf is not None else []
    toolsets = skills.toolset_names() if names else frozenset()
    places = shelf.places if shelf is not None else ()
    return [MissingSkill(name, places, name.casefold() in toolsets) for name in names]


def _holder(runtime: Runtime, board: Board) -> Callable[[Task], str | None]:
    """Return the question whether a plugin holds a task, as the dispatcher asks it."""

    def held_by(task: Task) -> str | None:
        held = runtime.manager.tell("kanban_before_dispatch", task=task, board=board)
        return f"{held[0][0]}: {held[0][1]}" if held else None

    return held_by
