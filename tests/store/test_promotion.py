"""Promotion: what waits for finished parents becomes ready, and nothing else does."""

from __future__ import annotations

import pytest

from hermes_kanban_plugin.models import Status
from hermes_kanban_plugin.store import promotion


def waiting(desk, *parents: str) -> str:
    task_id = desk.create(parents=parents)
    desk.put(task_id, status="todo")
    return task_id


@pytest.mark.parametrize("status", Status)
def test_only_finished_parents_release_a_child(desk, status: str) -> None:
    parent = desk.create()
    child = waiting(desk, parent)
    desk.put(parent, status=status)
    finished = status in ("done", "archived")
    assert (child in desk.board.promote()) is finished
    assert desk.row(child)["status"] == ("ready" if finished else "todo")


def test_every_parent_must_be_finished(desk) -> None:
    first, second = desk.create(), desk.create()
    child = waiting(desk, first, second)
    desk.put(first, status="done")
    assert desk.board.promote() == []
    desk.put(second, status="archived")
    assert desk.board.promote() == [child]
    assert desk.last_event(child) == ("promoted", None, None)
    assert desk.board.promote() == []


def test_a_task_without_parents_does_not_wait(desk) -> None:
    lonely = waiting(desk)
    assert desk.board.promote() == [lonely]


def test_a_parent_that_was_deleted_holds_nobody_back(desk) -> None:
    parent = desk.create()
    child = waiting(desk, parent)
    desk.execute("DELETE FROM tasks WHERE id = :id", id=parent)
    assert desk.board.promote() == [child]


@pytest.mark.parametrize("status", [status for status in Status if status != "todo"])
def test_only_waiting_tasks_are_promoted(desk, status: str) -> None:
    parent = desk.create()
    child = waiting(desk, parent)
    desk.put(parent, status="done")
    desk.put(child, status=status)
    before = desk.dump()
    assert desk.board.promote() == []
    assert promotion.promote_children(desk.writer, parent, desk.now) == []
    assert desk.dump() == before


def test_children_of_others_are_not_looked_at(desk) -> None:
    mine, other = desk.create(), desk.create()
    child, stranger = waiting(desk, mine), waiting(desk, other)
    desk.put(mine, status="done")
    desk.put(other, status="done")
    assert promotion.promote_children(desk.writer, mine, desk.now) == [child]
    assert desk.row(stranger)["status"] == "todo"
