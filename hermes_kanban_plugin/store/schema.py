"""The host's tables, as version 0.19.0 makes them, and the columns that older boards still miss.

A board that we create is one that the host might have created; a board that the host created gains only what the
host itself would add. Nothing else in the host's tables is ever altered. Rule source: contract sections 2 and 11.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from sqlite_utils import Database

if TYPE_CHECKING:
    import sqlite3

    from sqlite_utils.db import Table

TABLES = {
    "tasks": """
        id TEXT PRIMARY KEY, title TEXT NOT NULL, body TEXT, assignee TEXT, status TEXT NOT NULL,
        priority INTEGER DEFAULT 0, created_by TEXT, created_at INTEGER NOT NULL, started_at INTEGER,
        completed_at INTEGER, workspace_kind TEXT NOT NULL DEFAULT 'scratch', workspace_path TEXT, branch_name TEXT,
        project_id TEXT, claim_lock TEXT, claim_expires INTEGER, tenant TEXT, result TEXT, idempotency_key TEXT,
        consecutive_failures INTEGER NOT NULL DEFAULT 0, worker_pid INTEGER, last_failure_error TEXT,
        max_runtime_seconds INTEGER, last_heartbeat_at INTEGER, current_run_id INTEGER, workflow_template_id TEXT,
        current_step_key TEXT, skills TEXT, model_override TEXT, max_retries INTEGER,
        goal_mode INTEGER NOT NULL DEFAULT 0, goal_max_turns INTEGER, session_id TEXT, block_kind TEXT,
        block_recurrences INTEGER NOT NULL DEFAULT 0""",
    "task_links": "parent_id TEXT NOT NULL, child_id TEXT NOT NULL, PRIMARY KEY (parent_id, child_id)",
    "task_comments": """
        id INTEGER PRIMARY KEY AUTOINCREMENT, task_id TEXT NOT NULL, author TEXT NOT NULL, body TEXT NOT NULL,
        created_at INTEGER NOT NULL""",
    "task_events": """
        id INTEGER PRIMARY KEY AUTOINCREMENT, task_id TEXT NOT NULL, run_id INTEGER, kind TEXT NOT NULL, payload TEXT,
        created_at INTEGER NOT NULL""",
    "task_runs": """
        id INTEGER PRIMARY KEY AUTOINCREMENT, task_id TEXT NOT NULL, profile TEXT, step_key TEXT, status TEXT NOT NULL,
        claim_lock TEXT, claim_expires INTEGER, worker_pid INTEGER, max_runtime_seconds INTEGER,
        last_heartbeat_at INTEGER, started_at INTEGER NOT NULL, ended_at INTEGER, outcome TEXT, summary TEXT,
        metadata TEXT, error TEXT""",
    "task_attachments": """
        id INTEGER PRIMARY KEY AUTOINCREMENT, task_id TEXT NOT NULL, filename TEXT NOT NULL, stored_path TEXT NOT NULL,
        content_type TEXT, size INTEGER NOT NULL DEFAULT 0, uploaded_by TEXT, created_at INTEGER NOT NULL""",
    "kanban_notify_subs": """
        task_id TEXT NOT NULL, platform TEXT NOT NULL, chat_id TEXT NOT NULL, thread_id TEXT NOT NULL DEFAULT '',
        user_id TEXT, notifier_profile TEXT, created_at INTEGER NOT NULL, last_event_id INTEGER NOT NULL DEFAULT 0,
        PRIMARY KEY (task_id, platform, chat_id, thread_id)""",
}

INDEXES = {
    "idx_tasks_assignee_status": "tasks (assignee, status)",
    "idx_tasks_status": "tasks (status)",
    "idx_tasks_tenant": "tasks (tenant)",
    "idx_tasks_idempotency": "tasks (idempotency_key)",
    "idx_tasks_session_id": "tasks (session_id)",
    "idx_links_child": "task_links (child_id)",
    "idx_links_parent": "task_links (parent_id)",
    "idx_comments_task": "task_comments (task_id, created_at)",
    "idx_events_task": "task_events (task_id, created_at)",
    "idx_events_run": "task_events (run_id, id)",
    "idx_runs_task": "task_runs (task_id, started_at)",
    "idx_runs_status": "task_runs (status)",
    "idx_attachments_task": "task_attachments (task_id, created_at)",
    "idx_notify_task": "kanban_notify_subs (task_id)",
}

# What the host adds to boards of older versions, in its order (contract section 11).
ADDED_COLUMNS = {
    "tasks": {
        "tenant": "TEXT",
        "result": "TEXT",
        "branch_name": "TEXT",
        "project_id": "TEXT",
        "idempotency_key": "TEXT",
        "consecutive_failures": "INTEGER NOT NULL DEFAULT 0",
        "worker_pid": "INTEGER",
        "last_failure_error": "TEXT",
        "max_runtime_seconds": "INTEGER",
        "last_heartbeat_at": "INTEGER",
        "current_run_id": "INTEGER",
        "workflow_template_id": "TEXT",
        "current_step_key": "TEXT",
        "skills": "TEXT",
        "max_retries": "INTEGER",
        "model_override": "TEXT",
        "goal_mode": "INTEGER NOT NULL DEFAULT 0",
        "goal_max_turns": "INTEGER",
        "session_id": "TEXT",
        "block_kind": "TEXT",
        "block_recurrences": "INTEGER NOT NULL DEFAULT 0",
    },
    "task_events": {"run_id": "INTEGER"},
    "kanban_notify_subs": {"notifier_profile": "TEXT"},
}

# Older names whose values move into the new column when that is added.
RENAMED_COLUMNS = {"consecutive_failures": "spawn_failures", "last_failure_error": "last_spawn_error"}


def create(connection: sqlite3.Connection) -> None:
    """Make the host's tables and indexes where they are missing, inside the caller's transaction."""
    for name, columns in TABLES.items():
        connection.execute(f"CREATE TABLE IF NOT EXISTS {name} ({columns})")
    add_missing_columns(connection)
    for name, target in INDEXES.items():
        connection.execute(f"CREATE INDEX IF NOT EXISTS {name} ON {target}")


def is_board(connection: sqlite3.Connection) -> bool:
    """Say whether the database has the one table without which it is no board."""
    return "tasks" in wrap(connection).table_names()


def is_current(connection: sqlite3.Connection) -> bool:
    """Say whether every table, column and index of the host's 0.19.0 is there; reads only."""
    rows = connection.execute("SELECT name FROM sqlite_master WHERE type IN ('table', 'index')").fetchall()
    names = {row[0] for row in rows}
    if not names.issuperset(TABLES) or not names.issuperset(INDEXES):
        return False
    return not any(_missing(connection, table) for table in ADDED_COLUMNS)


def add_missing_columns(connection: sqlite3.Connection) -> None:
    """Add to an older board exactly the columns that the host would add, carrying over renamed ones."""
    for table in ADDED_COLUMNS:
        present = _columns(connection, table)
        for name in _missing(connection, table):
            connection.execute(f"ALTER TABLE {table} ADD COLUMN {name} {ADDED_COLUMNS[table][name]}")
            old = RENAMED_COLUMNS.get(name)
            if old in present:
                keep = f"COALESCE({old}, 0)" if name == "consecutive_failures" else old
                connection.execute(f"UPDATE {table} SET {name} = {keep}")


def wrap(connection: sqlite3.Connection) -> Database:
    """Return the connection as a sqlite-utils database, without its plugins and without touching its settings."""
    return Database(connection, recursive_triggers=False, execute_plugins=False)


def _missing(connection: sqlite3.Connection, table: str) -> list[str]:
    present = _columns(connection, table)
    return [name for name in ADDED_COLUMNS[table] if name not in present]


def _columns(connection: sqlite3.Connection, table: str) -> set[str]:
    return set(cast("Table", wrap(connection)[table]).columns_dict)
