"""Rows as models: a row that cannot be read is told apart and never keeps the others from being read.

SQLite keeps whatever it is given, so another program can put a word where a number belongs. What such a row says is
not guessed: nothing is done with it until a person put it right (finding ``unreadable_row``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from pydantic import BaseModel, ValidationError

from hermes_kanban_plugin.errors import UnreadableRow
from hermes_kanban_plugin.store.connection import path_of

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Mapping

# Columns of a task that may hold nothing.
_MAY_BE_EMPTY = frozenset(
    {
        "assignee", "block_kind", "body", "branch_name", "claim_expires", "claim_lock", "completed_at", "created_by",
        "current_run_id", "goal_max_turns", "last_failure_error", "last_heartbeat_at", "max_retries",
        "max_runtime_seconds", "model_override", "project_id", "result", "session_id", "started_at", "tenant",
        "worker_pid", "workspace_path",
    }
)  # fmt: skip

_Model = TypeVar("_Model", bound=BaseModel)
_MOST_SHOWN = 60
# What the other columns of a task are given: the nearest that the column can hold, or its default.
_REPAIRS = (("goal_mode", "0"), ("created_at", "CAST(created_at AS INTEGER)"), ("title", "hex(title)"),
            ("status", "'blocked'"), ("priority", "0"), ("block_recurrences", "0"), ("consecutive_failures", "0"),
            ("workspace_kind", "'scratch'"))  # fmt: skip


class Unreadable(NamedTuple):
    """A value of the wrong kind: of which task, in which column, as it is shown, whether in the task's row."""

    task_id: str
    column: str
    value: str
    in_task: bool = True

    @property
    def sentence(self) -> str:
        """What is wrong, in words."""
        return f"{self.column} is {self.value}, which is no value for that column"

    def repair(self, path: str) -> str:
        """Return what puts it right on a board file: a command line if it is a column of the task, else in words."""
        fitting = dict(_REPAIRS).get(self.column, "NULL" if self.column in _MAY_BE_EMPTY else None)
        if fitting is None or not self.in_task:
            return f"correct the value of {self.column} in what {path} says about {self.task_id}"
        task_id = self.task_id.replace("'", "''")
        return f"sqlite3 {_quoted(path)} \"UPDATE tasks SET {self.column} = {fitting} WHERE id = '{task_id}'\""


class Sieve:
    """Makes models of rows and keeps what cannot be read apart, each row once."""

    def __init__(self) -> None:
        self._found: dict[tuple[str, str], Unreadable] = {}

    @property
    def unreadable(self) -> tuple[Unreadable, ...]:
        """What could not be read, in the order in which it was met."""
        return tuple(self._found.values())

    def one(self, model: type[_Model], row: Mapping[str, Any]) -> _Model | None:
        """Return one row as a model, or None if it cannot be read."""
        try:
            return model.model_validate(row)
        except ValidationError as problem:
            found = _named(row, problem)
            self._found.setdefault((found.task_id, found.column), found)
            return None

    def all(self, model: type[_Model], rows: Iterable[Mapping[str, Any]]) -> list[_Model]:
        """Return the rows that can be read as models, in their order."""
        return [made for row in rows if (made := self.one(model, row)) is not None]


def readable(model: type[_Model], rows: Iterable[Any]) -> list[_Model]:
    """Return the rows that can be read as models, in their order; rows are mappings or of SQLite."""
    return Sieve().all(model, (dict(row) for row in rows))


def read(model: type[_Model], row: Mapping[str, Any], connection: sqlite3.Connection) -> _Model:
    """Return one row as a model.

    Args:
        model: what the row should be.
        row: the row.
        connection: where it was read, for the message.

    Raises:
        UnreadableRow: a value is of the wrong kind; the message says how it is put right.
    """
    sieve = Sieve()
    made = sieve.one(model, row)
    if made is None:
        found = sieve.unreadable[0]
        raise UnreadableRow(found.task_id, found.sentence, found.repair(path_of(connection)))
    return made


def _named(row: Mapping[str, Any], problem: ValidationError) -> Unreadable:
    """Say which value of a row was refused; a name is only shown, so it may be cut."""
    first = problem.errors(include_url=False, include_context=False)[0]
    name = str(first["loc"][0]) if first["loc"] else "a column"
    # A run that holds a task is read with columns of three tables: of the same name ours, not the task's.
    in_task = "known_run_id" not in row or name not in ("worker_pid", "started_at")
    owner = row.get("task_id", row.get("id"))
    value = repr(first["input"])
    shown = value if len(value) <= _MOST_SHOWN else f"{value[: _MOST_SHOWN - 1]}…"
    return Unreadable(str(owner), name.removeprefix("task_"), shown, in_task)


def _quoted(path: str) -> str:
    return "'" + path.replace("'", "'\"'\"'") + "'"
