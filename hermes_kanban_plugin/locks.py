"""File locks that the host's processes honour too: one dispatcher per home, one tick per board at a time.

Both are ``flock`` locks, which the kernel gives back the moment the holder dies, however it dies. Windows has none of
this; there a lock counts as taken by nobody (see docs/reference/platforms.md).
"""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

from hermes_kanban_plugin.errors import BoardUnusable

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class FileLock:
    """An exclusive lock on a file of its own; the file is never removed, so that nobody can lock a stale one."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor: int | None = None

    @property
    def held(self) -> bool:
        """Whether this object holds the lock now."""
        return self._descriptor is not None

    def acquire(self) -> bool:
        """Take the lock if it is free, without waiting; says whether it is held now.

        One that is held on a file that was removed or replaced meanwhile keeps nobody out, so it is taken anew.

        Raises:
            BoardUnusable: the lock file cannot be made, so nobody can promise to be alone.
        """
        if self._stands():
            return True
        self.release()
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as problem:
            raise BoardUnusable(
                f"lock file {self.path} cannot be opened ({problem.strerror}); make its folder writable by this user"
            ) from problem
        if not _lock(descriptor):
            os.close(descriptor)
            return False
        self._descriptor = descriptor
        return True

    def _stands(self) -> bool:
        if self._descriptor is None:
            return False
        try:
            return os.path.samestat(os.fstat(self._descriptor), os.stat(self.path))
        except OSError:
            return False

    def release(self) -> None:
        """Give the lock back; harmless when it is not held."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


@contextmanager
def trying(path: Path) -> Iterator[bool]:
    """Run a block with the lock if it was free; the block is told whether it was."""
    lock = FileLock(path)
    try:
        yield lock.acquire()
    finally:
        lock.release()


@contextmanager
def looking(path: Path) -> Iterator[bool]:
    """Run a block that is told whether a lock was free; nothing is made, and a lock that is there is held meanwhile."""
    if not path.exists():
        yield True
        return
    with trying(path) as free:
        yield free


def holder(path: Path) -> int | None:
    """Return the process that holds the lock on a file, or None when nobody does or it cannot be seen from here.

    Only looks (Linux: the kernel's table of locks); nothing is locked or made.
    """
    try:
        wanted = path.stat()
        with open("/proc/locks", encoding="ascii") as table:
            lines = table.read().splitlines()
    except (OSError, ValueError):
        return None
    place = f"{os.major(wanted.st_dev):02x}:{os.minor(wanted.st_dev):02x}:{wanted.st_ino}"
    for line in lines:
        fields = line.split()
        if len(fields) >= 6 and fields[1] in ("FLOCK", "POSIX", "OFDLCK") and fields[5] == place:
            return int(fields[4]) if int(fields[4]) > 0 else None
    return None


def _lock(descriptor: int) -> bool:
    if sys.platform == "win32":
        return True
    import fcntl

    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
