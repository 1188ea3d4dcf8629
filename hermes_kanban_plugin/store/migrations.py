"""Our own tables on the board, prefix ``kp_``, made step by step by sqlite-utils migrations.

The host never looks at them; dropping them leaves a board that the plain host runs. A board that holds a step this
code does not know was written by a newer version and is refused untouched.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from sqlite_utils import Migrations

from hermes_kanban_plugin.errors import SchemaTooNew
from hermes_kanban_plugin.store import failure_tables
from hermes_kanban_plugin.store.schema import wrap

if TYPE_CHECKING:
    import sqlite3

    from sqlite_utils import Database
    from sqlite_utils.db import Table


class BoardMigrations(Migrations):
    """A migration set whose record of applied steps is one of our own tables."""

    migrations_table = "kp_migrations"


steps = BoardMigrations("hermes-kanban")


@steps(name="0001_runs_cleanups_cursors")
def _create_first_tables(database: Database) -> None:
    """Create what is known about each run's processes, workspaces to remove, and how far events were told."""
    runs = cast("Table", database["kp_runs"])
    runs.create(
        {
            "run_id": int,
            "task_id": str,
            "claim_lock": str,
            "lane": str,
            "source_status": str,
            "claimed_at": int,
            "launch_deadline": int,
            "accepted_at": int,
            "host_id": str,
            "boot_id": str,
            "pid_namespace": str,
            "supervisor_pid": int,
            "supervisor_started": float,
            "worker_pid": int,
            "worker_started": float,
            "final_word_at": int,
            "ended_at": int,
            "exit_code": int,
            "exit_signal": int,
            "user_seconds": float,
            "system_seconds": float,
            "peak_memory_bytes": int,
            "last_output": str,
        },
        pk="run_id",
        not_null={"task_id", "lane", "source_status", "claimed_at", "launch_deadline"},
    )
    runs.create_index(["task_id", "run_id"])
    runs.create_index(["ended_at", "accepted_at"])
    cleanups = cast("Table", database["kp_cleanups"])
    cleanups.create(
        {"task_id": str, "run_id": int, "path": str, "created_at": int},
        pk="task_id",
        not_null={"path", "created_at"},
    )
    cursors = cast("Table", database["kp_cursors"])
    cursors.create({"name": str, "event_id": int}, pk="name", not_null={"event_id"})


@steps(name="0002_dispatchers_suspects")
def _create_watch_tables(database: Database) -> None:
    """Create who dispatched this board and when, and which runs one sweep suspects until another one agrees."""
    dispatchers = cast("Table", database["kp_dispatchers"])
    dispatchers.create(
        {
            "term": int,
            "host_id": str,
            "boot_id": str,
            "pid_namespace": str,
            "pid": int,
            "started": float,
            "began_at": int,
            "last_tick_at": int,
            "ended_at": int,
            "reason": str,
        },
        pk="term",
        not_null={"host_id", "boot_id", "pid_namespace", "pid", "began_at", "last_tick_at"},
    )
    suspects = cast("Table", database["kp_suspects"])
    suspects.create(
        {"task_id": str, "run_id": int, "claim_expires": int, "since": int},
        pk="task_id",
        not_null={"run_id", "claim_expires", "since"},
    )


@steps(name="0003_progress_retry")
def _add_progress_columns(database: Database) -> None:
    """Add what a worker reports about its progress, and until when a provider asked to wait."""
    runs = cast("Table", database["kp_runs"])
    for column in ("progress_at", "repeated_calls", "retry_at"):
        runs.add_column(column, int)
    runs.add_column("stop_cause", str)


@steps(name="0004_failures")
def _create_failure_tables(database: Database) -> None:
    """Create causes, counts, outages, late completions and flags."""
    failure_tables.create(database)


@steps(name="0005_first_output")
def _add_first_output(database: Database) -> None:
    """Add how a worker's output began, which a rotated log has lost."""
    cast("Table", database["kp_runs"]).add_column("first_output", str)


@steps(name="0006_tokens")
def _add_tokens(database: Database) -> None:
    """Add how many tokens each run used."""
    runs = cast("Table", database["kp_runs"])
    for column in ("input_tokens", "output_tokens"):
        runs.add_column(column, int)


@steps(name="0007_timers")
def _create_timers(database: Database) -> None:
    """Create when parked tasks come back."""
    cast("Table", database["kp_timers"]).create(
        {"task_id": str, "event_id": int, "due_at": int, "actor": str},
        pk="task_id",
        not_null={"event_id", "due_at", "actor"},
    )


def is_current(connection: sqlite3.Connection) -> bool:
    """Say whether every step was applied; reads only.

    Raises:
        SchemaTooNew: a step was applied that this code does not know.
    """
    database = wrap(connection)
    applied = {step.name for step in steps.applied(database)}
    known = {step.name for step in steps._migrations}
    if not applied <= known:
        raise SchemaTooNew(_path_of(connection), sorted(applied - known))
    return applied == known


def apply(connection: sqlite3.Connection) -> None:
    """Apply the missing steps, inside the caller's transaction.

    Raises:
        SchemaTooNew: a step was applied that this code does not know.
    """
    if not is_current(connection):
        steps.apply(wrap(connection))


def _path_of(connection: sqlite3.Connection) -> str:
    return str(connection.execute("PRAGMA database_list").fetchone()[2])
