"""The lifecycle's SQL stays in the portable core, and every change of a task repeats what it was decided on."""

from __future__ import annotations

import ast
import inspect
import re
from types import ModuleType

import pytest

from hermes_kanban_plugin.store import (
    briefings,
    cleanups,
    completions,
    dispatchers,
    edits,
    failures,
    flags,
    journal,
    leases,
    moves,
    orphans,
    outages,
    outcomes,
    promotion,
    statements,
)

MODULES = (
    statements, briefings, cleanups, completions, dispatchers, edits, failures, flags, journal, leases, moves, orphans,
    outages, outcomes, promotion,
)  # fmt: skip
SQL = re.compile(r"\s*(SELECT|INSERT|UPDATE|DELETE|WITH|REPLACE|CREATE|ALTER|DROP|PRAGMA|BEGIN)\b[^a-z]")

# Words that SQLite understands and PostgreSQL does not (or not in the same sense).
NOT_PORTABLE = (
    r"INSERT\s+OR", r"UPDATE\s+OR", r"REPLACE\s+INTO", r"\bIFNULL\b", r"\bIIF\b", r"\browid\b", r"\b_rowid_\b",
    r"json_\w+\(", r"->", r"\bdatetime\(", r"\bdate\(", r"\bstrftime\b", r"\bunixepoch\b", r"\bjulianday\b",
    r"\bGLOB\b", r"\bMATCH\b", r"\brandomblob\b", r"\brandom\(", r"\bhex\(", r"\binstr\(", r"\btypeof\(",
    r"\bgroup_concat\b", r"\btotal\(", r"\bprintf\(", r"\bPRAGMA\b", r"\bAUTOINCREMENT\b", r"\bsqlite_\w+",
    r"\bINDEXED\s+BY\b", r"\bCOLLATE\s+NOCASE\b", r"\blast_insert_rowid\b", r"\bchanges\(", r"\?", r"[@$]\w+",
    r"\bIS\s+NOT\s+[^ND]", r"==", r"`", r"\"\w+\"", r"\bLIMIT\s+\w+\s*,", r"\bUPDATE\b[^;]*\bLIMIT\b",
)  # fmt: skip


def named_statements() -> dict[str, str]:
    """Return every statement that is a constant of a module, by name."""
    return {
        f"{module.__name__.rpartition('.')[2]}.{name}": value
        for module in MODULES
        for name, value in vars(module).items()
        if name.lstrip("_").isupper() and isinstance(value, str) and SQL.match(value)
    }


def written_statements(module: ModuleType) -> list[str]:
    """Return every statement that stands as text in a module's functions."""
    tree = ast.parse(inspect.getsource(module))
    texts = [node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    return [text for text in texts if SQL.match(text)]


STATEMENTS = named_statements()
WRITTEN = {f"{module.__name__}:{text[:40]}": text for module in MODULES for text in written_statements(module)}


def test_the_statements_are_found() -> None:
    assert {"statements.CLAIM_TASKS", "statements.RESCUE_TASK", "moves.INSERT_TASK"} <= set(STATEMENTS)
    assert len(STATEMENTS) > 35


@pytest.mark.parametrize("name", STATEMENTS | WRITTEN)
def test_a_statement_uses_only_what_both_databases_understand(name: str) -> None:
    text = (STATEMENTS | WRITTEN)[name]
    assert [word for word in NOT_PORTABLE if re.search(word, text, re.IGNORECASE)] == []


@pytest.mark.parametrize(
    "text",
    ["INSERT OR IGNORE INTO a", "SELECT IFNULL(a, 1)", "SELECT rowid FROM a", "SELECT a FROM b WHERE c = ?",
     "SELECT json_extract(a, b)", "SELECT datetime('now')", "SELECT a FROM b WHERE c IS NOT :d", "REPLACE INTO a"],
)  # fmt: skip
def test_the_list_of_words_finds_them(text: str) -> None:
    assert any(re.search(word, text, re.IGNORECASE) for word in NOT_PORTABLE)


TASK_CHANGES = {name: text for name, text in STATEMENTS.items() if re.match(r"\s*UPDATE tasks\b", text)}
# Promotion changes every task that is in a state, whichever it is.
SWEEPS = {"statements.PROMOTE"}


def test_no_change_of_a_task_stands_outside_the_named_statements() -> None:
    outside = [
        name
        for name, text in WRITTEN.items()
        if re.match(r"\s*UPDATE (?!kp_)", text) and text not in TASK_CHANGES.values()
    ]
    assert [name for name in outside if not name.startswith(statements.__name__)] == []
    assert len(TASK_CHANGES) >= 12


@pytest.mark.parametrize("name", TASK_CHANGES)
def test_every_change_of_a_task_is_one_compare_and_set(name: str) -> None:
    text = TASK_CHANGES[name]
    where = text.partition("WHERE")[2].partition("RETURNING")[0]
    assert re.search(r"\bstatus = ('\w+'|:\w+)", where)
    assert name in SWEEPS or re.search(r"\bid (=|IN) ", where)
    assert "RETURNING" in text


@pytest.mark.parametrize(
    "name", ["ACCEPT_TASK", "RENEW_TASK", "BEAT_TASK", "FINISH_TASK", "SET_WORKSPACE", "SELECT_CURRENT"]
)
def test_every_write_of_a_worker_carries_the_whole_proof(name: str) -> None:
    where = getattr(statements, name).partition("WHERE")[2]
    for proof in ("id = :task_id", "status = 'running'", "current_run_id = :run_id", "claim_lock = :lock"):
        assert proof in where


@pytest.mark.parametrize("name", ["ACCEPT_RUN", "RENEW_RUN", "CLOSE_RUN", "CLOSE_STRAY_RUN"])
def test_every_change_of_a_run_needs_it_open(name: str) -> None:
    where = getattr(statements, name).partition("WHERE")[2]
    for proof in ("id = :run_id", "task_id = :task_id", "ended_at IS NULL"):
        assert proof in where
