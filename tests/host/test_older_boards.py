"""Boards of hosts from 0.13.0 on: prepared and worked by us, then opened by the real 0.19.0."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from hermes_kanban_plugin.board import Board
from hermes_kanban_plugin.clock import Clock
from hermes_kanban_plugin.store.outcomes import Handoff
from hermes_kanban_plugin.testing import claim_one, make_board, violations

if TYPE_CHECKING:
    from tests.host.conftest import House

pytestmark = pytest.mark.host

BOARDS = Path(__file__).parents[1] / "fixtures" / "boards"
SCHEMA = "SELECT type, name, tbl_name, sql FROM sqlite_master WHERE name NOT LIKE 'sqlite_%' ORDER BY type, name"
TABLES = ("tasks", "task_runs", "task_events", "task_links", "task_comments", "task_attachments")


def work(board: Board, tasks: dict[str, str]) -> str:
    """Do to an older board everything that we can do; returns the id of a task we added."""
    added = board.create_task(title="added by us", parents=[tasks["todo"]], assignee="worker", skills=["pdf"])
    lease = claim_one(board, tasks["ready"], nonce="one")
    board.heartbeat(lease, 60, "half")
    board.complete_run(lease, Handoff("compared", "ok", {"suppliers": 3}))
    lease = claim_one(board, tasks["parent"], nonce="two")
    board.block_run(lease, "which letterhead?", "needs_input")
    board.unblock(tasks["parent"], "me")
    board.complete(tasks["parent"], Handoff("drafted"), "me")
    board.unblock(tasks["blocked"], "me")
    board.block(tasks["blocked"], "still open", "transient", "me")
    board.comment(tasks["triage"], "me", "what is this?")
    board.reclaim(board.task(tasks["running"]), "its machine is gone", "me")
    return added


@pytest.mark.parametrize("version", ["0.13.0", "0.15.2", "0.17.0", "0.19.0"])
def test_host_opens_what_we_worked_on(house: House, version: str) -> None:
    shutil.copyfile(BOARDS / f"hermes-{version}.db", house.database)
    tasks = json.loads((BOARDS / f"hermes-{version}.json").read_text(encoding="utf-8"))["tasks"]
    with make_board(house.database, Clock()) as board:
        added = work(board, tasks)
        own = {task.id: task for task in board.tasks(archived=True)}
    schema, data = house.rows(SCHEMA), contents(house)

    host = house.host()
    listed = {task["id"]: task for task in json.loads(host.ask("kanban('list', '--archived', '--json')"))}
    assert {task_id: task["status"] for task_id, task in listed.items()} == {
        **{tasks[name]: "done" for name in ("ready", "parent", "done")},
        **{tasks[name]: "ready" for name in ("todo", "running")},
        tasks["blocked"]: "blocked",
        tasks["archived"]: "archived",
        tasks["triage"]: "triage",
        added: "todo",
    }
    for task_id, task in listed.items():
        same = {name: getattr(own[task_id], name) for name in task if name in type(own[task_id]).model_fields}
        assert task == task | same | {"skills": own[task_id].skill_names}
    shown = json.loads(host.ask(f"kanban('show', {tasks['ready']!r}, '--json')"))
    assert (shown["runs"][-1]["outcome"], shown["latest_summary"]) == ("completed", "compared")
    assert shown["runs"][-1]["metadata"] == {"suppliers": 3}

    assert house.rows(SCHEMA) == schema, "the host found nothing left to migrate"
    assert contents(house) == data
    assert violations(house.database) == []
    lease_of_host = host.ask(f"kb.claim_task(conn, {tasks['running']!r}).id")
    assert lease_of_host == tasks["running"]
    assert host.ask(f"kb.complete_task(conn, {tasks['running']!r}, summary='by the host')") is True
    assert violations(house.database) == []


def contents(house: House) -> dict[str, list[dict[str, Any]]]:
    return {table: house.rows(f"SELECT * FROM {table} ORDER BY 1, 2") for table in TABLES}
