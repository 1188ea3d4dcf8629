"""What becomes of a run whose owner may be gone: verdicts in, action out, no I/O.

Only what is proven dead is taken back at once. What is unknown waits for its lease; what lives is left alone or
stopped first. Rule source: DESIGN.md section 2, anchors section 3, contract W3, W4, W15, W17.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple

from hermes_kanban_plugin.identity import Verdict

if TYPE_CHECKING:
    from hermes_kanban_plugin.models import HeldRun


class Deed(StrEnum):
    """What to do with a suspect."""

    KEEP = "keep"
    RESCUE = "rescue"
    STOP = "stop"
    COUNT = "count"


class Orphan(NamedTuple):
    """A run under suspicion, with the verdicts on its supervisor and its worker."""

    run: HeldRun
    supervisor: Verdict
    worker: Verdict

    def patience(self, lease_seconds: int) -> int:
        """Return how many seconds apart two sweeps must be that agree before anything is done; 0 for no doubt.

        A supervisor that lives renews after a third of the lease; one that does not is frozen, or was asleep with
        its machine a moment ago.
        """
        if self.run.accepted_at is None:
            return 0
        if self.supervisor is Verdict.ALIVE:
            return lease_seconds // 3 + FROZEN_MARGIN_SECONDS
        return 1 if Verdict.UNKNOWN in (self.supervisor, self.worker) else 0


class Action(NamedTuple):
    """The decision: keep it, rescue it, stop its processes first, or rescue it as a counted failure; and why.

    ``outcome`` is the host's word for the end of the run; ``crashed``, ``timed_out`` and ``spawn_failed`` count as the
    task's failure.
    """

    deed: Deed
    reason: str = ""
    outcome: str = "reclaimed"


FROZEN_MARGIN_SECONDS = 2
CLOCK_MARGIN_SECONDS = 5
SILENCE_SECONDS = 3600  # the host's own rule for a worker that has beaten before (contract section 4)
KEEP = Action(Deed.KEEP)


def decide(orphan: Orphan, now: int) -> Action:
    """Decide what becomes of a run that holds a task.

    Args:
        orphan: the run with its verdicts.
        now: epoch seconds.
    """
    run = orphan.run
    if not run.supervised:
        return _decide_foreign(orphan, now)
    if run.accepted_at is None:
        late = run.launch_deadline is not None and not _is_launching(run, now)
        return Action(Deed.RESCUE, "its supervisor never accepted the claim in time") if late else KEEP
    if orphan.supervisor is Verdict.ALIVE:
        frozen = "its supervisor lives but does not renew the lease; it was stopped with its worker"
        return Action(Deed.STOP, frozen) if _expired(run, now) else KEEP
    if orphan.supervisor is Verdict.DEAD:
        return _decide_abandoned(orphan, now)
    return (
        Action(Deed.RESCUE, "its lease ended and its supervisor cannot be seen from here")
        if _expired(run, now)
        else KEEP
    )


def _decide_abandoned(orphan: Orphan, now: int) -> Action:
    """Decide on a run whose supervisor is dead: its worker may not go on unwatched."""
    if orphan.worker is Verdict.ALIVE:
        return Action(Deed.STOP, "its supervisor died; the worker it left behind was stopped")
    if orphan.worker is Verdict.DEAD:
        return Action(Deed.RESCUE, "its supervisor and its worker died")
    return Action(Deed.RESCUE, "its supervisor died and its lease ended") if _expired(orphan.run, now) else KEEP


def _decide_foreign(orphan: Orphan, now: int) -> Action:
    """Decide on a run that we did not start: by a terminal, or by the host's own dispatcher (a bare pid)."""
    run = orphan.run
    if orphan.worker is Verdict.DEAD:
        reason = f"pid {run.task_worker_pid} not alive"
        # Without a run there is nothing to book a failure on.
        return Action(Deed.COUNT, reason, "crashed") if run.run_id else Action(Deed.RESCUE, reason)
    if orphan.worker is Verdict.UNKNOWN and _expired(run, now):
        return Action(Deed.RESCUE, "its lease ended without a sign of life")
    limit, started = run.max_runtime_seconds, run.started_at
    if orphan.worker is Verdict.ALIVE and limit and started and now - started >= limit:
        return Action(Deed.STOP, f"ran {now - started} s, longer than its limit of {limit} s", "timed_out")
    beat = run.last_heartbeat_at
    if orphan.worker is Verdict.ALIVE and _expired(run, now) and beat and now - beat > SILENCE_SECONDS:
        return Action(Deed.STOP, f"alive, but without a sign of life for {now - beat} s; it was stopped")
    return KEEP


def overstays(orphan: Orphan, now: int, patience: int) -> bool:
    """Say whether a closed run's processes should be gone by now and are not: nobody else ends them."""
    if Verdict.ALIVE not in (orphan.supervisor, orphan.worker):
        return False
    closed = orphan.run.closed_at or orphan.run.accepted_at or now
    return orphan.supervisor is Verdict.DEAD or not closed <= now < closed + patience


def has_gone(orphan: Orphan, now: int, lease_seconds: int) -> bool:
    """Say whether nothing is left of a closed run's processes, as far as anybody can know.

    A supervisor that cannot be seen stops its worker itself when it cannot renew, so it is given one lease.
    """
    if Verdict.ALIVE in (orphan.supervisor, orphan.worker):
        return False
    if orphan.supervisor is orphan.worker is Verdict.DEAD:
        return True
    return now >= (orphan.run.closed_at or orphan.run.accepted_at or now) + lease_seconds


def _is_launching(run: HeldRun, now: int) -> bool:
    """Say whether a claim may still be accepted; a clock that was set back since does not make it wait for hours."""
    return (run.claimed_at or now) - CLOCK_MARGIN_SECONDS <= now < (run.launch_deadline or now)


def _expired(run: HeldRun, now: int) -> bool:
    return run.claim_expires is None or now >= run.claim_expires
