"""Reporting what a worker does to its board: seldom, fenced, and never in the way of the work.

The host's calls arrive in many threads; whoever finds another one writing goes on without waiting.
"""

from __future__ import annotations

import logging
import sqlite3
import threading
from typing import TYPE_CHECKING, Any

from hermes_kanban_plugin.clock import Clock
from hermes_kanban_plugin.errors import BoardUnusable, CallerMistake
from hermes_kanban_plugin.worker import activity, assignment
from hermes_kanban_plugin.worker.activity import Activity
from hermes_kanban_plugin.worker.assignment import Progress
from hermes_kanban_plugin.worker.usage import Usage

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hermes_kanban_plugin.worker.assignment import Assignment

log = logging.getLogger(__name__)

# A worker in the middle of an answer does not wait long for the board.
BUSY_SECONDS = 5.0


class Reporter:
    """What one worker process did, and when it told the board."""

    def __init__(self, mine: Assignment, clock: Clock | None = None) -> None:
        self._assignment = mine
        self._clock = clock or Clock()
        self._activity = Activity(self._clock.now())
        self._remembering = threading.Lock()
        self._writing = threading.Lock()
        self._superseded = False
        self._usage = self._told_usage = Usage()

    @property
    def activity(self) -> Activity:
        """What the worker did so far."""
        return self._activity

    def describe(self, description: str) -> None:
        """Take note of what the host says it is doing; never raises."""
        if activity.is_work(str(description)):
            self.report()

    def call_ended(self, tool: str, arguments: Mapping[str, Any] | None) -> None:
        """Take note of a tool call that came back; never raises."""
        try:
            with self._remembering:
                self._activity = activity.after_call(self._activity, tool, arguments, self._clock.now())
        except Exception as problem:  # noqa: BLE001 - isolation edge: strange arguments must not break the agent's loop
            log.debug("a call of %s is not counted: %s", tool, problem)
        self.report()

    def answered(self, usage: Any) -> None:
        """Take note of what an answer of a model cost; never raises."""
        with self._remembering:
            self._usage = self._usage.plus(usage)

    def process_ends(self) -> None:
        """Tell the board what was used since it was told last, because this process ends; never raises."""
        used = self._usage
        if used == self._told_usage:
            return
        try:
            assignment.note_usage(self._assignment, used)
            self._told_usage = used
        except Exception as problem:  # noqa: BLE001 - isolation edge: the process ends in any case
            log.info("the last tokens were not noted: %s", problem)

    def report(self) -> None:
        """Tell the board that the worker lives, if it was not told lately; never raises."""
        if not self._is_due() or not self._writing.acquire(blocking=False):
            return
        try:
            if self._is_due():
                written = self._write()
                with self._remembering:
                    self._activity = activity.after_write(self._activity, self._clock.monotonic(), written=written)
        finally:
            self._writing.release()

    def _is_due(self) -> bool:
        return not self._superseded and activity.is_due(self._activity, self._clock.monotonic())

    def _write(self) -> bool:
        seen, used = self._activity, self._usage
        progress = Progress(seen.progress_at, seen.repeated_calls)
        now, alive = self._clock.now(), not seen.is_looping
        try:
            assignment.beat(self._assignment, progress, now, alive=alive, busy_seconds=BUSY_SECONDS, usage=used)
            self._told_usage = used
        except CallerMistake as refusal:
            self._superseded = True
            log.warning("no more heartbeats: %s", refusal)
        except (sqlite3.Error, BoardUnusable) as problem:
            log.info("no heartbeat now, another one follows: %s", problem)
            return False
        except Exception as problem:  # noqa: BLE001 - isolation edge: a report must not break the agent's loop
            log.warning("no heartbeat now, another one follows: %s", problem)
            return False
        return True
