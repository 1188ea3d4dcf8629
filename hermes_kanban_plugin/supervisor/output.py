"""The worker's log file, and the last lines of it.

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


def tail(path: str) -> str:
    """Return the last lines of a log, at most ``TAIL_LINES`` lines and ``TAIL_BYTES`` bytes."""
    try:
        with open(path, "rb") as stream:
            stream.seek(max(0, os.fstat(stream.fileno()).st_size - TAIL_BYTES))
            lines = stream.read().decode(errors="replace").splitlines()
    except OSError:
        return ""
    return "\n".join(line.rstrip() for line in lines[-TAIL_LINES:]).strip()
