"""The agent tool kanban_complete: hand the finished work over."""

from __future__ import annotations

import json
import logging
import os
import sqlite3
from typing import TYPE_CHECKING, Any

from pydantic import Field

from hermes_kanban_plugin import acceptance, artifacts, host, redaction, testpoints
from hermes_kanban_plugin.errors import CompletionKept, InvalidArgument, KanbanError, PhantomCards, Superseded
from hermes_kanban_plugin.models import MAX_TEXT
from hermes_kanban_plugin.rules import first_line
from hermes_kanban_plugin.store import completions, journal, leases, queries
from hermes_kanban_plugin.store.outcomes import Handoff
from hermes_kanban_plugin.store.transaction import immediate
from hermes_kanban_plugin.toolkit import Call, Text, TextList, Tool, ToolArguments, clean

if TYPE_CHECKING:
    from hermes_kanban_plugin.artifacts import Preserved
    from hermes_kanban_plugin.store.leases import Lease

log = logging.getLogger(__name__)


class Arguments(ToolArguments):
    """What kanban_complete takes (contract section 6)."""

    summary: Text | None = Field(
        None, description="What you did, in one to three sentences, for people and for the tasks that follow."
    )
    metadata: dict[str, Any] | None = Field(
        None, description="Facts about this attempt for machines, such as changed files, tests run or findings."
    )
    result: Text | None = Field(None, description="A short result line; prefer summary.")
    created_cards: TextList | None = Field(
        None, description="Ids of the tasks you created during this run, as kanban_create returned them; checked."
    )
    artifacts: TextList | None = Field(
        None,
        description=(
            "Absolute paths of the files you deliver. They must exist; files in a scratch workspace are copied to the "
            "task's attachments before the workspace is removed."
        ),
    )


def complete(call: Call, arguments: Arguments) -> dict[str, Any]:
    """Finish the task.

    Raises:
        InvalidArgument: neither summary nor result, or the goal's judge objects.
        CheckFailed: a check that the card declares did not pass, for the first time in this run; noted in the history.
        PhantomCards: a created card does not exist or is somebody else's; noted in the history.
        ArtifactNotPreserved: a declared file could not be kept; the task stays as it is.
        CompletionKept: the worker's run was closed just before; a person decides about the hand-off.
        Superseded: the worker's run is not current any more.
        WrongState: the task cannot be completed from where it is (callers that are not workers).
    """
    task = call.task
    summary, result = clean(arguments.summary), clean(arguments.result)
    if not (summary or result):
        raise InvalidArgument("give at least one of summary (preferred) and result")
    metadata = _metadata(call, arguments) | acceptance.ask_judge(call, summary or result or "")
    verified = _verify_cards(call, arguments, summary or result)
    shortfalls = acceptance.try_checks(call, summary or result)
    reason = acceptance.reason_to_withhold(call, shortfalls, metadata, summary or result)
    promised = _promised_files(call, arguments, metadata, f"{summary or ''}\n{result or ''}")
    kept = artifacts.preserve(promised, task, call.board.location, dry_run=call.board.is_rehearsal)
    if kept.paths:
        metadata["artifacts"] = kept.paths
    handoff = Handoff(summary, result, metadata or None, verified, kept.copies)
    testpoints.reach("tool.before_complete")
    try:
        if call.lease is not None and reason is not None:
            return _withhold(call, call.lease, handoff, reason)
        run_id = _finish(call, handoff)
    except Superseded as refusal:
        if call.lease is not None and call.board.keep_completion(call.lease, handoff):
            raise CompletionKept(task.id, call.lease.run_id) from refusal
        _discard(call, kept)
        raise
    except BaseException:
        _discard(call, kept)
        raise
    _tidy(call)
    call.fire(
        "kanban_task_completed",
        task_id=task.id,
        board=call.board.slug,
        assignee=task.assignee,
        run_id=run_id,
        summary=summary or result,
    )
    return {"task_id": task.id, "run_id": run_id}


def _discard(call: Call, kept: Preserved) -> None:
    if not call.board.is_rehearsal:  # which copied nothing: what stands there is somebody else's
        kept.discard()


def _tidy(call: Call) -> None:
    """Remove workspaces that nobody needs; the task is done whatever happens here, and the next tick tries again."""
    try:
        call.board.tidy()
    except (KanbanError, sqlite3.Error, OSError) as problem:
        log.warning("workspaces were not removed, the next tick does it: %s", problem)


def _finish(call: Call, handoff: Handoff) -> int | None:
    if call.lease is not None:
        call.board.complete_run(call.lease, handoff)
        return call.lease.run_id
    call.board.complete(call.task.id, handoff, call.caller.profile)
    runs = call.board.runs(call.task.id)
    return runs[-1].id if runs else None


def _withhold(call: Call, lease: Lease, handoff: Handoff, reason: str) -> dict[str, Any]:
    """End the run and leave the hand-off to a person; the worker is told that it is done."""
    completions.withhold(call.board.writer, lease, handoff, reason, call.board.clock.now())
    call.fire(
        "kanban_task_blocked", task_id=lease.task_id, board=call.board.slug, assignee=call.task.assignee,
        run_id=lease.run_id, reason=reason,
    )  # fmt: skip
    return {"task_id": lease.task_id, "run_id": lease.run_id, "status": "blocked", "withheld": reason}


def _verify_cards(call: Call, arguments: Arguments, summary: str | None) -> list[str]:
    claimed = [card.strip() for card in arguments.created_cards or [] if card.strip()]
    verified, phantom = queries.verify_cards(call.board.reader, call.task, claimed)
    if phantom:
        payload = {"phantom_cards": phantom, "verified_cards": verified, "summary_preview": first_line(summary, 200)}
        with immediate(call.board.writer) as writer:
            if call.lease is not None:
                leases.current(writer, call.lease)  # a superseded run writes nothing, not even this
            kind = "completion_blocked_hallucination"
            journal.append(writer, call.task.id, kind, payload, call.board.clock.now())
        raise PhantomCards(phantom)
    return verified


def _metadata(call: Call, arguments: Arguments) -> dict[str, Any]:
    """Return the facts without secrets, with the worker's session if it is the task's own worker."""
    try:
        given = json.dumps(arguments.metadata or {}, ensure_ascii=False, allow_nan=False)
        size = len(given.encode())
    except (TypeError, ValueError, RecursionError) as problem:
        raise InvalidArgument(f"metadata cannot be stored as JSON ({problem}); use plain values") from problem
    if size > MAX_TEXT:
        raise InvalidArgument(f"metadata has {size} bytes, more than {MAX_TEXT}; put the data into a file and name it")
    metadata: dict[str, Any] = redaction.redact_tree(json.loads(given), host.redact)
    session = os.environ.get("HERMES_SESSION_ID")
    if call.caller.is_worker and session:
        metadata["worker_session_id"] = session
    return metadata


def _promised_files(call: Call, arguments: Arguments, metadata: dict[str, Any], text: str) -> list[str]:
    """Return the deliverables: those in the metadata, those declared, and files of the workspace named in the text."""
    listed = metadata.get("artifacts")
    stated = [*(listed if isinstance(listed, list) else []), *(arguments.artifacts or [])]
    named = artifacts.named_in(text, call.task, call.board.location)
    return list(dict.fromkeys(str(path).strip() for path in (*stated, *named) if str(path).strip()))


TOOL = Tool(
    name="kanban_complete",
    description=(
        "Mark your task done and hand the work over. Prefer summary: one to three sentences on what you did. Put facts "
        "for machines into metadata. List tasks that you created in created_cards and files that you deliver in "
        "artifacts. At least one of summary and result is needed. If you had to judge something that is not good "
        "enough, put verdict 'fail' into metadata: then the tasks behind yours are held. If it answers that your run "
        "was superseded, stop."
    ),
    arguments=Arguments,
    handler=complete,
    emoji="✔",
)
