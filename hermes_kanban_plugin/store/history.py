"""What the figures of a board are made of: rows of its history in one read. Nothing here changes a byte."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple

from hermes_kanban_plugin.store.standins import Pane
from hermes_kanban_plugin.store.values import known

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Sequence

# Tasks that are open, or to which something happened since a moment.
_CONCERNED = """(
    SELECT tasks.id FROM tasks WHERE tasks.status NOT IN ('done', 'archived')
    UNION SELECT task_events.task_id FROM task_events WHERE task_events.created_at >= :since)"""
TASKS = f"SELECT id, status, title, created_at FROM tasks WHERE id IN {_CONCERNED} ORDER BY id"
EVENTS = f"""
SELECT task_id, kind, payload, created_at FROM task_events
WHERE kind IN ({{kinds}}) AND task_id IN {_CONCERNED} ORDER BY task_id, id"""
CREATED = "SELECT count(*) FROM task_events WHERE kind = 'created' AND created_at >= :since AND created_at < :until"

# Attempts, without the rows of no length that only keep a hand-off of a task that nobody claimed.
ATTEMPT = """(kp_runs.run_id IS NOT NULL OR task_runs.ended_at IS NULL OR task_runs.ended_at > task_runs.started_at
    OR task_runs.outcome NOT IN ('completed', 'blocked', 'scheduled'))"""
NUMBER_OF_ATTEMPTS = f"""SELECT count(*) FROM task_runs LEFT JOIN kp_runs ON kp_runs.run_id = task_runs.id
    WHERE task_runs.task_id = tasks.id AND {ATTEMPT}"""
STARTS = f"""
SELECT count(*) FROM task_runs LEFT JOIN kp_runs ON kp_runs.run_id = task_runs.id
WHERE task_runs.started_at >= :since AND task_runs.started_at < :until AND {ATTEMPT}"""
ENDINGS = f"""
SELECT COALESCE(kp_runs.cause, task_runs.outcome, 'unknown') AS ended_by, count(*) AS runs
FROM task_runs LEFT JOIN kp_runs ON kp_runs.run_id = task_runs.id
WHERE task_runs.ended_at >= :since AND task_runs.ended_at < :until AND {ATTEMPT}
GROUP BY ended_by ORDER BY ended_by"""
TOKENS = """
SELECT COALESCE(task_runs.profile, '') AS profile, sum(COALESCE(kp_runs.input_tokens, 0)) AS input_tokens,
    sum(COALESCE(kp_runs.output_tokens, 0)) AS output_tokens
FROM task_runs JOIN kp_runs ON kp_runs.run_id = task_runs.id
WHERE task_runs.started_at >= :since AND task_runs.started_at < :until
    AND (kp_runs.input_tokens IS NOT NULL OR kp_runs.output_tokens IS NOT NULL)
GROUP BY task_runs.profile ORDER BY profile"""


class Card(NamedTuple):
    """A task and what happened to it: (kind, decoded payload, epoch second), oldest first."""

    id: str
    status: str
    title: str
    created_at: int
    events: list[tuple[str, Any, int]]


def cards(connection: sqlite3.Connection, since: int, kinds: Sequence[str]) -> list[Card]:
    """Return the tasks that are open or to which something happened since a moment, with their whole history.

    A task or an event whose time is no number is left out.

    Args:
        connection: a reader or writer.
        since: epoch seconds.
        kinds: the kinds of events to return.
    """
    pane = Pane(connection)
    found: dict[str, Card] = {}
    for row in map(known, pane.rows(TASKS, since=since)):
        if row["created_at"] is not None:
            task_id, title = str(row["id"]), str(row["title"])
            found[task_id] = Card(task_id, str(row["status"]), title, row["created_at"], [])
    words = ", ".join(f"'{kind}'" for kind in kinds)
    for row in map(known, pane.rows(EVENTS.format(kinds=words), since=since)):
        card = found.get(str(row["task_id"]))
        if card is not None and row["created_at"] is not None:
            card.events.append((str(row["kind"]), _decoded(row["payload"]), row["created_at"]))
    return list(found.values())


def created(connection: sqlite3.Connection, since: int, until: int) -> int:
    """Count the tasks that were created between two moments."""
    return Pane(connection).number(CREATED, since=since, until=until)


def starts(connection: sqlite3.Connection, since: int, until: int) -> int:
    """Count the attempts that were started between two moments."""
    return Pane(connection).number(STARTS, since=since, until=until)


def endings(connection: sqlite3.Connection, since: int, until: int) -> dict[str, int]:
    """Count the attempts that ended between two moments, by why they ended."""
    rows = Pane(connection).rows(ENDINGS, since=since, until=until)
    return {str(row["ended_by"]): int(str(row["runs"])) for row in rows}


def tokens(connection: sqlite3.Connection, since: int, until: int) -> dict[str, tuple[int, int]]:
    """Add up what the runs that started between two moments used: tokens sent and received, by assignee."""
    rows = Pane(connection).rows(TOKENS, since=since, until=until)
    return {str(row["profile"]): (int(row["input_tokens"]), int(row["output_tokens"])) for row in rows}


def _decoded(payload: object) -> Any:
    try:
        return json.loads(str(payload)) if payload else None
    except ValueError:
        return None
