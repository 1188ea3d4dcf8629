"""May this caller touch this task: pure rules over what the caller's environment says.

Rule source: contract section 6 (ownership rule), failure modes A9, A13.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from hermes_kanban_plugin.errors import CallerMistake, ForeignTask, MalformedEnvironment
from hermes_kanban_plugin.store.leases import Lease

if TYPE_CHECKING:
    from collections.abc import Mapping


MAX_RUN_ID_DIGITS = 19


class Vote(NamedTuple):
    """One voice on whether a call is allowed."""

    allowed: bool
    reason: str = ""


ALLOW = Vote(True)


class Caller(NamedTuple):
    """Who calls: the task, run and lock that its environment names (as text, unchecked), its profile and its pid."""

    task_id: str
    run_id: str
    lock: str
    profile: str
    pid: int

    @property
    def is_worker(self) -> bool:
        """Whether a dispatcher started this process, or an ancestor of it, for a task."""
        return bool(self.task_id)

    @property
    def lease(self) -> Lease:
        """The lease that the caller has to present with every write.

        Raises:
            MalformedEnvironment: the environment does not say which run it is.
        """
        well_formed = self.run_id.isascii() and self.run_id.isdigit() and len(self.run_id) <= MAX_RUN_ID_DIGITS
        if not (well_formed and 0 < int(self.run_id) < 2**63):
            raise MalformedEnvironment("HERMES_KANBAN_RUN_ID", self.run_id)
        if not self.lock.strip():
            raise MalformedEnvironment("HERMES_KANBAN_CLAIM_LOCK", self.lock)
        return Lease(self.task_id, int(self.run_id), self.lock)


def caller_of(environment: Mapping[str, str], pid: int) -> Caller:
    """Read the caller from its environment."""
    return Caller(
        task_id=environment.get("HERMES_KANBAN_TASK", "").strip(),
        run_id=environment.get("HERMES_KANBAN_RUN_ID", "").strip(),
        lock=environment.get("HERMES_KANBAN_CLAIM_LOCK", ""),
        profile=environment.get("HERMES_PROFILE", "").strip() or "worker",
        pid=pid,
    )


def vote(caller: Caller, task_id: str) -> Vote:
    """Return the built-in vote: a worker may touch its own task and must say which run it is; others are people."""
    if not caller.is_worker:
        return ALLOW
    try:
        if task_id != caller.task_id:
            raise ForeignTask(caller.task_id, task_id)
        caller.lease  # noqa: B018 - looking at it is the check
    except CallerMistake as mistake:
        return Vote(False, str(mistake))
    return ALLOW
