"""Waiting without polling processes: one descriptor per living supervisor, one for nudges.

A pidfd tells the death of a process that is not our child, at once, and cannot be confused by a reused pid. Systems
without it (macOS) leave every run to the sweep, which looks at the process table.
"""

from __future__ import annotations

import os
import resource
import selectors
from contextlib import suppress
from typing import TYPE_CHECKING

from hermes_kanban_plugin.identity import Verdict

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from hermes_kanban_plugin.dispatch.reaper import Orphan
    from hermes_kanban_plugin.wake import Ear

RESERVED_DESCRIPTORS = 64
# (board, run id): run ids repeat from board to board.
Key = tuple[str, int]


class Watch:
    """The supervisors that are known to live, and what woke the dispatcher."""

    def __init__(self, ear: Ear | None = None) -> None:
        self._selector = selectors.DefaultSelector()
        self._descriptors: dict[Key, int] = {}
        self._newest: dict[str, int] = {}
        self._unseen: dict[str, set[int]] = {}
        self._bell, self._rope = os.pipe()
        for descriptor in (self._bell, self._rope):
            os.set_blocking(descriptor, False)
        self._selector.register(self._bell, selectors.EVENT_READ, None)
        self._ear = ear
        self._closed = False
        if ear is not None and ear.fileno() >= 0:
            self._selector.register(ear.fileno(), selectors.EVENT_READ, None)

    def newest(self, board: str) -> int:
        """Return the newest run of a board that was looked at: every run up to it is watched or unseen."""
        return self._newest.get(board, 0)

    def unseen(self, board: str, known: set[int]) -> list[int]:
        """Return the runs of a board, without the known ones, that must be looked at because nobody watches them."""
        return sorted(self._unseen.get(board, set()) - known)

    def observe(self, board: str, orphans: Iterable[Orphan], rejudge: Callable[[Orphan], Verdict]) -> None:
        """Start to watch the living supervisors among the runs that were looked at.

        Args:
            board: the board they are on.
            orphans: the runs with their verdicts.
            rejudge: looks at a supervisor again, now that its descriptor is open: only then is it surely the one.
        """
        unseen = self._unseen.setdefault(board, set())
        for orphan in orphans:
            run_id = orphan.run.run_id or 0
            self._newest[board] = max(self._newest.get(board, 0), run_id)
            unseen.add(run_id)
            if (board, run_id) in self._descriptors or self._begin((board, run_id), orphan, rejudge):
                unseen.discard(run_id)

    def _begin(self, key: Key, orphan: Orphan, rejudge: Callable[[Orphan], Verdict]) -> bool:
        if orphan.supervisor is not Verdict.ALIVE or orphan.run.supervisor_pid is None:
            return False
        descriptor = _open(orphan.run.supervisor_pid)
        if descriptor is None:
            return False
        if rejudge(orphan) is not Verdict.ALIVE:
            os.close(descriptor)
            return False
        self._descriptors[key] = descriptor
        self._selector.register(descriptor, selectors.EVENT_READ, key)
        return True

    def keep_only(self, board: str, run_ids: set[int]) -> None:
        """Let go of the runs of a board that hold no task any more."""
        for key in [key for key in self._descriptors if key[0] == board and key[1] not in run_ids]:
            self._drop(key)
        self._unseen[board] = self._unseen.get(board, set()) & run_ids

    def forget(self, board: str) -> None:
        """Forget everything about a board, because its file is another one now."""
        self.keep_only(board, set())
        self._newest.pop(board, None)

    def ring(self) -> None:
        """Wake the wait; safe from any thread and from signal handlers, and harmless when it is closed."""
        if not self._closed:
            with suppress(BlockingIOError):
                os.write(self._rope, b"!")

    def wait(self, seconds: float) -> bool:
        """Sleep until something happens or the time is over; says whether something happened."""
        events = self._selector.select(max(0.0, seconds))
        for event, _ in events:
            if event.data is not None:
                self._drop(event.data)  # it died: the next tick looks at its run
                self._unseen.setdefault(event.data[0], set()).add(event.data[1])
        with suppress(BlockingIOError):
            while os.read(self._bell, 4096):
                pass
        if self._ear is not None:
            self._ear.drain()
        return bool(events)

    def close(self) -> None:
        """Let go of everything."""
        self._closed = True
        for key in list(self._descriptors):
            self._drop(key)
        self._selector.close()
        os.close(self._bell)
        os.close(self._rope)

    def _drop(self, key: Key) -> None:
        descriptor = self._descriptors.pop(key)
        self._selector.unregister(descriptor)
        os.close(descriptor)


def _open(pid: int) -> int | None:
    opener = getattr(os, "pidfd_open", None)
    if opener is None:
        return None
    try:
        descriptor = int(opener(pid))
    except OSError:
        return None
    if descriptor >= resource.getrlimit(resource.RLIMIT_NOFILE)[0] - RESERVED_DESCRIPTORS:
        os.close(descriptor)  # what is left is needed to start workers; this run is looked at instead
        return None
    return descriptor
