"""What a diagnosis reads of a board: each statement bounded, so that a board of any size is looked at quickly.

Rows are plain dictionaries; :mod:`hermes_kanban_plugin.diagnosis.facts` makes facts of them. Nothing here changes a
byte. ``:limit`` bounds each list, best or newest first.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from hermes_kanban_plugin.store import statements
from hermes_kanban_plugin.store.attempts import newest_attempt
from hermes_kanban_plugin.store.standins import Pane
from hermes_kanban_plugin.store.values import known, number

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator

    Row = dict[str, Any]

# Events that move a task into the column it is in, or end a run: the newest one says since when and why.
TURNS = (
    "created", "promoted", "promoted_manual", "claim_rejected", "unblocked", "blocked", "block_loop_detected",
    "dependency_wait", "gave_up", "scheduled", "status", "specified", "decomposed", "claimed", "completed", "archived",
    "reclaimed", "stale", "crashed", "protocol_violation", "rate_limited", "timed_out", "spawn_failed",
)  # fmt: skip
# A gate closes with one of the first and opens with one of the second.
CLOSING = ("blocked", "block_loop_detected", "dependency_wait")
OPENING = ("unblocked", "promoted", "promoted_manual", "status", "specified")

_OPEN_PARENT = "parent.status NOT IN ('done', 'archived')"
_UNFINISHED = "tasks.status NOT IN ('done', 'archived')"


def _words(kinds: tuple[str, ...]) -> str:
    return ", ".join(f"'{kind}'" for kind in kinds)


# One row per task, with all that decides whether it can run: its newest run, its parents, what is left of an earlier
# run, how often it was started lately, and the event that brought it where it is.
CASES = f"""
SELECT tasks.*,
    last.id AS last_id, last.status AS last_status, last.outcome AS last_outcome, last.started_at AS last_started_at,
    last.ended_at AS last_ended_at, last.error AS last_error, last.summary AS last_summary,
    facts.cause AS last_cause, facts.signature AS last_signature, facts.retry_at AS last_retry_at,
    facts.exit_code AS last_exit_code, facts.exit_signal AS last_exit_signal, facts.last_output AS last_last_output,
    turn.kind AS turn_kind, turn.payload AS turn_payload, turn.created_at AS turn_at,
    (SELECT count(*) FROM task_links JOIN tasks AS parent ON parent.id = task_links.parent_id
        WHERE task_links.child_id = tasks.id AND {_OPEN_PARENT}) AS open_parents,
    (SELECT max(kp_runs.run_id) FROM kp_runs WHERE kp_runs.task_id = tasks.id
        AND kp_runs.accepted_at IS NOT NULL AND kp_runs.ended_at IS NULL) AS unproven_run,
    (SELECT max(kp_completions.run_id) FROM kp_completions
        WHERE kp_completions.task_id = tasks.id AND kp_completions.decided_at IS NULL
            AND kp_completions.run_id = {newest_attempt("tasks.id")}) AS late_run,
    (SELECT count(*) FROM kp_runs WHERE kp_runs.task_id = tasks.id AND kp_runs.claimed_at > :now - 3600)
        AS recent_starts,
    (SELECT max(created_at) FROM task_comments WHERE task_comments.task_id = tasks.id) AS commented_at,
    (SELECT kp_timers.due_at FROM kp_timers WHERE kp_timers.task_id = tasks.id AND kp_timers.event_id = turn.id)
        AS due_at
FROM tasks
    LEFT JOIN task_runs AS last
        ON last.id = (SELECT max(newest.id) FROM task_runs AS newest WHERE newest.task_id = tasks.id)
    LEFT JOIN kp_runs AS facts ON facts.run_id = last.id
    LEFT JOIN task_events AS turn ON turn.id = (
        SELECT max(moved.id) FROM task_events AS moved
        WHERE moved.task_id = tasks.id AND moved.kind IN ({_words(TURNS)}))
WHERE """


def _first(condition: str, order: str) -> str:
    """Return the statement for the first tasks of an order; chosen before the rest is looked up for each of them."""
    chosen = f"SELECT tasks.id FROM tasks WHERE {condition} ORDER BY {order} LIMIT :limit"
    return f"{CASES}tasks.id IN ({chosen}) ORDER BY {order}"


CASE = f"{CASES}tasks.id = :task_id"
WAITING = _first("tasks.status IN ('ready', 'review')", "tasks.priority DESC, tasks.created_at, tasks.id")
# What is blocked holds somebody up; ideas in triage may be many, and must not push it out of the list.
GATED = _first(
    "tasks.status IN ('blocked', 'triage', 'scheduled')", "tasks.status <> 'blocked', tasks.created_at, tasks.id"
)
FAILING = _first(f"tasks.consecutive_failures > 0 AND {_UNFINISHED}", "tasks.consecutive_failures DESC, tasks.id")
DECIDING = _first(
    f"""{_UNFINISHED} AND tasks.id IN (
    SELECT kp_completions.task_id FROM kp_completions WHERE kp_completions.decided_at IS NULL)""",
    "tasks.id",
)

# What nobody claimed (a block or completion by hand) is in the host's table alone and is no start.
STARTS = """
SELECT claimed_at FROM kp_runs WHERE task_id = :task_id AND claimed_at > :now - 3600 AND claimed_at <= :now
ORDER BY claimed_at"""

COUNTS = "SELECT status, count(*) AS tasks FROM tasks GROUP BY status"

# A gate that was closed and opened: counted in the order of the history, because several happen in one second. The
# cross join keeps the few tasks that were ever blocked in front of the long history.
GATE_EVENTS = f"""
SELECT task_events.id, task_events.task_id, task_events.kind, task_events.payload, task_events.created_at
FROM tasks CROSS JOIN task_events
WHERE task_events.task_id = tasks.id AND {_UNFINISHED}
    AND (tasks.block_recurrences > 0 OR tasks.block_kind IS NOT NULL OR :all_tasks = 1)
    AND task_events.kind IN ({_words(CLOSING + OPENING)}) AND task_events.created_at > :since
ORDER BY task_events.id DESC LIMIT :limit"""

# The part of the graph that can hold somebody up: links between tasks that are not finished.
OPEN_LINKS = f"""
SELECT task_links.parent_id, task_links.child_id
FROM task_links JOIN tasks AS parent ON parent.id = task_links.parent_id JOIN tasks ON tasks.id = task_links.child_id
WHERE {_OPEN_PARENT} AND {_UNFINISHED} LIMIT :limit"""
_LINKED = """
SELECT tasks.id, tasks.status, tasks.title, tasks.created_at,
    (SELECT kp_timers.due_at FROM kp_timers WHERE kp_timers.task_id = tasks.id AND kp_timers.event_id = (
        SELECT max(parked.id) FROM task_events AS parked
        WHERE parked.task_id = tasks.id AND parked.kind = 'scheduled')) AS due_at
FROM tasks"""
LINKED_TASKS = f"""{_LINKED}
WHERE {_UNFINISHED}
    AND (tasks.id IN (SELECT parent_id FROM task_links) OR tasks.id IN (SELECT child_id FROM task_links))
LIMIT :limit"""
LINKED_TASK = f"{_LINKED} WHERE {_UNFINISHED} AND tasks.id = :task_id"
LINKS_OF = f"""
SELECT task_links.parent_id, task_links.child_id
FROM task_links JOIN tasks AS parent ON parent.id = task_links.parent_id JOIN tasks ON tasks.id = task_links.child_id
WHERE (task_links.parent_id = :task_id OR task_links.child_id = :task_id) AND {_OPEN_PARENT} AND {_UNFINISHED}
ORDER BY task_links.parent_id, task_links.child_id LIMIT :limit"""

RUNLESS = """
SELECT tasks.id, tasks.current_run_id, tasks.claim_lock FROM tasks
WHERE tasks.status = 'running' AND NOT EXISTS (
    SELECT 1 FROM task_runs
    WHERE task_runs.id = tasks.current_run_id AND task_runs.task_id = tasks.id AND task_runs.ended_at IS NULL)
ORDER BY tasks.id LIMIT :limit"""

NEWEST_EVENTS = "SELECT id, created_at FROM task_events ORDER BY id DESC LIMIT :limit"
OLDEST_TASK = "SELECT min(created_at) FROM tasks"
FUTURE_TASKS = "SELECT count(*) AS tasks FROM tasks WHERE created_at > :latest"

OPEN_OUTAGES = "SELECT * FROM kp_outages WHERE closed_at IS NULL ORDER BY id LIMIT :limit"
# Of the runs that hold a task, or were closed while something of them lives on.
UNSTOPPABLE = """
SELECT task_events.task_id, task_events.run_id, task_events.payload, task_events.created_at
FROM kp_runs JOIN task_events ON task_events.run_id = kp_runs.run_id AND task_events.kind = 'stop_failed'
WHERE kp_runs.ended_at IS NULL ORDER BY task_events.id LIMIT :limit"""
FLAGS = "SELECT name, value, actor, since FROM kp_flags ORDER BY name LIMIT :limit"


# What a case has beside the row of the task and its newest run, which are read as models.
_BESIDE = ("turn_kind", "turn_payload", "turn_at", "unproven_run", "late_run", "commented_at", "due_at")


def _around(row: Row) -> Row:
    return {**row, **known({name: row[name] for name in _BESIDE})}


class Survey:
    """One look at a board, in one read transaction: everything that is read belongs to the same moment."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._pane = Pane(connection)
        self._connection = connection

    @classmethod
    @contextmanager
    def begin(cls, connection: sqlite3.Connection) -> Iterator[Survey]:
        """Look at a board through a connection, which is left as it was found."""
        joined = connection.in_transaction
        if not joined:
            connection.execute("BEGIN")
        try:
            yield cls(connection)
        finally:
            if not joined:
                connection.execute("ROLLBACK")

    def one(self, task_id: str, now: int) -> list[Row]:
        """Return the case of one task."""
        return [_around(row) for row in self._pane.rows(CASE, task_id=task_id, now=now)]

    def cases(self, now: int, limit: int) -> tuple[list[Row], bool]:
        """Return every task that a diagnosis looks at one by one, each once, and whether there may be more.

        These are the ones that wait, are gated, fail, or are to be decided: of each group up to ``limit``.
        """
        found: dict[object, Row] = {}
        cut = False
        for statement in (WAITING, GATED, FAILING, DECIDING):
            rows = self._pane.rows(statement, now=now, limit=limit)
            cut = cut or len(rows) >= limit
            for row in rows:
                found.setdefault(row["id"], _around(row))
        return list(found.values()), cut

    def waiting(self, now: int, limit: int) -> list[Row]:
        """Return the tasks that wait to be started, best first."""
        return [_around(row) for row in self._pane.rows(WAITING, now=now, limit=limit)]

    def starts(self, task_id: str, now: int) -> list[int]:
        """Return when a task was started within the last hour, oldest first."""
        stamps = [number(row["claimed_at"]) for row in self._pane.rows(STARTS, task_id=task_id, now=now)]
        return [at for at in stamps if at is not None]

    def counts(self) -> dict[str, int]:
        """Return how many tasks are in each column."""
        return {str(row["status"]): int(row["tasks"]) for row in self._pane.rows(COUNTS)}

    def held(self, limit: int) -> list[Row]:
        """Return the runs that hold a task now."""
        return self._pane.rows(f"{statements.HELD} LIMIT :limit", limit=limit)

    def held_by(self, task_id: str) -> list[Row]:
        """Return the run that holds one task, as a list of one or none."""
        return self._pane.rows(statements.HELD_BY_TASK, task_id=task_id)

    def lingering(self, limit: int) -> list[Row]:
        """Return the closed runs whose processes were not proven gone."""
        return self._pane.rows(f"{statements.LINGERING} LIMIT :limit", limit=limit)

    def stray_locks(self, limit: int) -> list[Row]:
        """Return the tasks that carry a claim without running."""
        return self._known(f"{statements.STRAY_LOCKS} LIMIT :limit", limit=limit)

    def stray_runs(self, limit: int) -> list[Row]:
        """Return the open runs that no running task points to."""
        return self._known(f"{statements.STRAY_RUNS} LIMIT :limit", limit=limit)

    def runless(self, limit: int) -> list[Row]:
        """Return the running tasks without an open run."""
        return self._known(RUNLESS, limit=limit)

    def gate_events(self, since: int, limit: int) -> list[Row]:
        """Return when gates closed and opened after a moment, oldest first; of more than ``limit`` the newest.

        Boards of hosts that did not count blocks do not say which tasks were ever blocked, so all are looked at.
        """
        everywhere = 0 if self._pane.has("tasks", "block_recurrences") else 1
        rows = self._known(GATE_EVENTS, since=since, limit=limit, all_tasks=everywhere)
        return [row for row in reversed(rows) if row["created_at"] is not None]

    def graph(self, limit: int) -> tuple[list[Row], list[Row]]:
        """Return the links between unfinished tasks, and the unfinished tasks that have any."""
        links = self._known(OPEN_LINKS, limit=limit)
        return links, self._known(LINKED_TASKS, limit=limit) if links else []

    def neighbourhood(self, task_id: str, limit: int) -> tuple[list[Row], list[Row]]:
        """Return the part of that graph around one task, nearest first, up to a number of tasks."""
        links: dict[tuple[object, object], Row] = {}
        tasks: list[Row] = []
        queue, met = [task_id], {task_id}
        while queue and len(tasks) < limit:
            here = queue.pop(0)
            tasks += self._known(LINKED_TASK, task_id=here)
            for link in self._known(LINKS_OF, task_id=here, limit=limit):
                ends = (str(link["parent_id"]), str(link["child_id"]))
                links[ends] = link
                queue += [end for end in ends if end not in met]
                met.update(ends)
        return list(links.values()), tasks

    def outages(self, limit: int) -> list[Row]:
        """Return the outages that are not over."""
        return self._pane.rows(OPEN_OUTAGES, limit=limit)

    def unstoppable(self, limit: int) -> list[Row]:
        """Return which processes of a run would not end, of those that have not ended since."""
        return self._pane.rows(UNSTOPPABLE, limit=limit)

    def flags(self, limit: int) -> list[Row]:
        """Return what a person set on the whole board."""
        return self._pane.rows(FLAGS, limit=limit)

    def newest_events(self, limit: int) -> list[Row]:
        """Return id and time of the newest events, newest first."""
        return [row for row in self._known(NEWEST_EVENTS, limit=limit) if row["created_at"] is not None]

    def tasks_after(self, latest: int) -> int:
        """Return how many tasks were created after a moment."""
        return self._pane.number(FUTURE_TASKS, latest=latest)

    def oldest_task_at(self) -> int | None:
        """Return when the oldest task was created, or None on an empty board."""
        return self._pane.number(OLDEST_TASK) or None

    def _known(self, statement: str, **values: object) -> list[Row]:
        return [known(row) for row in self._pane.rows(statement, **values)]

    def running_by_assignee(self) -> dict[str, int]:
        """Return how many tasks run for each assignee."""
        rows = self._pane.rows(statements.RUNNING_BY_ASSIGNEE)
        return {str(row["assignee"]): int(row["running"]) for row in rows}

    def journal_mode(self) -> str:
        """Return how the board keeps its journal: ``wal``, ``delete`` and the like."""
        return str(self._connection.execute("PRAGMA journal_mode").fetchone()[0])
