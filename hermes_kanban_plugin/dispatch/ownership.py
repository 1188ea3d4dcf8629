"""May this caller touch this task: pure rules over what its environment says and over where its process stands.

The environment says which run it is, and every write is fenced by that. But whatever a worker starts inherits its
environment, so a nested agent could speak in its name; therefore the caller must also be the recorded worker process.
Rule source: contract section 6 (ownership rule), failure modes A9, A13.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from hermes_kanban_plugin.errors import CallerMistake, ForeignTask, MalformedEnvironment
from hermes_kanban_plugin.identity import Verdict
from hermes_kanban_plugin.store.leases import Lease

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping


MAX_RUN_ID_DIGITS = 19
# Names the process that is the agent of this environment. It is set by the agent itself when it starts
# (worker/guard.py), because the recorded process may be a wrapper that started it.
AGENT_VARIABLE = "HERMES_KANBAN_AGENT_PID"
PROCESS, TREE = "process", "tree"


class Vote(NamedTuple):
    """One voice on whether a call is allowed."""

    allowed: bool
    reason: str = ""


ALLOW = Vote(True)


class Caller(NamedTuple):
    """Who calls: the task, run and lock that its environment names (as text, unchecked), its profile and its pid.

    ``agent`` is the pid of the agent that this environment was made for, as text, empty when nobody said.
    """

    task_id: str
    run_id: str
    lock: str
    profile: str
    pid: int
    agent: str = ""

    @property
    def is_agent(self) -> bool:
        """Whether this environment names no other process as its agent."""
        return self.agent in ("", str(self.pid))

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
        agent=environment.get(AGENT_VARIABLE, "").strip(),
    )


class Holder(NamedTuple):
    """The worker that is recorded for a run, as it is seen from the caller's process.

    ``pid`` is None when no process is recorded. ``verdict`` is UNKNOWN when it is recorded on another machine, boot or
    pid namespace, so that nothing can be compared.
    """

    pid: int | None
    verdict: Verdict


NOBODY = Holder(None, Verdict.UNKNOWN)


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


def process_vote(caller: Caller, holder: Holder, above: Collection[int], mode: str) -> Vote:
    """Return the vote on a worker's process: it must be the recorded one, or by ``mode`` one of its tree.

    In ``process`` mode the agent below a recorded wrapper is allowed too: it says so in the environment that it hands
    down, so that whatever it starts can be told from it. Where nothing is recorded, the fence of run and lock decides.

    Args:
        caller: a worker.
        holder: what is recorded.
        above: the pids that the caller stands below: its ancestors, and the leader of its session.
        mode: ``process`` or ``tree``.
    """
    if holder.pid is None:
        return ALLOW
    if holder.verdict is Verdict.UNKNOWN:
        return ALLOW if mode == TREE or caller.is_agent else _not_the_worker(caller, holder)
    if holder.verdict is Verdict.ALIVE:
        below = holder.pid in above
        if caller.pid == holder.pid or (below and (mode == TREE or caller.agent == str(caller.pid))):
            return ALLOW
    return _not_the_worker(caller, holder)


def _not_the_worker(caller: Caller, holder: Holder) -> Vote:
    which = f"process {holder.pid}" if caller.is_agent else f"process {caller.agent}"
    return Vote(
        False,
        f"process {caller.pid} carries the environment of task {caller.task_id}, run {caller.run_id}, but is not its "
        f"worker ({which} is); nothing was changed. A nested chat, cron job or command cannot speak for the worker: "
        "call the kanban tool in the worker itself, or allow its children with the setting ownership: tree",
    )
