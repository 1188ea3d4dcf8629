"""The machine, or the container, that this process is in: what it has left for workers.

Rule source: failure mode E11.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from hermes_kanban_plugin.memory import Memory, Sample, judge

_PRESSURE = Path("/proc/pressure/memory")
_GROUPS = Path("/sys/fs/cgroup")
_OWN_GROUP = Path("/proc/self/cgroup")


def memory() -> Memory:
    """Return the tier of this machine, or of the container that this process is in, now."""
    return judge(sample())


def sample() -> Sample:
    """Look at the memory of this machine and of the container that this process is in."""
    import psutil  # late: only a tick with something to start pays for it

    try:
        machine, swap = psutil.virtual_memory(), psutil.swap_memory()
    except (psutil.Error, OSError, RuntimeError, ValueError):
        return Sample(None, None)
    total, available = int(machine.total), int(machine.available)
    group = _group_memory()
    if group is not None and group[0] < total:
        total, available = group[0], min(available, group[1])
    some, full = _stalls()
    return Sample(total, available, int(swap.total), int(swap.free), some, full)


def _group_memory() -> tuple[int, int] | None:
    """Return limit and room of the tightest control group (version 2) around us, or None where none has a limit."""
    with suppress(OSError):
        lines = _OWN_GROUP.read_text(encoding="ascii").splitlines()
        own = next((line.removeprefix("0::").strip("/") for line in lines if line.startswith("0::")), None)
        if own is not None:
            here = _GROUPS / own
            folders = [here, *(folder for folder in here.parents if folder.is_relative_to(_GROUPS))]
            found = [room for folder in folders if (room := _room_of(folder)) is not None]
            return min(found, key=lambda room: room[1], default=None)
    return None


def _room_of(folder: Path) -> tuple[int, int] | None:
    with suppress(OSError, ValueError):
        limit = int((folder / "memory.max").read_text(encoding="ascii"))  # the word "max" is no limit
        used = int((folder / "memory.current").read_text(encoding="ascii"))
        counted = dict(line.split() for line in (folder / "memory.stat").read_text(encoding="ascii").splitlines())
        return limit, max(0, limit - used + int(counted.get("inactive_file", 0)))
    return None


def _stalls() -> tuple[float | None, float | None]:
    """Return for how much of the last ten seconds some, and all, programs waited for memory; percent (Linux)."""
    found: dict[str, float] = {}
    with suppress(OSError, ValueError):
        for line in _PRESSURE.read_text(encoding="ascii").splitlines():
            kind, average, *_ = line.split()
            found[kind] = float(average.removeprefix("avg10="))
    return found.get("some"), found.get("full")
