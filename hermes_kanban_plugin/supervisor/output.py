"""The worker's log file, and the first and last lines of it, which outlive its rotation (failure mode K4).

Standard library only: the supervisor uses this module.
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

TAIL_LINES = 20
TAIL_BYTES = 8192


@contextmanager
def opened(path: str) -> Iterator[int]:
    """Open a log for appending and yield its descriptor; a log that cannot be opened costs the output, not the run."""
    try:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
    except OSError:
        descriptor = os.open(os.devnull, os.O_WRONLY)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def length(log: int) -> int:
    """Return how long an open log is, bytes."""
    return os.fstat(log).st_size


def head(path: str, since: int = 0) -> str:
    """Return the first lines of a run's output, in the bounds of :func:`tail`; nothing when the tail is all of it.

    Args:
        path: the log.
        since: where the output of this run begins, bytes.
    """
    try:
        with open(path, "rb") as stream:
            whole = length(stream.fileno()) - since
            stream.seek(since)
            lines = stream.read(TAIL_BYTES).decode(errors="replace").splitlines()
    except OSError:
        return ""
    if whole <= TAIL_BYTES and len(lines) <= TAIL_LINES:
        return ""
    return "\n".join(line.rstrip() for line in lines[:TAIL_LINES]).strip()


def tail(path: str, since: int = 0) -> str:
    """Return the last lines of a log, at most ``TAIL_LINES`` lines and ``TAIL_BYTES`` bytes.

    Args:
        path: the log, which holds the output of earlier runs too.
        since: where the output of this run begins, bytes (failure mode K2).
    """
    try:
        with open(path, "rb") as stream:
            stream.seek(max(since, length(stream.fileno()) - TAIL_BYTES))
            lines = stream.read().decode(errors="replace").splitlines()
    except OSError:
        return ""
    return "\n".join(line.rstrip() for line in lines[-TAIL_LINES:]).strip()
