"""Reading a board that lacks tables or columns: what is missing is put in front of each statement as empty stand-ins.

Boards of older hosts lack columns, boards that we never wrote to lack our tables. A statement that names them is given
a WITH clause in which a missing table is empty and a missing column NULL, so that one wording serves every board and
not a byte of it is changed. Rule source: contract section 11.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hermes_kanban_plugin.store.connection import columns_of
from hermes_kanban_plugin.store.schema import ADDED_COLUMNS, RENAMED_COLUMNS
from hermes_kanban_plugin.store.values import number

if TYPE_CHECKING:
    import sqlite3

# What the statements of store/survey.py name. ``tasks`` itself is always there: without it there is no board.
NAMED = {
    "tasks": tuple(ADDED_COLUMNS["tasks"]),
    "task_links": ("parent_id", "child_id"),
    "task_comments": ("id", "task_id", "author", "body", "created_at"),
    "task_events": ("id", "task_id", "run_id", "kind", "payload", "created_at"),
    "task_runs": (
        "id", "task_id", "profile", "status", "claim_lock", "claim_expires", "worker_pid", "max_runtime_seconds",
        "last_heartbeat_at", "started_at", "ended_at", "outcome", "summary", "error",
    ),
    "kp_runs": (
        "run_id", "task_id", "claim_lock", "lane", "source_status", "claimed_at", "launch_deadline", "accepted_at",
        "host_id", "boot_id", "pid_namespace", "supervisor_pid", "supervisor_started", "worker_pid", "worker_started",
        "ended_at", "exit_code", "exit_signal", "last_output", "retry_at", "cause", "signature",
        "progress_at", "repeated_calls", "input_tokens", "output_tokens",
    ),
    "kp_outages": (
        "id", "signature", "cause", "began_at", "last_seen_at", "failures", "next_probe_at", "probe_task_id",
        "probe_run_id", "closed_at",
    ),
    "kp_completions": ("task_id", "run_id", "at", "summary", "decided_at"),
    "kp_timers": ("task_id", "event_id", "due_at"),
    "kp_flags": ("name", "value", "actor", "since"),
}  # fmt: skip


class Pane:
    """A connection that is looked through: reads any board by the words of a current one."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._present = {name: columns_of(connection, name) for name in NAMED}
        texts = [text for name in NAMED if (text := _stand_in(name, self._present[name]))]
        self._prefix = f"WITH {', '.join(texts)}\n" if texts else ""

    def has(self, table: str, column: str) -> bool:
        """Say whether the board itself has a column."""
        return column in self._present[table]

    def rows(self, statement: str, **values: object) -> list[dict[str, Any]]:
        """Return the rows of a SELECT (without a WITH of its own) as dictionaries."""
        return [dict(row) for row in self._connection.execute(f"{self._prefix}{statement}", values)]

    def number(self, statement: str, **values: object) -> int:
        """Return the one number that a SELECT counts; nothing, and what is no number, counts as 0."""
        row = self._connection.execute(f"{self._prefix}{statement}", values).fetchone()
        return (number(row[0]) or 0) if row else 0


def _stand_in(table: str, present: set[str]) -> str:
    missing = [column for column in NAMED[table] if column not in present]
    if not missing:
        return ""
    values = ", ".join(f"{_value(table, column, present)} AS {column}" for column in missing)
    body = f"SELECT *, {values} FROM main.{table}" if present else f"SELECT {values} WHERE 1 = 0"
    return f"{table} AS NOT MATERIALIZED ({body})"


def _value(table: str, column: str, present: set[str]) -> str:
    """Return what a missing column reads as: its older name, the default that the host would add, or NULL."""
    default = "0" if "DEFAULT 0" in ADDED_COLUMNS.get(table, {}).get(column, "") else "NULL"
    older = RENAMED_COLUMNS.get(column)
    return f"COALESCE({older}, {default})" if older in present else default
