"""Being the one dispatcher of a kanban home: the lock, the term on each board, and naming a holder that is frozen."""

from __future__ import annotations

import logging
import os
import sqlite3
from typing import TYPE_CHECKING

from hermes_kanban_plugin import identity, locations
from hermes_kanban_plugin.errors import KanbanError
from hermes_kanban_plugin.identity import Verdict
from hermes_kanban_plugin.locks import FileLock
from hermes_kanban_plugin.logbook import entry
from hermes_kanban_plugin.store import dispatchers

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Sequence

    from hermes_kanban_plugin.identity import ProcessIdentity
    from hermes_kanban_plugin.locations import BoardLocation
    from hermes_kanban_plugin.runtime import Runtime
    from hermes_kanban_plugin.store.dispatchers import Term

log = logging.getLogger(__name__)

RETRY_SECONDS = 0.5
# A term's last tick is written this often; a holder that is silent for longer than FROZEN_SECONDS is named.
NOTE_SECONDS = 10
FROZEN_SECONDS = 45


def _judge(term: Term) -> Verdict:
    return identity.judge(term.dispatcher, identity.here(), identity.sight(term.dispatcher.pid))


class Leadership:
    """The lock of a home and, while it is held, one term per board."""

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime
        self.follows_crash = False
        self._lock = FileLock(locations.dispatcher_lock(runtime.root))
        self._terms: dict[str, int] = {}
        self._noted: dict[str, int] = {}
        self._new: list[BoardLocation] = []
        self._named: ProcessIdentity | None = None

    def acquire(self, stop: threading.Event, pulse: Callable[[], None] = lambda: None) -> bool:
        """Wait until the lock is had, calling ``pulse`` meanwhile; returns False if told to stop before.

        Raises:
            BoardUnusable: the lock file cannot be made.
        """
        waiting = False
        while not self._lock.acquire():
            if not waiting:
                log.info(entry("wait", f"another dispatcher holds {self._lock.path}; waiting to take over"))
                waiting = True
            self._name_frozen_holder()
            pulse()
            if stop.wait(RETRY_SECONDS):
                return False
        return True

    def note_tick(self, boards: Sequence[BoardLocation]) -> None:
        """Write on each board that it is being served, beginning a term on a board that is new; seldom a write."""
        now = self.runtime.clock.now()
        for location in boards:
            key = str(location.database)
            if key in self._terms and abs(now - self._noted[key]) < NOTE_SECONDS:
                continue
            try:
                self._write_note(location, key, now)
            except (KanbanError, sqlite3.Error) as problem:
                self.runtime.complain("note_failed", f"it does not know who serves it: {problem}", location.slug)

    def _write_note(self, location: BoardLocation, key: str, now: int) -> None:
        writer = self.runtime.open(location).writer
        if key in self._terms:
            dispatchers.note_tick(writer, self._terms[key], now)
        else:
            me = identity.capture(os.getpid())
            self._terms[key], before = dispatchers.begin(writer, me, now)
            if before is None:
                self._new.append(location)
            # One that never said goodbye and still lives is on its way out: it gives its lock up first.
            crashed = before is not None and before.ended_at is None and _judge(before) is not Verdict.ALIVE
            self.follows_crash = self.follows_crash or crashed
        self._noted[key] = now

    def take_new(self) -> list[BoardLocation]:
        """Return the boards that nobody of us ever served before our terms there, each once."""
        taken, self._new = self._new, []
        return taken

    def release(self, boards: Sequence[BoardLocation], reason: str) -> None:
        """End the terms and give the locks back; those first, so that the next one need not wait for our writes."""
        self._lock.release()
        self.runtime.let_go()
        now = self.runtime.clock.now()
        for location in boards:
            term = self._terms.pop(str(location.database), None)
            if term is not None:
                try:
                    dispatchers.end(self.runtime.open(location).writer, term, reason, now)
                except (KanbanError, sqlite3.Error) as problem:
                    log.warning(entry("note_failed", f"it was not told that we end: {problem}", board=location.slug))

    def _name_frozen_holder(self) -> None:
        """Say once per holder when it holds the lock without ticking: it is stopped or starved."""
        now = self.runtime.clock.now()
        for location in locations.serving_boards(self.runtime.root):
            try:
                term = dispatchers.latest(self.runtime.open(location).reader)
            except (KanbanError, sqlite3.Error):
                continue
            if term is None or term.ended_at is not None or now - term.last_tick_at < FROZEN_SECONDS:
                continue
            if self._named != term.dispatcher and _judge(term) is Verdict.ALIVE:
                self._named = term.dispatcher
                pid, age = term.dispatcher.pid, now - term.last_tick_at
                log.warning(
                    "dispatcher pid %d holds %s and has not ticked board %s for %d s; let it go on with: "
                    "kill -CONT %d, or end it with: kill -KILL %d",
                    pid, self._lock.path, location.slug, age, pid, pid,
                )  # fmt: skip
