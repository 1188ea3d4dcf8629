"""What may be forgotten: history of tasks that are long finished, repeated signs of life, our own old rows.

Each rule is a condition that its DELETE repeats row by row, so that a task which is opened again in between keeps
everything. Long tables are walked in windows of their key, each a short transaction of its own, so that no worker
waits for a clean-up. Rule source: contract section 10 (``gc``) and W25, failure modes G9 and G13.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from hermes_kanban_plugin.store.connection import columns_of
from hermes_kanban_plugin.store.transaction import immediate

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator, Mapping

# Rows that one transaction looks at.
WINDOW = 5_000
# Signs of life are told apart for a day; after it the first and the last of a row say the same.
COALESCE_SECONDS = 86_400

# Told to nobody yet: by our own dispatcher to plugins, or by the host's notifier to a subscriber.
_TOLD_TO_PLUGINS = "(SELECT min(kp_cursors.event_id) FROM kp_cursors)"
_UNTOLD = f"""(
    task_events.id > COALESCE({_TOLD_TO_PLUGINS}, task_events.id)
    OR EXISTS (SELECT 1 FROM kanban_notify_subs AS told
        WHERE told.task_id = task_events.task_id AND told.last_event_id < task_events.id))"""

_OPEN = """EXISTS (
    SELECT 1 FROM tasks WHERE tasks.id = {table}.task_id AND tasks.status NOT IN ('done', 'archived'))"""

# Whole histories or nothing: half of one would show a task that was never created, or that is still running.
_FINISHED_HISTORY = f"""task_events.created_at < :events_before AND NOT {_UNTOLD}
    AND NOT {_OPEN.format(table="task_events")}
    AND NOT EXISTS (SELECT 1 FROM task_events AS newer
        WHERE newer.task_id = task_events.task_id AND newer.created_at >= :events_before)"""

# What says again what the row before it said; the first and the last of each kind in a run stay. The nearest row is
# looked for first, and within its run, so that a long history costs no more per row than a short one.
_SAME = """other.kind = task_events.kind
    AND (other.kind <> 'respawn_guarded' OR COALESCE(other.payload, '') = COALESCE(task_events.payload, ''))
    AND (other.kind <> 'heartbeat' OR other.payload IS NULL)"""
_BEFORE = "other.id < task_events.id AND other.created_at <= task_events.created_at"
_AFTER = "other.id > task_events.id AND other.created_at >= task_events.created_at"
_IN_RUN = f"SELECT other.id FROM task_events AS other WHERE other.run_id = task_events.run_id AND {_SAME}"
_IN_NONE = f"""SELECT other.id FROM task_events AS other
        WHERE other.task_id = task_events.task_id AND COALESCE(other.run_id, 0) = 0 AND {_SAME}"""


def _is_there(bound: str, direction: str) -> str:
    """Return the condition that the same was said on one side of a row, in the same run or, like it, in none."""
    within = f"({_IN_RUN} AND {bound} ORDER BY other.id {direction} LIMIT 1)"
    outside = f"({_IN_NONE} AND {bound} ORDER BY other.created_at {direction} LIMIT 1)"
    return f"CASE WHEN task_events.run_id IS NULL THEN {outside} ELSE {within} END IS NOT NULL"


_REPEATED_LIFE = f"""task_events.created_at < :repeats_before AND NOT {_UNTOLD}
    AND task_events.kind IN ('heartbeat', 'claim_extended', 'reclaim_deferred', 'respawn_guarded')
    AND (task_events.kind <> 'heartbeat' OR task_events.payload IS NULL)
    AND {_is_there(_BEFORE, "DESC")}
    AND {_is_there(_AFTER, "ASC")}"""

# A run whose processes were not proven gone is never forgotten: nothing may start beside them.
_OWN_RUNS = f"""NOT {_OPEN.format(table="kp_runs")}
    AND ((kp_runs.ended_at IS NOT NULL AND kp_runs.ended_at < :runs_before)
        OR (kp_runs.accepted_at IS NULL AND kp_runs.claimed_at < :runs_before))"""

_FINISHED_BEFORE = """NOT EXISTS (SELECT 1 FROM tasks WHERE tasks.id = {table}.task_id
    AND (tasks.status NOT IN ('done', 'archived') OR COALESCE(tasks.completed_at, tasks.created_at) >= :runs_before))"""


class Rule(NamedTuple):
    """One kind of rows that may go.

    ``name`` is for people, ``key`` the whole-number key that a long table is walked by (None: one statement),
    ``moment`` the column that says how old a row is (None: not known).
    """

    name: str
    table: str
    condition: str
    key: str | None = None
    moment: str | None = None


RULES = (
    Rule("history of finished tasks", "task_events", _FINISHED_HISTORY, "id", "created_at"),
    Rule("repeated signs of life", "task_events", _REPEATED_LIFE, "id", "created_at"),
    Rule("process facts of old runs", "kp_runs", _OWN_RUNS, "run_id", "ended_at"),
    Rule("failure counts of finished tasks", "kp_failures", _FINISHED_BEFORE.format(table="kp_failures")),
    Rule(
        "late completions of finished tasks",
        "kp_completions",
        f"NOT {_OPEN.format(table='kp_completions')} AND kp_completions.at < :runs_before",
        moment="at",
    ),
    Rule("outages that are over", "kp_outages", "kp_outages.closed_at < :runs_before", moment="closed_at"),
    Rule(
        "terms of earlier dispatchers",
        "kp_dispatchers",
        "COALESCE(kp_dispatchers.ended_at, kp_dispatchers.last_tick_at) < :runs_before"
        " AND kp_dispatchers.term < (SELECT max(newest.term) FROM kp_dispatchers AS newest)",
        moment="last_tick_at",
    ),
    Rule("suspicions", "kp_suspects", f"NOT {_OPEN.format(table='kp_suspects')} AND kp_suspects.since < :runs_before"),
)


class Cutoffs(NamedTuple):
    """Epoch seconds: what is younger stays."""

    events_before: int
    repeats_before: int
    runs_before: int


class Amount(NamedTuple):
    """How many rows a rule would remove, and when the oldest of them was written (None: not known or no row)."""

    rows: int
    oldest: int | None


def known_rules(connection: sqlite3.Connection) -> list[Rule]:
    """Return the rules whose tables this board has, fit for it: a board of a plain host has none of our tables."""
    rules = [rule for rule in RULES if columns_of(connection, rule.table)]
    if columns_of(connection, "kp_cursors"):
        return rules
    return [rule._replace(condition=rule.condition.replace(_TOLD_TO_PLUGINS, "NULL")) for rule in rules]


def unfinished(connection: sqlite3.Connection) -> set[str]:
    """Return the ids of the tasks of which nothing may be forgotten."""
    return {row[0] for row in connection.execute("SELECT id FROM tasks WHERE status NOT IN ('done', 'archived')")}


def count(connection: sqlite3.Connection, rule: Rule, cutoffs: Cutoffs) -> Amount:
    """Count what a rule would remove now; reads only."""
    oldest = f"min({rule.table}.{rule.moment})" if rule.moment else "NULL"
    query = f"SELECT count(*) AS found, {oldest} AS oldest FROM {rule.table} WHERE {rule.condition}"
    row = connection.execute(query, cutoffs._asdict()).fetchone()
    return Amount(row["found"], row["oldest"])


def remove(connection: sqlite3.Connection, rule: Rule, cutoffs: Cutoffs) -> Iterator[tuple[int, float]]:
    """Remove what a rule covers, a short transaction at a time; yields (rows removed, share of the work done).

    Whoever stops in between keeps what is removed; going on later does the rest.
    """
    values = cutoffs._asdict()
    delete = f"DELETE FROM {rule.table} WHERE {rule.condition}"
    if rule.key is None:
        yield _delete(connection, delete, values), 1.0
        return
    column = f"{rule.table}.{rule.key}"
    first, last = connection.execute(f"SELECT min({column}), max({column}) FROM {rule.table}").fetchone()
    if first is None:
        yield 0, 1.0
        return
    span, between = last - first + 1, f" AND {column} >= :low AND {column} < :high"
    found = f"SELECT 1 FROM {rule.table} WHERE {rule.condition}{between} LIMIT 1"
    for low in range(first, last + 1, WINDOW):
        window = {**values, "low": low, "high": low + WINDOW}
        rows = 0
        if connection.execute(found, window).fetchone() is not None:
            rows = _delete(connection, delete + between, window)
        yield rows, min(1.0, (low + WINDOW - first) / span)


def _delete(connection: sqlite3.Connection, statement: str, values: Mapping[str, int]) -> int:
    with immediate(connection):
        return connection.execute(statement, values).rowcount
