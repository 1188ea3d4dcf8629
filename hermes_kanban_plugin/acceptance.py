"""What stands between "I am done" and done: the goal's judge, the checks that the card declares, a negative verdict.

They count for workers. A person who completes a task has looked at it. Rule source: failure modes D4, D8, J4.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hermes_kanban_plugin import checks, host
from hermes_kanban_plugin.errors import CheckFailed, InvalidArgument, Superseded
from hermes_kanban_plugin.rules import first_line, negative_verdict
from hermes_kanban_plugin.store import journal, leases, queries
from hermes_kanban_plugin.store.transaction import immediate
from hermes_kanban_plugin.toolkit import clean

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hermes_kanban_plugin.toolkit import Call

UNVERIFIED = "completion_unverified"


def ask_judge(call: Call, answer: str) -> dict[str, Any]:
    """Return what the run's metadata says about the judge of a goal; that he was not asked is kept too (D8).

    Raises:
        InvalidArgument: he objects.
    """
    if not call.task.goal_mode:
        return {}
    found = host.judge_goal(f"{call.task.title}\n\n{call.task.body or ''}".strip(), answer)
    if found.objection is not None:
        raise InvalidArgument(
            f"the goal's judge does not agree yet: {found.objection}. Give evidence for the task's criteria in the "
            f"summary, or create follow-up tasks with parents=[{call.task.id}] and go on"
        )
    return {"goal_verified": True} if found.unasked is None else {"goal_verified": False, "unverified": found.unasked}


def try_checks(call: Call, summary: str | None) -> list[str]:
    """Return the declared checks that fail; the first time in a run they are the worker's to put right.

    Raises:
        CheckFailed: it is the first time.
    """
    wanted = checks.declared(call.task.body) if call.lease is not None else []
    if not wanted or call.lease is None:
        return []
    commands = {name: checks.Command(one.command, one.seconds) for name, one in call.settings().checks.items()}
    workspace = Path(call.task.workspace_path or ".")
    shortfalls = [clean(str(one)) or "" for one in checks.unmet(wanted, workspace, commands, os.environ)]
    first = False
    if not shortfalls:
        return []
    with suppress(Superseded), immediate(call.board.writer) as writer:  # what was too late is kept like all that is
        leases.current(writer, call.lease)
        said = {"failed": shortfalls, "summary_preview": first_line(summary, 200)}
        first = not journal.happened(writer, call.task.id, UNVERIFIED, call.lease.run_id)
        journal.append(writer, call.task.id, UNVERIFIED, said, call.board.clock.now(), call.lease.run_id)
    if first:
        raise CheckFailed(shortfalls)
    return shortfalls


def reason_to_withhold(
    call: Call, shortfalls: Sequence[str], metadata: Mapping[str, Any], summary: str | None
) -> str | None:
    """Return why a worker's completion has to wait for a person, or None (failure modes D4, J4)."""
    said = first_line(summary, 200)
    if shortfalls:
        return f"done, but not verified: {'; '.join(shortfalls)}. The worker says: {said}"
    verdict = negative_verdict(metadata)
    waiting = queries.unfinished_children(call.board.reader, call.task.id) if verdict else []
    if not waiting:
        return None
    held = f"{len(waiting)} task{'s' if len(waiting) > 1 else ''} behind it {'are' if len(waiting) > 1 else 'is'} held"
    return f"its verdict is {verdict}, so {held}: {said}"
