"""The board's append-only history: one row per thing that happened to a task.

Kinds and payload fields are the host's (contract section 3), so that its notifier, dashboard and diagnostics keep
reading them. Standard library only: the supervisor uses this module too.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from hermes_kanban_plugin.store.statements import INSERT_EVENT

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Mapping


def append(
    connection: sqlite3.Connection,
    task_id: str,
    kind: str,
    payload: Mapping[str, Any] | None,
    now: int,
    run_id: int | None = None,
) -> None:
    """Add one event inside the caller's transaction; an empty payload is stored as NULL, as the host does."""
    append_many(connection, [(task_id, kind, payload, run_id)], now)


def append_many(
    connection: sqlite3.Connection,
    events: Iterable[tuple[str, str, Mapping[str, Any] | None, int | None]],
    now: int,
) -> None:
    """Add events (task id, kind, payload, run id) in order, inside the caller's transaction."""
    connection.executemany(
        INSERT_EVENT,
        [
            {
                "task_id": task_id,
                "run_id": run_id,
                "kind": kind,
                "payload": stored(payload),
                "now": now,
            }
            for task_id, kind, payload, run_id in events
        ],
    )


def stored(payload: Mapping[str, Any] | None) -> str | None:
    """Return an event's payload as it stands on the board."""
    return json.dumps(payload, ensure_ascii=False) if payload else None


def happened(connection: sqlite3.Connection, task_id: str, kind: str, run_id: int) -> bool:
    """Say whether an event of a kind stands in the history of a run."""
    query = "SELECT 1 FROM task_events WHERE task_id = :task_id AND run_id = :run_id AND kind = :kind LIMIT 1"
    values = {"task_id": task_id, "run_id": run_id, "kind": kind}
    return connection.execute(query, values).fetchone() is not None
