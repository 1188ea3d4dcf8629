"""A tap on the dispatcher's shoulder: whoever changed a board tells it, so that nothing waits for a poll.

A datagram to a socket in the kanban home, sent after the commit and never waited for. Losing one costs a fraction of
a second, because the dispatcher also looks at the boards by itself. Standard library only: the supervisor uses this
module too.
"""

from __future__ import annotations

import os
import socket
from contextlib import suppress

NAME = ".dispatcher.sock"
# A path that is longer than this cannot be a socket's address; such a home is served by polling alone.
MAX_PATH_BYTES = 100


def address_of(root: str) -> str | None:
    """Return the socket of a kanban home's dispatcher, or None where there can be none."""
    path = os.path.join(root, "kanban", NAME)
    usable = hasattr(socket, "AF_UNIX") and len(os.fsencode(path)) <= MAX_PATH_BYTES
    return path if usable else None


def nudge(root: str) -> None:
    """Wake the dispatcher of a kanban home if there is one; never waits and never fails."""
    address = address_of(root)
    if address is None:
        return
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as mouth:
        mouth.setblocking(False)
        mouth.sendto(b"!", address)


class Ear:
    """The dispatcher's end: becomes readable when somebody nudges. Held by the leader only."""

    def __init__(self, root: str) -> None:
        self._path = address_of(root)
        self._socket: socket.socket | None = None
        if self._path is None:
            return
        ear = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            with suppress(FileNotFoundError):
                os.unlink(self._path)  # left by a leader that was killed; we hold the lock, so it is nobody's
            ear.bind(self._path)
            ear.setblocking(False)
        except OSError:
            ear.close()
            return
        self._socket = ear

    def fileno(self) -> int:
        """Return the descriptor to wait for, or -1 when this home has none."""
        return self._socket.fileno() if self._socket is not None else -1

    def drain(self) -> None:
        """Take in everything that was said."""
        if self._socket is not None:
            with suppress(BlockingIOError):
                while self._socket.recv(16):
                    pass

    def close(self) -> None:
        """Stop listening."""
        if self._socket is not None and self._path is not None:
            self._socket.close()
            self._socket = None
            with suppress(OSError):
                os.unlink(self._path)
