"""What a person mends on a task: one compare-and-set each, on the row that was looked at."""

from __future__ import annotations

import pytest

from hermes_kanban_plugin.errors import ChangedMeanwhile, UnknownTask, WrongState
from hermes_kanban_plugin.store import edits
from hermes_kanban_plugin.store.leases import ClaimTerms
from hermes_kanban_plugin.store.moves import Seen
from hermes_kanban_plugin.testing import violations

EVERY = ("triage", "todo", "scheduled", "ready", "running", "blocked", "review", "done", "archived")


def seen(desk, task_id: str) -> Seen:
    return Seen.of(desk.row(task_id))


@pytest.mark.parametrize("status", EVERY)
def test_stop_parks_what_could_run(desk, status: str) -> None:
    task_id = desk.create()
    desk.put(task_id, status=status)
    if status in ("ready", "review", "running"):
        edits.stop(desk.writer, task_id, "why", "me", desk.now, seen(desk, task_id))
        assert desk.row(task_id)["status"] == "blocked"
        assert desk.last_event(task_id)[:2] == (
            "blocked", {"reason": "why", "kind": None, "recurrences": 0, "actor": "me"},
        )  # fmt: skip
    else:
        before = desk.dump()
        with pytest.raises(WrongState):
            edits.stop(desk.writer, task_id, "why", "me", desk.now, seen(desk, task_id))
        assert desk.dump() == before


@pytest.mark.parametrize(("deed", "words"), [(edits.stop, ("why", "me")), (edits.clear_claim, ("me",))])
def test_nothing_is_done_to_another_run_than_the_one_that_was_looked_at(desk, deed, words) -> None:
    lease = desk.claimed()
    looked_at = seen(desk, lease.task_id)
    desk.board.reclaim(desk.board.task(lease.task_id), None, "other")
    desk.claim(lease.task_id)
    before = desk.dump()
    with pytest.raises(ChangedMeanwhile):
        deed(desk.writer, lease.task_id, *words, desk.now, looked_at)
    assert desk.dump() == before


def test_clear_claim_gives_a_review_back_to_its_column(desk) -> None:
    task_id = desk.create()
    desk.put(task_id, status="review")
    terms = ClaimTerms("host:1:n", desk.now + 60, "command", source="review")
    assert desk.board.claim([task_id], terms) != []
    assert edits.clear_claim(desk.writer, task_id, "me", desk.now, seen(desk, task_id)) == "review"
    assert desk.row(task_id)["status"] == "review"
    assert violations(desk.board.path) == []


def test_clear_claim_closes_the_run_of_a_task_that_is_not_running(desk) -> None:
    lease = desk.claimed()
    desk.put(lease.task_id, status="blocked")
    assert edits.clear_claim(desk.writer, lease.task_id, "me", desk.now, seen(desk, lease.task_id)) == "blocked"
    assert desk.run(lease.run_id)["outcome"] == "reclaimed"
    assert violations(desk.board.path) == []


@pytest.mark.parametrize("deed", [edits.clear_skills, edits.reset_failures])
def test_a_task_that_is_not_there(desk, deed) -> None:
    with pytest.raises(UnknownTask):
        deed(desk.writer, "t_nosuch", "me", desk.now)


@pytest.mark.parametrize("status", [status for status in EVERY if status != "blocked"])
def test_reset_failures_moves_nothing(desk, status: str) -> None:
    task_id = desk.create()
    desk.put(task_id, status=status, consecutive_failures=3, last_failure_error="e")
    edits.reset_failures(desk.writer, task_id, "me", desk.now)
    assert desk.columns(task_id, "status", "consecutive_failures", "last_failure_error") == (status, 0, None)
    assert desk.kinds(task_id)[-1] == "edited"


def test_reset_failures_of_a_persons_gate_adds_no_second_one(desk) -> None:
    task_id = desk.create(initial_status="blocked")
    edits.reset_failures(desk.writer, task_id, "me", desk.now)
    assert desk.kinds(task_id) == ["created", "blocked", "edited"]
