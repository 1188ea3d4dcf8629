"""How a worker's run ends without the model saying so: its provider refuses, or its iteration budget is used up."""

from __future__ import annotations

import logging
import sqlite3
import threading
from typing import TYPE_CHECKING, Any

from hermes_kanban_plugin.breaker import Terms
from hermes_kanban_plugin.clock import Clock
from hermes_kanban_plugin.errors import BoardUnusable, CallerMistake
from hermes_kanban_plugin.worker import assignment, subagents

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from hermes_kanban_plugin.quota import Refusal
    from hermes_kanban_plugin.worker.assignment import Assignment

log = logging.getLogger(__name__)


class Endings:
    """What this worker knows about its own end."""

    def __init__(self, mine: Assignment, clock: Clock | None = None) -> None:
        self._assignment = mine
        self._clock = clock or Clock()
        self._refusal: Refusal | None = None
        # The host tells both in the thread of the request that failed.
        self._told = threading.local()

    def is_mine(self, task_id: str) -> bool:
        """Say whether this process was started for a task."""
        return task_id == self._assignment.lease.task_id

    def reset_told(self, reset: Any) -> None:
        """Take note of when the provider serves again, in any form, before its refusal is told."""
        self._told.reset = reset

    def provider_refused(self, status_code: Any, reason: Any, message: str) -> None:
        """Take note of a failed request; only the last one counts, and only if it is for a limit or for credit."""
        from hermes_kanban_plugin import quota, redaction  # late, both: few workers are ever refused

        reset, self._told.reset = getattr(self._told, "reset", None), None
        if not quota.is_limit(status_code, reason):
            self._refusal = None  # whatever was refused before, this is what the worker ends of now
            return
        text = message or f"status {status_code}, {reason}"
        self._refusal = quota.refusal(redaction.redact(text), reset, self._clock.now())

    def provider_answered(self) -> None:
        """Take note that the provider serves (again)."""
        self._refusal = None

    def process_ends(self) -> None:
        """Give the task back until the provider serves, if that is why this process ends; never raises.

        A worker that completed or blocked its task has nothing left to give back.
        """
        if self._refusal is None:
            return
        error = f"the provider refused, try again later: {self._refusal.error}"
        try:
            assignment.release_limited(self._assignment, error, self._refusal.retry_at, _terms(), self._clock.now())
        except CallerMistake as refusal:
            log.debug("nothing to give back: %s", refusal)
        except (sqlite3.Error, BoardUnusable) as problem:
            log.warning("the task was not given back as rate limited: %s", problem)

    def budget_exhausted(self, error: str, payload: Mapping[str, Any]) -> bool:
        """Book a used-up iteration budget as a counted failure of this run; says whether the task is given up.

        Raises:
            sqlite3.Error: the board could not be written; the host logs it.
            BoardUnusable: likewise.
        """
        if subagents.is_ending():
            log.info("the used-up iteration budget is that of a subagent, and not the task's: %s", error)
            return False
        try:
            return assignment.fail_budget(self._assignment, error, payload, _terms(), self._clock.now())
        except CallerMistake as refusal:
            log.warning("the used-up iteration budget was not booked: %s", refusal)
            return False

    def goal_given_up(self, block: Callable[[int], bool]) -> bool:
        """Block the task for a goal that was not reached, by ``block`` and as this run only; says whether it was ended.

        While the provider refuses, no turn could reach anything: the task waits for the provider then, and not for a
        person.
        """
        if self._refusal is None:
            return block(self._assignment.lease.run_id)
        self.process_ends()
        return True


def _terms() -> Terms:
    try:
        from hermes_kanban_plugin import configuration, locations  # late: once in a worker's life at most

        return configuration.load_or_default(locations.kanban_root()).failure_terms
    except Exception as problem:  # noqa: BLE001 - isolation edge: the failure is booked whatever the settings say
        log.warning("the default terms count, the settings cannot be read: %s", problem)
        return Terms()
