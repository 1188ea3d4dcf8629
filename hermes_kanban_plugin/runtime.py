"""What a process that serves boards ties together: settings, plugins, clock, boards, supervisors it started."""

from __future__ import annotations

import logging
import os
import secrets
import socket
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

from hermes_kanban_plugin import locations, locks
from hermes_kanban_plugin.board import Board
from hermes_kanban_plugin.clock import Clock
from hermes_kanban_plugin.configuration import LiveSettings
from hermes_kanban_plugin.dispatch.stops import Stops
from hermes_kanban_plugin.logbook import Complaints, entry
from hermes_kanban_plugin.manager import Manager
from hermes_kanban_plugin.supervisor import program

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from sqlite_utils import Migrations

    from hermes_kanban_plugin.breaker import Terms
    from hermes_kanban_plugin.dispatch.watch import Watch
    from hermes_kanban_plugin.locations import BoardLocation
    from hermes_kanban_plugin.settings import Settings
    from hermes_kanban_plugin.supervisor.launcher import Launched


log = logging.getLogger(__name__)


def _file_of(database: Path) -> tuple[int, int] | None:
    """Return which file stands at a path; only looked at, never opened (contract W1)."""
    try:
        seen = database.stat()
    except OSError:
        return None
    return seen.st_dev, seen.st_ino


class Runtime:
    """One serving process. Boards stay open: each is a guard for its write-ahead log (contract W1).

    ``stops`` are terminations under way. ``watch`` is there in a loop: it vouches for living supervisors, so that a
    tick looks only at the others. Without one (a single tick) every run is looked at and terminations are waited for.
    ``stopping`` is set when nothing more may be started, in the middle of a tick too. ``keeps_ticks`` is set in a loop:
    a board that it ticked once is ticked by nobody else until :meth:`let_go`. ``busy`` is how long to wait for a locked
    board, milliseconds, where a person waits for the answer.
    """

    def __init__(
        self,
        root: Path | None = None,
        clock: Clock | None = None,
        manager: Manager | None = None,
        *,
        lenient: bool = False,
        busy: int | None = None,
        spare: bool = False,
    ) -> None:
        """Read the settings and load the plugins.

        Args:
            root: the kanban home; None for the one of this process.
            clock: what time it is.
            manager: the plugins, if they are loaded already.
            lenient: leave out keys of ours that are wrong.
            busy: how long boards wait for another writer, milliseconds; None as everywhere.
            spare: take the defaults when the settings cannot be read: who asks what is wrong needs an answer then.

        Raises:
            InvalidSettings: they cannot be read, and neither ``lenient`` nor ``spare`` helps.
        """
        self.root = root or locations.kanban_root()
        self.clock = clock or Clock()
        self.live_settings = LiveSettings(self.root, lenient=lenient, spare=spare)
        self.settings: Settings = self.live_settings.current()
        if self.settings.ignored:
            log.warning("config.yaml, section kanban: the defaults count for %s", "; ".join(self.settings.ignored))
        for words in self.settings.refused:
            log.error("plugins.entries.hermes-kanban: %s; it is left out, and its default counts", words)
        self.manager = manager or Manager(self.settings.plugin.block_plugins)
        self.manager.configure(self.settings)
        self._busy = busy
        self.launched: list[Launched] = []
        # What supervisors were told on each board, by its path (hooks/dispatcher_tick.py).
        self.published_terms: dict[str, Terms] = {}
        self.stops = Stops()
        self.watch: Watch | None = None
        self.stopping = threading.Event()
        self._program = program.stamp()
        self.keeps_ticks = False
        self._complaints = Complaints()
        self._tick_locks: dict[Path, locks.FileLock] = {}
        self._boards: dict[Path, Board] = {}
        self._files: dict[Path, tuple[int, int] | None] = {}

    def has_own_program(self) -> bool:
        """Say whether supervisors would still be started from the files that this process was started with."""
        return program.stamp() == self._program

    def reload(self) -> Settings:
        """Take over the settings if their file changed, and return those in force."""
        known = self.live_settings.problem
        self.settings = self.live_settings.current()
        if self.live_settings.problem not in (None, known):
            log.warning("the settings in force stay as they were: %s", self.live_settings.problem)
        return self.settings

    def open(self, location: BoardLocation) -> Board:
        """Return an open board; opened once per process, and again when its file was replaced."""
        board = self._boards.get(location.database)
        if board is not None and self._files.get(location.database) != _file_of(location.database):
            log.warning("the file of board %s was replaced or removed; it is opened anew", location.slug)
            self.forget(location.database)
            board = None
        if board is None:
            board = Board(location, self.clock, self._plugin_migrations(), self._busy)
            self._boards[location.database] = board
            self._files[location.database] = _file_of(location.database)
        return board

    @contextmanager
    def ticking(self, database: Path) -> Iterator[bool]:
        """Run a block under the tick lock of a board if it is free; the block is told whether it was.

        A tick of the host on a board that we serve would start workers without a supervisor and past the caps, so a
        loop keeps the lock between its ticks too (failure mode E5).
        """
        path = locations.tick_lock(database)
        if self.keeps_ticks:
            yield self._tick_locks.setdefault(database, locks.FileLock(path)).acquire()
        else:
            with locks.trying(path) as alone:
                yield alone

    def complain(self, action: str, problem: object, board: str) -> None:
        """Log that something went wrong with a board, when that is news or was not said for long."""
        if self._complaints.due(f"{action} {board}", str(problem), self.clock.monotonic()):
            log.error(entry(action, str(problem), board=board))

    def settle(self, action: str, board: str) -> None:
        """Note that something works again."""
        self._complaints.settle(f"{action} {board}")

    def let_go(self) -> None:
        """Let others tick the boards."""
        self.keeps_ticks = False
        for lock in self._tick_locks.values():
            lock.release()
        self._tick_locks.clear()

    def forget(self, database: Path) -> None:
        """Close a board that gave trouble or was replaced; what is asked of it next opens it anew."""
        lock = self._tick_locks.pop(database, None)
        if lock is not None:
            lock.release()
        board = self._boards.pop(database, None)
        if board is not None:
            board.close()
            if self.watch is not None:
                self.watch.forget(board.path)

    def keep_only(self, locations: Sequence[BoardLocation]) -> None:
        """Let go of boards that are not served any more, and bury the supervisors that were started for them."""
        served = {location.database for location in locations}
        for database in set(self._boards) - served:
            self.forget(database)
        paths = {str(database.absolute()) for database in served}
        self.launched[:] = [one for one in self.launched if one.database in paths or one.poll() is None]

    def lock_prefix(self) -> str:
        """Return the start of the locks of one batch of claims: ``<host>:<pid>:<nonce>``, which the host reads too."""
        return f"{socket.gethostname() or 'unknown'}:{os.getpid()}:{secrets.token_hex(4)}"

    def close(self) -> None:
        """Close all boards; supervisors and workers are left alone."""
        for board in self._boards.values():
            board.close()
        self._boards.clear()
        self.let_go()

    def _plugin_migrations(self) -> list[Migrations]:
        """Return the plugins' migration sets; an answer that is no list of sets is that plugin's failure alone."""
        sets: list[Migrations] = []
        for name, answer in self.manager.tell("kanban_migrations"):
            if isinstance(answer, (list, tuple)) and all(hasattr(own, "pending") for own in answer):
                sets += answer
            else:
                self.manager.report(
                    "kanban_migrations", TypeError(f"plugin {name} answered {answer!r}, not a list of sets")
                )
        return sets
