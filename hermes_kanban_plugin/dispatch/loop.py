"""The dispatcher's loop: one per kanban home, woken by changes of a board, with a timed sweep as the net."""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING

from hermes_kanban_plugin import locations
from hermes_kanban_plugin.dispatch.tick import tick_all
from hermes_kanban_plugin.errors import KanbanError
from hermes_kanban_plugin.locks import FileLock

if TYPE_CHECKING:
    from collections.abc import Callable

    from hermes_kanban_plugin.locations import BoardLocation
    from hermes_kanban_plugin.models import TickReport
    from hermes_kanban_plugin.runtime import Runtime

log = logging.getLogger(__name__)

# Processes that died without a word are looked for this often, whatever the dispatch interval is.
SWEEP_SECONDS = 1.0
# Somebody who keeps writing to a board must not keep the loop from pausing.
PAUSE_SECONDS = 0.01
LEADER_RETRY_SECONDS = 0.5


class Dispatcher:
    """Serves all boards of a home, or one of them, until it is told to stop."""

    def __init__(
        self, runtime: Runtime, board: str | None = None, listener: Callable[[list[TickReport]], None] | None = None
    ) -> None:
        self.runtime = runtime
        self._board = board
        self._listener = listener
        self._stop = threading.Event()
        self._reason = "asked to stop"
        self._leader = FileLock(locations.dispatcher_lock(runtime.root))

    def stop(self, reason: str) -> None:
        """Ask the loop to end after the tick it is in; safe from a signal handler or another thread."""
        self._reason = reason
        self._stop.set()

    def run(self) -> None:
        """Become the one dispatcher of the home (waiting for the holder to go), then tick until stopped.

        Raises:
            BoardUnusable: the lock file cannot be made.
        """
        if not self._become_leader():
            return
        manager = self.runtime.manager
        manager.tell("kanban_gateway_startup", runtime=self.runtime)
        try:
            while not self._stop.is_set():
                self._serve_once()
        finally:
            self._leader.release()
            manager.tell("kanban_gateway_shutdown", runtime=self.runtime, reason=self._reason)

    def _become_leader(self) -> bool:
        waiting = False
        while not self._leader.acquire():
            if not waiting:
                log.info("another dispatcher holds %s; waiting to take over", self._leader.path)
                waiting = True
            if self._stop.wait(LEADER_RETRY_SECONDS):
                return False
        return True

    def _serve_once(self) -> None:
        """Tick every board, then sleep until something changed."""
        self.runtime.reload()
        boards = self._boards()
        before = self._versions(boards)
        reports = tick_all(self.runtime, boards)
        if self._listener is not None:
            self._listener(reports)
        # A change during the tick, our own or another's, is looked at at once; an idle tick changes nothing.
        if self._versions(boards) != before:
            self._stop.wait(PAUSE_SECONDS)
            return
        self._sleep(boards, before)

    def _sleep(self, boards: list[BoardLocation], before: dict[str, int]) -> None:
        clock, settings = self.runtime.clock, self.runtime.settings
        until = clock.monotonic() + min(SWEEP_SECONDS, settings.host.dispatch_interval_seconds)
        while clock.monotonic() < until and not self._stop.wait(settings.plugin.poll_seconds):
            if self._versions(boards) != before:
                return

    def _boards(self) -> list[BoardLocation]:
        if self._board is not None:
            return [locations.locate_existing(self._board)]
        return locations.serving_boards(self.runtime.root)

    def _versions(self, boards: list[BoardLocation]) -> dict[str, int]:
        found = {}
        for location in boards:
            try:
                found[str(location.database)] = self.runtime.open(location).data_version()
            except KanbanError as problem:
                log.debug("board %s cannot be watched: %s", location.slug, problem)
        return found
