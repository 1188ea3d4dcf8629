"""Promotion: tasks whose parents are all finished become ready.

Only waiting (``todo``) tasks are promoted. A blocked task is a human's gate or a tripped breaker, and machinery opens
neither (DESIGN.md section 1, promise 5; contract W5, W12). Standard library only: the supervisor uses this module too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hermes_kanban_plugin.store import journal, statements
from hermes_kanban_plugin.store.transaction import immediate

if TYPE_CHECKING:
    import sqlite3


def promote_all(connection: sqlite3.Connection, now: int) -> list[str]:
    """Promote every task on the board that has become runnable; returns their ids.

    Opens no write transaction when there is nothing to do.
    """
    if connection.execute(f"{statements.PROMOTABLE} LIMIT 1").fetchone() is None:
        return []
    with immediate(connection):
        return _promote(connection, statements.PROMOTE, {}, now)


def promote_children(connection: sqlite3.Connection, task_id: str, now: int) -> list[str]:
    """Promote the children of a task that was finished in the same transaction; returns their ids."""
    return _promote(connection, statements.PROMOTE_CHILDREN, {"task_id": task_id}, now)


def _promote(connection: sqlite3.Connection, statement: str, values: dict[str, str], now: int) -> list[str]:
    promoted = sorted(row["id"] for row in connection.execute(statement, values).fetchall())
    journal.append_many(connection, [(task_id, "promoted", None, None) for task_id in promoted], now)
    return promoted
