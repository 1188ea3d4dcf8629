"""The agent tool kanban_block: stop, say why, and let the reason decide where the task goes."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, field_validator

from hermes_kanban_plugin import rules
from hermes_kanban_plugin.errors import InvalidArgument
from hermes_kanban_plugin.toolkit import Call, Text, Tool, ToolArguments, clean


class Arguments(ToolArguments):
    """What kanban_block takes (contract section 6)."""

    reason: Text = Field(description="What you need, or what stopped you, in one or two sentences for a person.")
    kind: Literal["dependency", "needs_input", "capability", "transient"] | None = Field(
        None,
        description=(
            "Why: 'dependency' waits for the task's parents and resumes by itself, the others wait for a person. "
            "Leave it out only if none fits."
        ),
    )

    @field_validator("reason")
    @classmethod
    def _require_reason(cls, reason: str) -> str:
        if not reason.strip():
            raise ValueError("a reason is required; say what you need")
        return reason


def block(call: Call, arguments: Arguments) -> dict[str, Any]:
    """End the run and park the task.

    Raises:
        InvalidArgument: a goal-mode task may only wait for a dependency or for input.
        Superseded: the worker's run is not current any more.
        WrongState: the task is neither running nor ready (callers that are not workers).
    """
    task, kind = call.task, arguments.kind
    if task.goal_mode and kind not in rules.GOAL_MODE_BLOCK_KINDS:
        raise InvalidArgument(
            f"a goal_mode task can only be blocked with kind in {list(rules.GOAL_MODE_BLOCK_KINDS)} (got {kind!r}); if "
            "it is finished or cannot go on, call kanban_complete and let the judge decide"
        )
    reason = clean(arguments.reason) or ""
    if call.lease is not None:
        status, run_id = call.board.block_run(call.lease, reason, kind), call.lease.run_id
    else:
        status = call.board.block(task.id, reason, kind, call.caller.profile)
        run_id = call.board.runs(task.id)[-1].id
    call.fire(
        "kanban_task_blocked",
        task_id=task.id,
        board=call.board.slug,
        assignee=task.assignee,
        run_id=run_id,
        reason=reason,
    )
    return {"task_id": task.id, "run_id": run_id, "status": status, "block_kind": kind}


TOOL = Tool(
    name="kanban_block",
    description=(
        "Stop working on this task because you cannot go on, and say why. With kind 'dependency' it waits for its "
        "parent tasks and resumes by itself; with 'needs_input' (a decision or an answer), 'capability' (no access, "
        "no credentials) or 'transient' (a failure that may pass) it waits for a person. A task that is blocked "
        "again for the same reason goes to triage. Do not block on what you can solve yourself."
    ),
    arguments=Arguments,
    handler=block,
    emoji="⏸",
)
