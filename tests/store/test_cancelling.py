"""Cancelling: all of a subtree or nothing, by what the person was shown."""

from __future__ import annotations

import pytest

from hermes_kanban_plugin.errors import ChangedMeanwhile, Superseded, UnknownTask, WrongState
from hermes_kanban_plugin.store import cancelling
from hermes_kanban_plugin.store.moves import Seen
from hermes_kanban_plugin.testing import violations


def shown(desk, task_id: str, *, subtree: bool = True) -> dict[str, Seen]:
    return {row["id"]: Seen.of(row) for row in cancelling.listed(desk.writer, task_id, subtree=subtree)}


def cancel(desk, task_id: str, seen: dict[str, Seen]) -> list[str]:
    done = cancelling.cancel(desk.writer, task_id, "not wanted", "ana", desk.now, seen)
    return [one.task_id for one in done]


@pytest.mark.parametrize("status", ["triage", "todo", "scheduled", "ready", "blocked", "review"])
def test_a_task_is_cancelled_from_every_open_column(desk, status: str) -> None:
    task_id = desk.create()
    desk.put(task_id, status=status, consecutive_failures=1)

    assert cancel(desk, task_id, shown(desk, task_id, subtree=False)) == [task_id]

    assert desk.columns(task_id, "status", "claim_lock", "consecutive_failures") == ("archived", None, 1)
    kind, payload, run_id = desk.last_event(task_id)
    assert (kind, payload, run_id) == ("archived", {"cancelled": True, "reason": "not wanted", "actor": "ana"}, None)


def test_a_running_task_loses_its_run_and_the_worker_its_word(desk) -> None:
    lease = desk.claimed()

    cancel(desk, lease.task_id, shown(desk, lease.task_id))

    assert desk.run(lease.run_id)["outcome"] == "reclaimed"
    assert desk.run(lease.run_id)["error"] == "cancelled by ana: not wanted"
    with pytest.raises(Superseded):
        desk.board.heartbeat(lease, 60)
    assert violations(desk.board.path) == []


def test_a_scratch_folder_is_queued_for_removal(desk) -> None:
    task_id = desk.create()
    desk.put(task_id, workspace_path="/somewhere/scratch")

    cancel(desk, task_id, shown(desk, task_id))

    assert desk.rows("SELECT task_id, path FROM kp_cleanups") == [{"task_id": task_id, "path": "/somewhere/scratch"}]


def test_a_graph_is_cancelled_once_each_and_through_open_tasks_only(desk) -> None:
    root = desk.create()
    left, right = (desk.create(parents=(root,)) for _ in range(2))
    bottom = desk.create(parents=(left, right))
    other = desk.create()
    shared = desk.create(parents=(other, right))
    done = desk.create(parents=(root,))
    behind = desk.create(parents=(done,))
    desk.put(done, status="done")

    cancelled = cancel(desk, root, shown(desk, root))

    assert sorted(cancelled) == sorted([root, left, right, bottom, shared])
    assert desk.columns(other, "status") == ("ready",)
    assert desk.columns(done, "status") == ("done",)
    assert desk.columns(behind, "status") == ("todo",)


def test_what_others_wait_for_needs_the_subtree(desk) -> None:
    root = desk.create()
    desk.create(parents=(root,))
    before = desk.dump()

    with pytest.raises(WrongState, match="waited for by 1 task"):
        shown(desk, root, subtree=False)
    with pytest.raises(WrongState, match="waited for by 1 task"):
        cancel(desk, root, {root: Seen("ready", 0, "")})

    assert desk.dump() == before


@pytest.mark.parametrize("status", ["done", "archived"])
def test_a_finished_task_is_left_alone(desk, status: str) -> None:
    task_id = desk.create()
    desk.put(task_id, status=status)

    with pytest.raises(WrongState, match="not finished"):
        shown(desk, task_id)


def test_an_unknown_task_is_refused(desk) -> None:
    with pytest.raises(UnknownTask):
        shown(desk, "t_00000000")


@pytest.mark.parametrize("change", ["claimed", "finished", "joined", "left"])
def test_what_changed_meanwhile_stops_all_of_it(desk, change: str) -> None:
    root = desk.create()
    child = desk.create(parents=(root,))
    grandchild = desk.create(parents=(child,))
    seen = shown(desk, root)
    if change == "claimed":
        desk.claim(root)
    elif change == "finished":
        desk.put(child, status="done")
    elif change == "joined":
        desk.create(parents=(grandchild,))
    else:
        desk.execute("DELETE FROM task_links WHERE child_id = :id", id=grandchild)
    before = desk.dump()

    with pytest.raises(ChangedMeanwhile):
        cancel(desk, root, seen)

    assert desk.dump() == before
