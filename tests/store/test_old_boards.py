"""Boards that real host versions made: they open as they are, gain what the host would add, and live on."""

from __future__ import annotations

import json
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from hermes_kanban_plugin.board import Board
from hermes_kanban_plugin.store import orphans, queries
from hermes_kanban_plugin.store.leases import ClaimTerms
from hermes_kanban_plugin.store.outcomes import Handoff
from hermes_kanban_plugin.testing import FakeClock, place_of, violations

VERSIONS = ("0.13.0", "0.15.2", "0.17.0", "0.19.0")
MIGRATE = """
import sys
from pathlib import Path
from hermes_cli import kanban_db as kb
kb.init_db(Path(sys.argv[1]))
"""


@pytest.fixture(params=VERSIONS)
def version(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def path(tmp_path: Path, old_boards: Path, version: str) -> Path:
    """A copy of the board of a version."""
    return Path(shutil.copy(old_boards / f"hermes-{version}.db", tmp_path / "kanban.db"))


@pytest.fixture
def named(old_boards: Path, version: str) -> dict[str, Any]:
    """Which task is which, and the running claim."""
    return json.loads((old_boards / f"hermes-{version}.json").read_text())


def content(path: Path) -> dict[str, Any]:
    """Return columns and rows of the host's tables, and its indexes."""
    with closing(sqlite3.connect(path)) as board:
        sql = "SELECT name FROM sqlite_master WHERE type = ? AND name NOT LIKE '%kp_%' AND name NOT LIKE 'sqlite_%'"
        tables = sorted(row[0] for row in board.execute(sql, ("table",)))
        indexes = sorted(row[0] for row in board.execute(sql, ("index",)))
        found: dict[str, Any] = {name: board.execute(f"PRAGMA index_xinfo({name})").fetchall() for name in indexes}
        for name in tables:
            found[name] = board.execute(f"PRAGMA table_xinfo({name})").fetchall()
            found[f"{name} rows"] = sorted(board.execute(f"SELECT * FROM {name}").fetchall(), key=repr)
        return found


def prepare(path: Path) -> None:
    """Add to a board what it lacks, as our first change does, and change nothing else."""
    with Board(place_of(path), FakeClock()) as board:
        assert board.writer.in_transaction is False


def test_it_opens_lists_and_shows_without_a_change(path: Path, named: dict[str, Any], version: str) -> None:
    assert named["version"] == version
    before = path.read_bytes()
    statuses = {"parent": "ready"} | {name: name for name in named["tasks"] if name != "parent"}
    with Board(place_of(path), FakeClock()) as board:
        for name, task_id in named["tasks"].items():
            assert board.task(task_id).status == statuses[name]
        listed = {task.id for task in board.tasks()}
        assert listed == set(named["tasks"].values()) - {named["tasks"]["archived"]}
        running = board.task(named["tasks"]["running"])
        claim = {"run_id": running.current_run_id, "claim_lock": running.claim_lock, "worker_pid": running.worker_pid}
        assert claim == named["running"]
        (run,) = board.runs(named["tasks"]["done"])
        assert (run.outcome, run.summary) == ("completed", "Collected three price lists.")
        assert run.metadata["suppliers"] == 3
        assert [event.kind for event in board.events(named["tasks"]["done"])][-1] == "completed"
        assert queries.parents_of(board.reader, named["tasks"]["todo"]) == [named["tasks"]["parent"]]
        (comment,) = queries.list_comments(board.reader, named["tasks"]["ready"])
        assert comment["author"] == "reviewer"
    assert path.read_bytes() == before


def test_it_gains_exactly_what_the_host_would_add(path: Path, tmp_path: Path, host) -> None:
    theirs = Path(shutil.copy(path, tmp_path / "theirs.db"))
    host(MIGRATE, theirs)
    prepare(path)
    assert content(path) == content(theirs)


def test_the_host_finds_nothing_left_to_add(path: Path, host) -> None:
    prepare(path)
    before = content(path)
    host(MIGRATE, path)
    assert content(path) == before


def test_counters_under_their_old_names_are_carried_over_as_the_host_does(
    tmp_path: Path, old_boards: Path, host
) -> None:
    path = Path(shutil.copy(old_boards / "hermes-0.13.0.db", tmp_path / "ours.db"))
    with closing(sqlite3.connect(path)) as board, board:
        former = {"consecutive_failures": "spawn_failures", "last_failure_error": "last_spawn_error", "skills": "tools"}
        for name, old in former.items():
            board.execute(f"ALTER TABLE tasks RENAME COLUMN {name} TO {old}")
        board.execute("UPDATE tasks SET spawn_failures = 1, last_spawn_error = 'no such file' WHERE status = 'ready'")
    theirs = Path(shutil.copy(path, tmp_path / "theirs.db"))
    host(MIGRATE, theirs)
    prepare(path)
    assert content(path) == content(theirs)
    with Board(place_of(path), FakeClock()) as board:
        counted = {(task.consecutive_failures, task.last_failure_error) for task in board.tasks(status="ready")}
        assert counted == {(1, "no such file")}


def test_a_whole_life_happens_on_it(path: Path, named: dict[str, Any]) -> None:
    clock = FakeClock(2_000_000_000)
    tasks = named["tasks"]
    with Board(place_of(path), clock) as board:
        held = board.held_run(tasks["running"])
        assert (held.run_id, held.lock, held.supervised) == (
            named["running"]["run_id"], named["running"]["claim_lock"], False,
        )  # fmt: skip
        rescued = orphans.rescue(board.writer, [orphans.Rescue(held, "reclaimed", "gone", "dead")], clock.now())
        assert [one.run.task_id for one in rescued] == [tasks["running"]]

        child = board.create_task(title="a new one", assignee="worker", parents=(tasks["parent"],))
        terms = ClaimTerms("box:1:abc", clock.now() + 60, "command")
        running, parent = board.claim([tasks["running"], tasks["parent"]], terms)
        assert board.heartbeat(running, 300, "again") == clock.now() + 300
        assert board.block_run(running, "a question", "needs_input") == "blocked"
        assert board.unblock(tasks["running"], "ann") == "ready"
        assert sorted(board.complete_run(parent, Handoff("drafted"))) == sorted([child, tasks["todo"]])
        assert board.block(tasks["ready"], "later", None, "ann") == "blocked"
        assert board.unblock(tasks["blocked"], "ann") == "ready"
        assert board.task(tasks["done"]).status == "done"
    assert violations(str(path)) == []
