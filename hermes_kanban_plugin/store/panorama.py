"""What a person sees of a board at a glance: its columns and its runs, each read bounded. Changes no byte."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hermes_kanban_plugin.store.standins import Pane
from hermes_kanban_plugin.store.survey import TURNS

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Sequence

    Row = dict[str, object]

COUNTS = "SELECT status, count(*) AS tasks FROM tasks WHERE status <> 'archived' GROUP BY status"
RUNS = """
SELECT tasks.id AS task_id, tasks.title, tasks.assignee, tasks.current_run_id AS run_id, tasks.claim_expires,
    tasks.last_heartbeat_at, COALESCE(task_runs.started_at, tasks.started_at) AS started_at,
    kp_runs.run_id IS NOT NULL AND kp_runs.accepted_at IS NULL AND kp_runs.lane <> 'terminal' AS launching
FROM tasks
    LEFT JOIN task_runs ON task_runs.id = tasks.current_run_id
    LEFT JOIN kp_runs ON kp_runs.run_id = tasks.current_run_id
WHERE tasks.status = 'running'
ORDER BY started_at, tasks.id LIMIT :limit"""

# Since when a card is where it is: the newest event that moved it, else its creation.
_MOVES = ", ".join(f"'{kind}'" for kind in TURNS)
CARDS = f"""
SELECT tasks.id AS task_id, tasks.title, tasks.status, COALESCE((
    SELECT max(task_events.created_at) FROM task_events
    WHERE task_events.task_id = tasks.id AND task_events.kind IN ({_MOVES})), tasks.created_at) AS since
FROM tasks WHERE tasks.id IN (
    SELECT chosen.id FROM tasks AS chosen WHERE chosen.status IN ({{statuses}}) ORDER BY {{order}} LIMIT :limit)"""
FIGURES = """
SELECT
    (SELECT min(tasks.created_at) FROM tasks WHERE tasks.status = 'ready') AS oldest_ready_seconds,
    (SELECT min(task_runs.started_at) FROM tasks JOIN task_runs ON task_runs.id = tasks.current_run_id
        WHERE tasks.status = 'running') AS longest_run_seconds,
    (SELECT min(tasks.last_heartbeat_at) FROM tasks WHERE tasks.status = 'running') AS silent_run_seconds,
    (SELECT count(*) FROM tasks WHERE tasks.status = 'running' AND tasks.claim_expires <= :now) AS expired_leases"""
# What comes next first; what was finished last first.
NEXT_FIRST = "chosen.priority DESC, chosen.created_at, chosen.id"
LAST_FIRST = "chosen.completed_at DESC, chosen.id"


def counts(connection: sqlite3.Connection) -> dict[str, int]:
    """Return how many tasks are in each column; archived ones are not counted."""
    return {str(row["status"]): int(str(row["tasks"])) for row in Pane(connection).rows(COUNTS)}


def runs(connection: sqlite3.Connection, limit: int) -> list[Row]:
    """Return the running tasks, the longest running first."""
    return Pane(connection).rows(RUNS, limit=limit)


def cards(connection: sqlite3.Connection, statuses: Sequence[str], order: str, limit: int) -> list[Row]:
    """Return the first cards of some columns.

    Args:
        connection: a reader or writer.
        statuses: the columns.
        order: ``NEXT_FIRST`` or ``LAST_FIRST``.
        limit: how many at most.
    """
    words = ", ".join(f"'{status}'" for status in statuses)
    statement = CARDS.format(statuses=words, order=order)
    final = order.replace("chosen.", "tasks.")
    return Pane(connection).rows(f"{statement} ORDER BY {final}", limit=limit)


def figures(connection: sqlite3.Connection, now: int) -> dict[str, int | None]:
    """Return since when the worst of each kind lasts, epoch seconds or None, and how many leases have ended."""
    row = Pane(connection).rows(FIGURES, now=now)[0]
    return {name: None if value is None else int(str(value)) for name, value in row.items()}
