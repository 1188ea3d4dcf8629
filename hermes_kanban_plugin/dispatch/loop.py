"""The dispatcher's loop: one per kanban home, asleep until something happens, with a timed full sweep as the net.

It wakes on the death of a supervisor, on a nudge, on a change of a board, on the end of a termination and on the next
deadline.
"""

from __future__ import annotations

import logging
import os
import signal
import sqlite3
import threading
from contextlib import suppress
from typing import TYPE_CHECKING

from pydantic import ValidationError

from hermes_kanban_plugin import identity, locations
from hermes_kanban_plugin.dispatch.leadership import Leadership
from hermes_kanban_plugin.dispatch.ramp import Ramp
from hermes_kanban_plugin.dispatch.stops import Stops
from hermes_kanban_plugin.dispatch.tick import startable, tick_all
from hermes_kanban_plugin.dispatch.watch import Watch
from hermes_kanban_plugin.errors import KanbanError
from hermes_kanban_plugin.identity import Verdict
from hermes_kanban_plugin.logbook import entries_of, entry
from hermes_kanban_plugin.store import queries
from hermes_kanban_plugin.wake import Ear

if TYPE_CHECKING:
    from collections.abc import Callable

    from hermes_kanban_plugin.locations import BoardLocation
    from hermes_kanban_plugin.models import HeldRun, TickReport
    from hermes_kanban_plugin.runtime import Runtime

log = logging.getLogger(__name__)

# Leases and launches that nobody watches are looked at this often; everything at the dispatch interval.
GLANCE_SECONDS = 1.0
# Somebody who keeps writing to a board must not keep the loop from pausing.
PAUSE_SECONDS = 0.01


class Dispatcher:
    """Serves all boards of a home, or one of them, until it is told to stop or its own files are not there any more.

    ``drains`` makes it stay, starting nothing, until the running workers are done; ``stops_workers`` makes it tell
    their supervisors to release them. Without either they go on by themselves. ``pulse`` is called before each tick,
    and so at least once a second as long as it works.
    """

    def __init__(
        self,
        runtime: Runtime,
        board: str | None = None,
        listener: Callable[[list[TickReport]], None] | None = None,
        *,
        drains: bool = False,
        stops_workers: bool = False,
        pulse: Callable[[], None] = lambda: None,
    ) -> None:
        self.runtime = runtime
        self.drains = drains
        self.stops_workers = stops_workers
        self._board = board
        self._listener = listener
        self._pulse = pulse
        # A tick that is under way looks at it too, and launches nothing more.
        self._stop = runtime.stopping = threading.Event()
        self._hurry = threading.Event()
        self._reason = "asked to stop"
        self._leadership = Leadership(runtime)
        self._ramp: Ramp | None = None
        self._swept: float | None = None

    def stop(self, reason: str) -> None:
        """Ask the loop to end after the tick it is in, and a second time not to wait for workers either.

        Safe from a signal handler or another thread.
        """
        self._reason = reason
        if self._stop.is_set():
            self._hurry.set()
        self._stop.set()
        if self.runtime.watch is not None:
            self.runtime.watch.ring()

    def run(self) -> None:
        """Become the one dispatcher of the home (waiting for the holder to go), then serve until stopped.

        Raises:
            BoardUnusable: the lock file cannot be made.
        """
        if not self._leadership.acquire(self._stop, self._pulse):
            self.runtime.close()
            return
        self.runtime.keeps_ticks = True
        ear = Ear(str(self.runtime.root))
        self.runtime.watch = Watch(ear)
        self.runtime.stops = Stops(self.runtime.watch.ring)
        try:
            self._serve()
        finally:
            ear.close()
            self._leadership.release(self._boards_or_none(), self._reason)
            self.runtime.watch.close()
            self.runtime.watch = None
            self.runtime.manager.tell("kanban_gateway_shutdown", runtime=self.runtime, reason=self._reason)

    def _serve(self) -> None:
        self._leadership.note_tick(self._boards())
        if self._leadership.follows_crash:
            log.info(entry("ramp", "the dispatcher before this one crashed; workers come back step by step"))
            self._ramp = Ramp(self.runtime.clock.monotonic())
        self.runtime.manager.tell("kanban_gateway_startup", runtime=self.runtime)
        self._greet_new_boards()
        while not self._stop.is_set() and self._is_its_program_there():
            self._serve_once()
        while (self.drains or self.stops_workers) and self._running() and not self._hurry.is_set():
            if self.stops_workers:
                self._stop_workers()  # again each time: a launch may have been accepted since
            self._serve_once(may_start=False)

    def _is_its_program_there(self) -> bool:
        """Look before each tick: what would be started from other files is not ours, and whoever started us knows."""
        if self.runtime.has_own_program():
            return True
        words = "the plugin was upgraded or removed under this dispatcher, which ends and counts nothing as a failure"
        log.warning(entry("stop", words))
        self.stop("its files were replaced or removed")
        return False

    def _serve_once(self, *, may_start: bool = True) -> None:
        """Tick every board, then sleep until something happens."""
        self._pulse()
        self.runtime.reload()
        boards, everywhere = self._boards(), locations.serving_boards(self.runtime.root)
        self.runtime.keep_only([*boards, *everywhere])
        before = self._versions(boards)
        slots, full = self._slots(), self._is_full()
        reports = tick_all(self.runtime, boards, may_start=may_start, slots=slots, full=full, counted=everywhere)
        shut = {report.board for report in reports if report.locked_out}
        self._leadership.note_tick([location for location in boards if location.slug not in shut])
        self._greet_new_boards()
        if self._ramp is not None:
            self._ramp.note(sum(len(report.started) for report in reports))
        self._publish(reports)
        # A change during the tick, our own or another's, is looked at at once; an idle tick changes nothing.
        if self._versions(boards) != before:
            self._wait(PAUSE_SECONDS)
        else:
            self._sleep(boards, before)

    def _greet_new_boards(self) -> None:
        """Say what is going to start on boards that we never served before, and start a backlog step by step."""
        for location in self._leadership.take_new():
            try:
                waiting = startable(self.runtime, self.runtime.open(location))
            except (KanbanError, ValidationError, sqlite3.Error) as problem:
                self.runtime.complain("count_failed", problem, location.slug)
                continue
            if waiting > 1:
                words = f"{waiting} tasks are waiting; they are started ramped: 1, 2, 4 …"
                log.warning(entry("ramp", words, board=location.slug, waiting=waiting))
                self._ramp = self._ramp or Ramp(self.runtime.clock.monotonic())

    def _publish(self, reports: list[TickReport]) -> None:
        """Log what was done and hand the reports on; an output that is full or closed must not end the dispatcher."""
        for report in reports:
            for line in entries_of(report):
                log.info(line)
        if self._listener is None:
            return
        try:
            self._listener(reports)
        except BlockingIOError:
            log.debug("reports were dropped, because nobody reads them just now")
        except OSError as problem:
            log.warning("reports are not written any more: %s", problem)
            self._listener = None

    def _slots(self) -> int | None:
        if self._ramp is None:
            return None
        slots = self._ramp.slots(self.runtime.clock.monotonic())
        if slots is None:
            self._ramp = None
        return slots

    def _is_full(self) -> bool:
        """Say whether this tick is the timed full sweep."""
        now = self.runtime.clock.monotonic()
        due = self._swept is None or now - self._swept >= self.runtime.settings.host.dispatch_interval_seconds
        if due:
            self._swept = now
        return due

    def _sleep(self, boards: list[BoardLocation], before: dict[str, int]) -> None:
        clock, poll = self.runtime.clock, self.runtime.settings.plugin.poll_seconds
        until = clock.monotonic() + GLANCE_SECONDS
        while not self._hurry.is_set() and clock.monotonic() < until:
            if self._wait(poll) or self._versions(boards) != before:
                return

    def _wait(self, seconds: float) -> bool:
        assert self.runtime.watch is not None
        return self.runtime.watch.wait(seconds)

    def _boards(self) -> list[BoardLocation]:
        if self._board is not None:
            return [locations.locate_existing(self._board)]
        return locations.serving_boards(self.runtime.root)

    def _boards_or_none(self) -> list[BoardLocation]:
        try:
            return self._boards()
        except KanbanError:
            return []  # the board was removed while it was served

    def _versions(self, boards: list[BoardLocation]) -> dict[str, int]:
        found = {}
        for location in boards:
            try:
                found[str(location.database)] = self.runtime.open(location).data_version()
            except (KanbanError, ValidationError, sqlite3.Error) as problem:
                log.debug("board %s cannot be watched: %s", location.slug, problem)
                self.runtime.forget(location.database)
        return found

    def _running(self) -> list[HeldRun]:
        """Return the supervised runs on all boards."""
        found: list[HeldRun] = []
        for location in self._boards_or_none():
            try:
                held = queries.held_runs(self.runtime.open(location).writer)
            except (KanbanError, ValidationError, sqlite3.Error) as problem:
                log.warning(entry("wait_failed", str(problem), board=location.slug))
                continue
            found += [run for run in held if run.supervised]
        return found

    def _stop_workers(self) -> None:
        """Tell every supervisor of this machine to stop its worker and release its task; each is proven first."""
        for run in self._running():
            supervisor = run.supervisor
            if supervisor is None:
                continue
            seen = identity.sight(supervisor.pid, run.lock)
            if identity.judge(supervisor, identity.here(), seen) is Verdict.ALIVE:
                with suppress(ProcessLookupError):
                    os.kill(supervisor.pid, signal.SIGTERM)
