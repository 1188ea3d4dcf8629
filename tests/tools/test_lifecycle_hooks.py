"""The host's plugins hear of a change after it is committed, with the board it really was on (contract W8, W9)."""

from __future__ import annotations

import json
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import closing
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest

from hermes_kanban_plugin import toolkit
from hermes_kanban_plugin.board import open_board
from hermes_kanban_plugin.testing import claim_one

if TYPE_CHECKING:
    from tests.tools.conftest import Seat


class HostPlugins(ModuleType):
    """Stands where the host's plugin module stands, and looks at the board from outside when it is told something."""

    def __init__(self) -> None:
        super().__init__("hermes_cli.plugins")
        self.path = ""
        self.heard: list[tuple[str, dict[str, Any]]] = []
        self.seen: list[tuple[str, int | None]] = []
        self.broken = False

    def invoke_hook(self, name: str, **fields: Any) -> list[Any]:
        if self.broken:
            raise RuntimeError("observer fell over")
        self.heard.append((name, fields))
        with closing(sqlite3.connect(self.path, timeout=0.1, isolation_level=None)) as other:
            query = "SELECT status, current_run_id FROM tasks WHERE id = ?"
            self.seen.append(other.execute(query, (fields["task_id"],)).fetchone())
            other.execute("INSERT INTO task_comments (task_id, author, body, created_at) VALUES (?, 'hook', '', 0)",
                          (fields["task_id"],))  # fmt: skip
        return []


@pytest.fixture
def plugins(seat: Seat, monkeypatch: pytest.MonkeyPatch) -> Iterator[HostPlugins]:
    stand_in = HostPlugins()
    stand_in.path = seat.board.path
    monkeypatch.setitem(sys.modules, "hermes_cli.plugins", stand_in)
    return stand_in


def test_completion_is_told_after_the_commit(seat: Seat, plugins: HostPlugins) -> None:
    lease = seat.work()
    assert seat.call("kanban_complete", summary="counted", result="42")["ok"] is True
    fields = {
        "task_id": lease.task_id, "profile_name": "coder", "board": "default", "assignee": "coder",
        "run_id": lease.run_id, "summary": "counted",
    }  # fmt: skip
    assert plugins.heard == [("kanban_task_completed", fields)]
    assert plugins.seen == [("done", None)], "and its own write was not locked out"


@pytest.mark.parametrize("kind", [None, "dependency"])
def test_block_is_told_after_the_commit(seat: Seat, plugins: HostPlugins, kind: str | None) -> None:
    lease = seat.work()
    seat.board.link(seat.create("parent"), lease.task_id)
    assert seat.call("kanban_block", reason="needs a decision", kind=kind)["ok"] is True
    fields = {
        "task_id": lease.task_id, "profile_name": "coder", "board": "default", "assignee": "coder",
        "run_id": lease.run_id, "reason": "needs a decision",
    }  # fmt: skip
    assert plugins.heard == [("kanban_task_blocked", fields)]
    assert plugins.seen == [("todo" if kind else "blocked", None)]


def test_board_is_the_one_the_task_is_on(seat: Seat, plugins: HostPlugins) -> None:
    with open_board("second", create=True, clock=seat.clock) as second:
        plugins.path = second.path
        task_id = second.create_task(title="elsewhere", assignee="coder")
        claim_one(second, task_id)
    assert seat.call("kanban_complete", task_id=task_id, summary="done", board="Second")["ok"] is True
    assert plugins.heard[0][1]["board"] == "second"
    assert plugins.seen == [("done", None)]


def test_refusals_and_heartbeats_are_not_told(seat: Seat, plugins: HostPlugins) -> None:
    seat.work()
    seat.call("kanban_heartbeat", note="half")
    seat.call("kanban_complete")
    seat.call("kanban_block", reason=" ")
    seat.call("kanban_complete", summary="x", created_cards=["t_00000000"])
    assert plugins.heard == []


def test_observer_that_falls_over_undoes_nothing(seat: Seat, plugins: HostPlugins) -> None:
    plugins.broken = True
    lease = seat.work()
    assert seat.call("kanban_complete", summary="done")["ok"] is True
    assert seat.board.task(lease.task_id).status == "done"


def test_without_the_host_nobody_is_told(seat: Seat, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "hermes_cli.plugins", raising=False)
    seat.work()
    tool = toolkit.tools_of(seat.manager)["kanban_complete"]
    assert json.loads(toolkit.call(tool, seat.manager, {"summary": "done"}))["ok"] is True
    assert "hermes_cli.plugins" not in sys.modules
