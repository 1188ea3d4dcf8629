"""The log file of each task's workers, kept to a bounded size by rotation before a start (contract section 5)."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def log_of(logs: Path, task_id: str) -> Path:
    """Return the log file of a task."""
    return logs / f"{task_id}.log"


def rotate(path: Path, max_bytes: int, backups: int) -> None:
    """Move a log that grew beyond ``max_bytes`` aside, keeping ``backups`` older ones (0 deletes it)."""
    try:
        if path.stat().st_size <= max_bytes:
            return
    except OSError:
        return
    generations = [path, *(path.with_name(f"{path.name}.{number}") for number in range(1, backups + 1))]
    generations[-1].unlink(missing_ok=True)
    for newer, older in zip(reversed(generations[:-1]), reversed(generations[1:]), strict=True):
        if newer.exists():
            newer.rename(older)
