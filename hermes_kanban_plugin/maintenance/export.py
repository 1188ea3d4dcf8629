"""``export``: everything that is said on a board as JSON lines, of one moment and without secrets.

One object per line, ``record`` says what it is: first the board, then its tasks, links, runs, comments, events and
attachments (their rows; the files are in a snapshot). Claim locks are left out: they are the proof of a worker.
Rule source: failure modes G11 and M4.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from hermes_kanban_plugin import __version__, host
from hermes_kanban_plugin.maintenance.progress import silent
from hermes_kanban_plugin.redaction import redact_tree
from hermes_kanban_plugin.store import snapshots
from hermes_kanban_plugin.store.connection import columns_of, translating

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator

    from hermes_kanban_plugin.board import Board
    from hermes_kanban_plugin.maintenance.progress import Progress

VERSION = 1
# Record, table, the order of its rows, and the columns that hold JSON.
RECORDS = (
    ("task", "tasks", "created_at, id", ("skills",)),
    ("link", "task_links", "parent_id, child_id", ()),
    ("run", "task_runs", "id", ("metadata",)),
    ("comment", "task_comments", "id", ()),
    ("event", "task_events", "id", ("payload",)),
    ("attachment", "task_attachments", "id", ()),
)
LEFT_OUT = frozenset({"claim_lock"})
# What our own table knows about a run and the host's does not.
RUN_FACTS = (
    "lane", "cause", "accepted_at", "exit_code", "exit_signal", "user_seconds", "system_seconds", "peak_memory_bytes",
    "first_output",
    "last_output",
)  # fmt: skip
# Columns that hold ids and words of a fixed vocabulary: nobody writes text there, and a long history has millions.
_WORDS = frozenset({"id", "task_id", "parent_id", "child_id", "kind", "status", "outcome", "lane", "workspace_kind"})
# Payload keys under which a claim lock stands in the history.
_LOCK_KEYS = frozenset({"lock", "stale_lock", "prev_lock", "claim_lock", "claimer"})


def records(board: Board, progress: Progress = silent) -> Iterator[dict[str, Any]]:
    """Return every record of a board, in an order that a reader can build it up in; reads one moment of it.

    Args:
        board: changes meanwhile are not in it.
        progress: is told how far it is.
    """
    with translating(board.path), snapshots.one_moment(board.reader) as reader:
        counts = snapshots.counts_of(reader)
        whole, done = sum(counts.values()) or 1, 0
        yield {
            "record": "board",
            "board": board.slug,
            "exported_at": board.clock.now(),
            "exported_by": f"hermes-kanban-plugin {__version__}",
            "version": VERSION,
            "rows": counts,
        }
        for record, table, order, decoded in RECORDS:
            for row in _rows(reader, table, order):
                yield {"record": record, **_cleaned(row, decoded)}
                done += 1
                progress(f"exporting {table}", done / whole)


def line_of(record: dict[str, Any]) -> str:
    """Return a record as one line of JSON."""
    return json.dumps(record, ensure_ascii=False)


def _rows(reader: sqlite3.Connection, table: str, order: str) -> Iterator[dict[str, Any]]:
    if not columns_of(reader, table):
        return
    query = f"SELECT * FROM {table} ORDER BY {order}"
    known = columns_of(reader, "kp_runs") if table == "task_runs" else set()
    facts = [name for name in RUN_FACTS if name in known]
    if facts:
        named = ", ".join(f"kp_runs.{name}" for name in facts)
        join = "LEFT JOIN kp_runs ON kp_runs.run_id = task_runs.id"
        query = f"SELECT task_runs.*, {named} FROM task_runs {join} ORDER BY task_runs.id"
    for row in reader.execute(query):
        yield dict(row)


def _cleaned(row: dict[str, Any], decoded: tuple[str, ...]) -> dict[str, Any]:
    values = {name: value for name, value in row.items() if name not in LEFT_OUT}
    for name in decoded:
        values[name] = _without_locks(_decode(values.get(name)))
    return {name: value if name in _WORDS else redact_tree(value, host.redact, name) for name, value in values.items()}


def _decode(text: Any) -> Any:
    if not isinstance(text, str):
        return text
    try:
        return json.loads(text)
    except ValueError:
        return text


def _without_locks(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    return {key: item for key, item in value.items() if key not in _LOCK_KEYS}
