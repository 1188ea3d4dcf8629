"""What the tests of failure accounting share: how runs end, told to the store like a supervisor would."""

from __future__ import annotations

from hermes_kanban_plugin.breaker import Terms
from hermes_kanban_plugin.causes import Cause
from hermes_kanban_plugin.store import outcomes
from hermes_kanban_plugin.store.leases import Lease
from hermes_kanban_plugin.store.outcomes import ExitFacts, Failure, Handoff


def fail(
    desk, lease: Lease, cause: Cause = Cause.CRASHED, error: str = "exit 7", terms: Terms | None = None,
    output: str | None = None,
) -> str:  # fmt: skip
    """End a run as a failure; returns the task's status."""
    failure = Failure(cause, error, {}, terms or Terms(), output)
    status = outcomes.fail(desk.writer, lease, failure, desk.now)
    outcomes.record_exit(desk.writer, lease, ExitFacts(1, last_output=output), desk.now)
    return status


def finish(desk, lease: Lease) -> None:
    """Complete a run."""
    desk.board.complete_run(lease, Handoff("done"))


def interrupt(desk, lease: Lease, cause: Cause = Cause.INTERRUPTED) -> None:
    """End a run that nobody is to blame for."""
    outcomes.release(desk.writer, lease, cause, "stop", {}, desk.now)


def refuse(desk, lease: Lease, terms: Terms | None = None) -> int:
    """End a run because the provider refused; returns until when the task waits."""
    outcomes.release(desk.writer, lease, Cause.RATE_LIMITED, "try later", {}, desk.now, terms or Terms())
    return desk.known_run(lease.run_id)["retry_at"]
