"""What a person (or an orchestrator acting for one) does to a task: create, link, complete, block, unblock, reclaim.

Each move names its actor in the history and repeats, in its WHERE, the row the decision was based on. Standard
library only. Rule source: contract section 3.
"""

from __future__ import annotations

import json
import secrets
from typing import TYPE_CHECKING, Any, NamedTuple

from hermes_kanban_plugin.causes import Cause
from hermes_kanban_plugin.errors import ChangedMeanwhile, InvalidArgument, UnknownTask, WrongState
from hermes_kanban_plugin.store import blocks, failures, journal, outcomes, statements
from hermes_kanban_plugin.store.transaction import immediate

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Mapping, Sequence

    from hermes_kanban_plugin.store.outcomes import Handoff

_INSERT_COLUMNS = (
    "id", "title", "body", "assignee", "status", "priority", "created_by", "created_at", "workspace_kind",
    "workspace_path", "branch_name", "tenant", "idempotency_key", "max_runtime_seconds", "skills", "max_retries",
    "goal_mode", "goal_max_turns", "session_id",
)  # fmt: skip
INSERT_TASK = (
    f"INSERT INTO tasks ({', '.join(_INSERT_COLUMNS)}) VALUES ({', '.join(f':{name}' for name in _INSERT_COLUMNS)})"
)
INSERT_LINK = """
INSERT INTO task_links (parent_id, child_id) VALUES (:parent_id, :child_id) ON CONFLICT DO NOTHING"""
DESCENDANTS = """
WITH RECURSIVE below (id) AS (
    SELECT :child_id
    UNION
    SELECT task_links.child_id FROM task_links JOIN below ON task_links.parent_id = below.id)
SELECT 1 FROM below WHERE id = :parent_id"""
SAME_KEY = """
SELECT id FROM tasks
WHERE idempotency_key = :key AND status <> 'archived' AND (status <> 'done' OR :scope = 'all')
ORDER BY created_at DESC LIMIT 1"""


class Seen(NamedTuple):
    """What an operator was shown of a task; the move happens only if it still looks like this."""

    status: str
    run_id: int
    lock: str

    @classmethod
    def of(cls, row: Mapping[str, Any] | sqlite3.Row) -> Seen:
        """Take the fields from a task row."""
        return cls(row["status"], row["current_run_id"] or 0, row["claim_lock"] or "")


def create(connection: sqlite3.Connection, fields: Mapping[str, Any], parents: Sequence[str], now: int) -> str:
    """Add a task and its links; returns its id, or the id of the task that already has its idempotency key.

    The look-up of the key and the insert are one transaction, so that concurrent creators get one task (contract W23).

    Args:
        connection: a writer.
        fields: validated columns of the task; ``status`` is the wished one (``ready``, ``triage`` or ``blocked``).
        parents: ids of the tasks to wait for.
        now: epoch seconds.

    Raises:
        InvalidArgument: a parent does not exist.
    """
    with immediate(connection):
        twin = _find_twin(connection, fields.get("idempotency_key"), fields.get("idempotency_scope", "all"))
        if twin:
            return twin
        status = _initial_status(connection, str(fields["status"]), parents)
        task_id = _free_id(connection)
        skills = list(fields["skills"] or [])
        values = {**fields, "id": task_id, "status": status, "created_at": now}
        values["skills"] = json.dumps(skills) if skills else None
        connection.execute(INSERT_TASK, {name: values.get(name) for name in _INSERT_COLUMNS})
        connection.executemany(INSERT_LINK, [{"parent_id": parent, "child_id": task_id} for parent in parents])
        payload = {
            "assignee": fields["assignee"],
            "status": status,
            "parents": list(parents),
            "tenant": fields["tenant"],
            "branch_name": fields["branch_name"],
            "skills": skills or None,
            "goal_mode": bool(fields["goal_mode"]) or None,
        }
        journal.append(connection, task_id, "created", payload, now)
        if status == "blocked":
            # Without this row the host's promotion takes the gate for a machine's and opens it (contract W12).
            gate = {"reason": "created blocked", "kind": None, "recurrences": 0, "actor": fields["created_by"]}
            journal.append(connection, task_id, "blocked", gate, now)
        return task_id


def _find_twin(connection: sqlite3.Connection, key: str | None, scope: str) -> str | None:
    row = connection.execute(SAME_KEY, {"key": key, "scope": scope}).fetchone() if key else None
    return row["id"] if row else None


def _initial_status(connection: sqlite3.Connection, wished: str, parents: Sequence[str]) -> str:
    rows = {task_id: _status_of(connection, task_id) for task_id in parents}
    missing = [task_id for task_id, status in rows.items() if status is None]
    if missing:
        raise InvalidArgument(f"unknown parent task(s): {', '.join(missing)}; list tasks with: hermes-kanban list")
    if wished == "ready" and any(status not in ("done", "archived") for status in rows.values()):
        return "todo"
    return wished


def _status_of(connection: sqlite3.Connection, task_id: str) -> str | None:
    row = connection.execute(statements.SELECT_TASK, {"task_id": task_id}).fetchone()
    return row["status"] if row else None


def _free_id(connection: sqlite3.Connection) -> str:
    while True:
        task_id = f"t_{secrets.token_hex(4)}"
        if _status_of(connection, task_id) is None:
            return task_id


def link(connection: sqlite3.Connection, parent_id: str, child_id: str, now: int) -> None:
    """Make one task wait for another; a ready child of an unfinished parent goes back to ``todo``.

    Raises:
        UnknownTask: one of them does not exist.
        InvalidArgument: the link would make a task wait for itself.
    """
    with immediate(connection):
        for task_id in (parent_id, child_id):
            if _status_of(connection, task_id) is None:
                raise UnknownTask(task_id)
        ids = {"parent_id": parent_id, "child_id": child_id}
        if connection.execute(DESCENDANTS, ids).fetchone():
            raise InvalidArgument(
                f"linking {parent_id} -> {child_id} would make {child_id} wait for itself; "
                f"see its links with: hermes-kanban show {child_id}"
            )
        connection.execute(INSERT_LINK, ids)
        if _status_of(connection, parent_id) not in ("done", "archived"):
            connection.execute(statements.DEMOTE, ids).fetchone()
        journal.append(connection, child_id, "linked", {"parent": parent_id, "child": child_id}, now)


def complete(
    connection: sqlite3.Connection, task_id: str, handoff: Handoff, actor: str, now: int, seen: Seen | None = None
) -> list[str]:
    """Declare a task done by hand; returns the ids of the children that became ready.

    A run that is still open is closed with the hand-off; its supervisor notices and stops the worker.

    Raises:
        UnknownTask, WrongState, ChangedMeanwhile: nothing was done.
    """
    with immediate(connection):
        row = movable(connection, task_id, "complete", ("running", "ready", "blocked"), seen)
        changes = {"block_kind": None, "block_recurrences": 0, "failures": 0, "failure_error": None}
        move(connection, row, now, "done", changes, result=handoff.result)
        summary = handoff.summary if handoff.summary is not None else handoff.result
        run_id = _close_or_record(connection, row, now, "completed", summary, handoff.metadata)
        promoted = outcomes.record_completion(connection, row, run_id, handoff, now, actor)
        if row["current_run_id"]:
            _note_takeover(connection, row, "completed", actor, now)
        return promoted


def block(
    connection: sqlite3.Connection,
    task_id: str,
    reason: str | None,
    kind: str | None,
    actor: str,
    now: int,
    seen: Seen | None = None,
) -> str:
    """Park a running or ready task by hand; returns the status it landed in.

    Raises:
        UnknownTask, WrongState, ChangedMeanwhile: nothing was done.
    """
    with immediate(connection):
        row = movable(connection, task_id, "block", ("running", "ready"), seen)
        route = blocks.route(connection, row, kind)
        changes = {**outcomes.kept(row), "block_kind": kind, "block_recurrences": route.recurrences}
        move(connection, row, now, route.status, changes)
        run_id = _close_or_record(connection, row, now, "blocked", reason, None)
        payload = {**blocks.payload(route, reason, kind), "actor": actor}
        journal.append(connection, task_id, route.event, payload, now, run_id)
        return route.status


def unblock(connection: sqlite3.Connection, task_id: str, actor: str, now: int, seen: Seen | None = None) -> str:
    """Open a blocked, scheduled or parked task again with a fresh failure count; returns ``ready`` or ``todo``.

    Raises:
        UnknownTask, WrongState, ChangedMeanwhile: nothing was done.
    """
    with immediate(connection):
        row = movable(connection, task_id, "unblock", blocks.openable(connection, task_id), seen)
        waiting = connection.execute(statements.OPEN_PARENTS, {"task_id": task_id}).fetchone()[0]
        status = "todo" if waiting else "ready"
        changes = {**outcomes.kept(row), **blocks.forgiven(row), "failures": 0, "failure_error": None}
        move(connection, row, now, status, changes)
        if row["current_run_id"]:
            supersede(connection, row, now, "reclaimed", error="the task was not running")
        failures.forgive(connection, task_id, now)
        payload = {"actor": actor, **({"status": status} if status != "ready" else {})}
        journal.append(connection, task_id, "unblocked", payload, now)
        return status


def reclaim(connection: sqlite3.Connection, task_id: str, reason: str | None, actor: str, now: int, seen: Seen) -> str:
    """Take a task away from its run and give it back to its column with a fresh failure count.

    The caller has stopped the worker and proven it gone; ``seen`` is the row that this was done for.

    Raises:
        UnknownTask, WrongState, ChangedMeanwhile: nothing was done.
    """
    with immediate(connection):
        row = movable(connection, task_id, "reclaim", ("running", "ready", "blocked"), seen)
        if row["status"] != "running" and row["claim_lock"] is None:
            raise WrongState(task_id, "reclaim", row["status"], "a running task or one with a claim")
        status = (
            outcomes.source_status(connection, row["current_run_id"] or 0)
            if row["status"] == "running"
            else row["status"]
        )
        take_back(connection, row, status, {"failures": 0, "failure_error": None}, reason, actor, now)
        failures.forgive(connection, task_id, now)
        return status


def take_back(
    connection: sqlite3.Connection,
    row: sqlite3.Row,
    status: str,
    changes: Mapping[str, Any],
    reason: str | None,
    actor: str,
    now: int,
) -> None:
    """Free a task from the run that holds it, inside the caller's transaction, and say who did it.

    Raises:
        ChangedMeanwhile: the task is not what ``row`` says any more.
    """
    move(connection, row, now, status, {**outcomes.kept(row), **changes})
    if row["current_run_id"]:
        supersede(connection, row, now, "reclaimed", error=reason or f"reclaimed by {actor}")
    payload = {"manual": True, "reason": reason, "prev_lock": row["claim_lock"], "actor": actor}
    journal.append(connection, row["id"], "reclaimed", payload, now, row["current_run_id"])


def comment(connection: sqlite3.Connection, task_id: str, author: str, body: str, now: int) -> int:
    """Add a comment to a task; returns its id.

    Raises:
        UnknownTask: the task does not exist.
    """
    with immediate(connection):
        if _status_of(connection, task_id) is None:
            raise UnknownTask(task_id)
        values = {"task_id": task_id, "author": author, "body": body, "now": now}
        row = connection.execute(statements.INSERT_COMMENT, values).fetchone()
        journal.append(connection, task_id, "commented", {"author": author, "len": len(body)}, now)
        return int(row["id"])


def movable(
    connection: sqlite3.Connection, task_id: str, verb: str, allowed: Sequence[str], seen: Seen | None
) -> sqlite3.Row:
    """Return the row of a task that may be moved now, inside the caller's transaction.

    Raises:
        UnknownTask, WrongState, ChangedMeanwhile: it may not.
    """
    row: sqlite3.Row | None = connection.execute(statements.SELECT_TASK, {"task_id": task_id}).fetchone()
    if row is None:
        raise UnknownTask(task_id)
    if seen is not None and Seen.of(row) != seen:
        raise ChangedMeanwhile(task_id)
    if row["status"] not in allowed:
        raise WrongState(task_id, verb, row["status"], " or ".join(allowed))
    return row


def move(
    connection: sqlite3.Connection,
    row: sqlite3.Row,
    now: int,
    status: str,
    changes: Mapping[str, Any],
    result: str | None = None,
) -> None:
    """Free a task and put it into a column; the WHERE repeats the row that was read.

    Raises:
        ChangedMeanwhile: it is not what ``row`` says any more.
    """
    seen = Seen.of(row)
    values = {
        "task_id": row["id"], "status": status, "now": now, "result": result, **changes,
        "status_seen": seen.status, "run_id_seen": seen.run_id, "lock_seen": seen.lock,
    }  # fmt: skip
    if connection.execute(statements.MOVE_TASK, values).fetchone() is None:
        raise ChangedMeanwhile(row["id"])


def supersede(connection: sqlite3.Connection, row: sqlite3.Row, now: int, outcome: str, **words: Any) -> int:
    """Close the run that holds a task because somebody else decided, in the caller's transaction; returns its id."""
    run_id = int(row["current_run_id"])
    outcomes.close_run(connection, row["id"], run_id, now, outcome, **words)
    failures.note_end(connection, row["id"], run_id, Cause.SUPERSEDED)
    return run_id


def _close_or_record(
    connection: sqlite3.Connection,
    row: sqlite3.Row,
    now: int,
    outcome: str,
    summary: str | None,
    metadata: dict[str, Any] | None,
) -> int | None:
    """Close the open run with what is to be kept; without one, keep it in a run of no length (contract section 2)."""
    if row["current_run_id"]:
        return supersede(connection, row, now, outcome, summary=summary, metadata=metadata)
    if not (summary or metadata):
        return None
    values = {
        "task_id": row["id"],
        "now": now,
        "outcome": outcome,
        "run_status": outcome,
        "summary": summary,
        "metadata": json.dumps(metadata, ensure_ascii=False) if metadata else None,
    }
    return int(connection.execute(statements.INSERT_ENDED_RUN, values).fetchone()["id"])


def _note_takeover(connection: sqlite3.Connection, row: sqlite3.Row, verb: str, actor: str, now: int) -> None:
    payload = {"manual": True, "reason": f"{verb} by {actor}", "prev_lock": row["claim_lock"], "actor": actor}
    journal.append(connection, row["id"], "reclaimed", payload, now, row["current_run_id"])
