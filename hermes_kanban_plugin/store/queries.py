"""Reads: rows of the board as models. Nothing here changes a byte.

Boards of older hosts lack columns and boards that we never wrote to lack our tables; both read as "not known".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from hermes_kanban_plugin.breaker import DEFAULT_STARTS_PER_HOUR
from hermes_kanban_plugin.models import Event, HeldRun, Run, Task
from hermes_kanban_plugin.store import statements
from hermes_kanban_plugin.store.rows import Sieve, read, readable
from hermes_kanban_plugin.store.schema import wrap

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Sequence

    from sqlite_utils.db import Table

_RUN_FACTS = (
    "lane", "accepted_at", "supervisor_pid", "exit_code", "exit_signal", "user_seconds", "system_seconds",
    "peak_memory_bytes", "first_output", "last_output", "cause", "retry_at",
    "input_tokens", "output_tokens",
)  # fmt: skip
# The newest word on a card decides (contract W11): was it parked by the loop breaker, or put there by somebody?
_OPEN_TRIAGE = """
SELECT id FROM tasks
WHERE status = 'triage' AND COALESCE((
    SELECT kind FROM task_events
    WHERE task_id = tasks.id
        AND kind IN ('block_loop_detected', 'specified', 'decomposed', 'status', 'created', 'unblocked')
    ORDER BY id DESC LIMIT 1), '') <> 'block_loop_detected'
ORDER BY priority DESC, created_at, id"""


def find_task(connection: sqlite3.Connection, task_id: str) -> Task | None:
    """Return one task, or None.

    Raises:
        UnreadableRow: a value of it is of the wrong kind.
    """
    row = connection.execute(statements.SELECT_TASK, {"task_id": task_id}).fetchone()
    return read(Task, dict(row), connection) if row else None


def list_tasks(
    connection: sqlite3.Connection,
    *,
    status: str | None = None,
    assignee: str | None = None,
    tenant: str | None = None,
    archived: bool = False,
    sieve: Sieve | None = None,
) -> list[Task]:
    """Return the tasks that match, best first (priority, then age), without archived ones unless asked for.

    What cannot be read is left out; a ``sieve`` that is given knows it afterwards.
    """
    wanted = {"status": status, "assignee": assignee, "tenant": tenant}
    where = [f"{name} = :{name}" for name, value in wanted.items() if value is not None]
    if not archived and status != "archived":
        where.append("status <> 'archived'")
    rows = table(connection, "tasks").rows_where(
        " AND ".join(where) or None,
        {name: value for name, value in wanted.items() if value is not None},
        order_by="priority DESC, created_at, id",
    )
    return (sieve or Sieve()).all(Task, rows)


def list_runs(connection: sqlite3.Connection, task_id: str) -> list[Run]:
    """Return the attempts at a task, oldest first, with what their supervisors saw."""
    rows = {row["id"]: dict(row) for row in table(connection, "task_runs").rows_where("task_id = ?", [task_id])}
    if _has_own_tables(connection):
        for row in connection.execute("SELECT * FROM kp_runs WHERE task_id = :task_id", {"task_id": task_id}):
            if row["run_id"] in rows:
                # A board that was last written by an older version of ours lacks the newest ones.
                rows[row["run_id"]].update({name: row[name] for name in row.keys() if name in _RUN_FACTS})  # noqa: SIM118
    return readable(Run, (rows[run_id] for run_id in sorted(rows)))


def list_events(
    connection: sqlite3.Connection, *, task_id: str | None = None, after: int = 0, limit: int = 1000
) -> list[Event]:
    """Return history rows after an event id, in order; of one task or of all."""
    where, values = "id > :after", {"after": after, "task_id": task_id}
    if task_id is not None:
        where += " AND task_id = :task_id"
    rows = table(connection, "task_events").rows_where(where, values, order_by="id", limit=limit)
    return readable(Event, rows)


def list_comments(connection: sqlite3.Connection, task_id: str) -> list[dict[str, Any]]:
    """Return a task's comments, oldest first."""
    rows = table(connection, "task_comments").rows_where("task_id = ?", [task_id], order_by="id")
    return [{name: row[name] for name in ("id", "author", "body", "created_at")} for row in rows]


def parents_of(connection: sqlite3.Connection, task_id: str) -> list[str]:
    """Return the ids of the tasks that a task waits for."""
    rows = table(connection, "task_links").rows_where("child_id = ?", [task_id], order_by="parent_id")
    return [str(row["parent_id"]) for row in rows]


def children_of(connection: sqlite3.Connection, task_id: str) -> list[str]:
    """Return the ids of the tasks that wait for a task."""
    rows = table(connection, "task_links").rows_where("parent_id = ?", [task_id], order_by="child_id")
    return [str(row["child_id"]) for row in rows]


def unfinished_children(connection: sqlite3.Connection, task_id: str) -> list[str]:
    """Return the ids of the unfinished tasks that wait for a task."""
    query = """
        SELECT tasks.id FROM task_links JOIN tasks ON tasks.id = task_links.child_id
        WHERE task_links.parent_id = :task_id AND tasks.status NOT IN ('done', 'archived') ORDER BY tasks.id"""
    return [str(row["id"]) for row in connection.execute(query, {"task_id": task_id})]


def verify_cards(connection: sqlite3.Connection, task: Task, claimed: Sequence[str]) -> tuple[list[str], list[str]]:
    """Split the ids that a worker says it created into those it did create and phantoms (contract section 3).

    A card counts when its creator is the task's assignee or the task itself, or when it is linked below the task.
    """
    children = set(children_of(connection, task.id))
    verified: list[str] = []
    phantom: list[str] = []
    for card in dict.fromkeys(claimed):
        found = find_task(connection, card)
        creators = {task.id, task.assignee} - {None}
        known = found is not None and (found.created_by in creators or card in children)
        (verified if known else phantom).append(card)
    return verified, phantom


def held_runs(connection: sqlite3.Connection) -> list[HeldRun]:
    """Return every run that holds a task now."""
    return _held(connection, statements.HELD)


def unwatched_runs(connection: sqlite3.Connection, newest: int, now: int) -> list[HeldRun]:
    """Return the runs that hold a task and are newer than a run id, or whose lease ended."""
    return _held(connection, statements.HELD_UNWATCHED, newest=newest, now=now)


def run_that_holds(connection: sqlite3.Connection, run_id: int) -> list[HeldRun]:
    """Return the run if it holds its task now, as a list of one or none."""
    return _held(connection, statements.HELD_BY_RUN, run_id=run_id)


def held_ids(connection: sqlite3.Connection) -> set[int]:
    """Return the ids of the runs that hold a task now."""
    return {row[0] for row in connection.execute(statements.HELD_IDS) if row[0] is not None}


def held_run(connection: sqlite3.Connection, task_id: str) -> HeldRun | None:
    """Return the run that holds one task, or None."""
    return next(iter(_held(connection, statements.HELD_BY_TASK, task_id=task_id)), None)


def _held(connection: sqlite3.Connection, query: str, **values: object) -> list[HeldRun]:
    return readable(HeldRun, connection.execute(query, values))


def lingering_runs(connection: sqlite3.Connection) -> list[HeldRun]:
    """Return closed runs whose processes were not proven gone yet."""
    return readable(HeldRun, connection.execute(statements.LINGERING))


def candidates(
    connection: sqlite3.Connection, now: int, cooldown: int, max_starts: int = DEFAULT_STARTS_PER_HOUR
) -> list[Task]:
    """Return the tasks that may be started, best first.

    Args:
        connection: of a prepared board.
        now: epoch seconds.
        cooldown: the pause in seconds after "try later", for runs that name none themselves.
        max_starts: how often one task may be started within an hour.
    """
    values = {"now": now, "cooldown": cooldown, "max_starts": max_starts}
    return readable(Task, connection.execute(statements.CANDIDATES, values))


def open_triage_ids(connection: sqlite3.Connection) -> list[str]:
    """Return the cards in triage that somebody put there, best first; not those that the loop breaker parked."""
    return [row["id"] for row in connection.execute(_OPEN_TRIAGE)]


def tokens_used(connection: sqlite3.Connection, task_id: str) -> tuple[int, int]:
    """Return how many tokens a task used since a person opened it last, and in how many runs."""
    row = connection.execute(statements.TOKENS_USED, {"task_id": task_id}).fetchone()
    return int(row["tokens"]), int(row["runs"])


def running_by_assignee(connection: sqlite3.Connection) -> dict[str, int]:
    """Count the running tasks of each assignee, every task once."""
    return {row["assignee"]: row["running"] for row in connection.execute(statements.RUNNING_BY_ASSIGNEE)}


def table(connection: sqlite3.Connection, name: str) -> Table:
    """Return one table through sqlite-utils, for reads and reports."""
    return cast("Table", wrap(connection)[name])


def _has_own_tables(connection: sqlite3.Connection) -> bool:
    return table(connection, "kp_runs").exists()
