"""The agent tool kanban_heartbeat: proof of life that extends the lease in the same transaction."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from hermes_kanban_plugin.errors import WrongState
from hermes_kanban_plugin.models import TERMINAL
from hermes_kanban_plugin.store.leases import Lease
from hermes_kanban_plugin.toolkit import Call, Text, Tool, ToolArguments, clean


class Arguments(ToolArguments):
    """What kanban_heartbeat takes (contract section 6)."""

    note: Text | None = Field(None, description="A short note on the progress, shown in the task's history.")


def beat(call: Call, arguments: Arguments) -> dict[str, Any]:
    """Record life and extend the lease.

    A worker presents its own lease; a person or orchestrator beats for whichever run holds the task, which is what a
    terminal that claimed a task does (contract W16).

    Raises:
        Superseded: the worker's run is not current any more.
        WrongState: nobody works on the task.
    """
    lease = call.lease or _current_lease(call)
    call.board.heartbeat(lease, _seconds(call), clean(arguments.note))
    return {"task_id": call.task.id}


def _seconds(call: Call) -> int:
    """Return how long the lease lasts from now: a terminal's claim keeps the length it was taken with."""
    run = call.board.held_run(call.task.id) if call.lease is None else None
    if run is not None and run.lane == TERMINAL and run.launch_deadline and run.claimed_at:
        return run.launch_deadline - run.claimed_at
    return call.settings().lease_seconds


def _current_lease(call: Call) -> Lease:
    task = call.task
    if task.status != "running" or not task.current_run_id or not task.claim_lock:
        raise WrongState(task.id, "heartbeat", task.status, "a running task")
    return Lease(task.id, task.current_run_id, task.claim_lock)


TOOL = Tool(
    name="kanban_heartbeat",
    description=(
        "Say that you are still working during a long operation, every few minutes. It extends your lease on the "
        "task, so that nobody takes it for abandoned. It changes nothing else. If it answers that your run was "
        "superseded, stop working on the task."
    ),
    arguments=Arguments,
    handler=beat,
    emoji="💓",
)
