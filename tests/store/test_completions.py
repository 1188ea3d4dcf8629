"""Late completions: kept only from the run that was just given up, and decided by a person."""

from __future__ import annotations

import pytest

from hermes_kanban_plugin.errors import ChangedMeanwhile, NoLateCompletion, UnknownTask
from hermes_kanban_plugin.store import completions, failures, moves, outcomes, queries, survey
from hermes_kanban_plugin.store.outcomes import Handoff, StoredArtifact
from hermes_kanban_plugin.testing import violations

from .bookkeeping import fail

HANDOFF = Handoff("all done", "42", {"tests": 3}, ["t_0a1b2c3d"], [StoredArtifact("r.pdf", "/kept/r.pdf", 9)])


def keep(desk, lease, handoff: Handoff = HANDOFF) -> bool:
    return completions.keep(desk.writer, lease, handoff, desk.now)


def given_up(desk, **fields):
    """Return the lease of a run that failed for the last time a moment ago."""
    task_id = desk.create(**fields)
    fail(desk, desk.claim(task_id))
    lease = desk.claim(task_id)
    assert fail(desk, lease) == "blocked"
    return lease


def test_the_hand_off_of_a_run_that_was_just_given_up_is_kept_whole(desk) -> None:
    lease = given_up(desk)
    assert keep(desk, lease)
    late = completions.pending(desk.writer, lease.task_id)
    assert late == completions.LateCompletion(lease.task_id, lease.run_id, desk.now, HANDOFF)
    assert desk.row(lease.task_id)["status"] == "blocked"
    payload = {"run_id": lease.run_id, "summary": "all done"}
    assert desk.last_event(lease.task_id) == ("late_completion", payload, lease.run_id)


def test_a_second_word_replaces_the_first(desk) -> None:
    lease = given_up(desk)
    keep(desk, lease)
    assert keep(desk, lease, Handoff("now with a report"))
    assert completions.pending(desk.writer, lease.task_id).handoff == Handoff(
        "now with a report", artifacts=[], verified_cards=[]
    )


def test_a_run_that_is_still_current_is_not_late(desk) -> None:
    lease = desk.claimed()
    assert not keep(desk, lease)


def test_a_run_that_was_followed_by_another_is_of_the_past(desk) -> None:
    task_id = desk.create()
    first = desk.claim(task_id)
    fail(desk, first)
    second = desk.claim(task_id)
    assert not keep(desk, first)
    assert fail(desk, second) == "blocked"
    assert not keep(desk, first)
    assert completions.pending(desk.writer, task_id) is None


def test_what_was_kept_is_void_as_soon_as_another_run_begins(desk) -> None:
    lease = given_up(desk)
    keep(desk, lease)
    desk.board.unblock(lease.task_id, "ann")
    desk.claim(lease.task_id)
    assert completions.pending(desk.writer, lease.task_id) is None
    with pytest.raises(NoLateCompletion):
        completions.accept(desk.writer, lease.task_id, "ann", desk.now)


def reclaimed(desk):
    """Return the lease of a run that a person took the task from; its worker may still be at work."""
    lease = desk.claimed()
    seen = moves.Seen.of(desk.row(lease.task_id))
    moves.reclaim(desk.writer, lease.task_id, "too slow", "ann", desk.now, seen)
    return lease


def test_what_a_person_writes_on_the_task_meanwhile_is_no_other_run(desk) -> None:
    """A block by hand keeps its reason in a run of no length; nobody has begun anew."""
    lease = reclaimed(desk)
    keep(desk, lease)
    desk.board.block(lease.task_id, "let me look first", None, "ann")
    assert completions.pending(desk.writer, lease.task_id).handoff == HANDOFF
    completions.accept(desk.writer, lease.task_id, "ann", desk.now)
    assert desk.row(lease.task_id)["status"] == "done"
    with pytest.raises(NoLateCompletion):
        completions.accept(desk.writer, lease.task_id, "ann", desk.now)


def test_nor_does_it_keep_the_hand_off_from_being_kept(desk) -> None:
    lease = reclaimed(desk)
    desk.board.block(lease.task_id, "let me look first", None, "ann")
    assert keep(desk, lease)


def test_nothing_starts_before_the_decision_though_a_person_blocked_and_opened_the_task(desk) -> None:
    lease = reclaimed(desk)
    outcomes.record_exit(desk.writer, lease, outcomes.ExitFacts(0), desk.now)
    keep(desk, lease)
    desk.board.block(lease.task_id, "let me look first", None, "ann")
    desk.board.unblock(lease.task_id, "ann")
    assert queries.candidates(desk.writer, desk.now, 300, 10) == []
    (case,) = desk.rows(survey.CASE, task_id=lease.task_id, now=desk.now)
    assert case["late_run"] == lease.run_id
    completions.reject(desk.writer, lease.task_id, "ann", desk.now)
    assert [task.id for task in queries.candidates(desk.writer, desk.now, 300, 10)] == [lease.task_id]


def test_only_the_holder_of_the_lock_is_believed(desk) -> None:
    lease = given_up(desk)
    assert not keep(desk, lease._replace(lock="host:1:guessed"))
    assert not keep(desk, lease._replace(run_id=lease.run_id + 1))


def test_a_worker_that_blocked_its_task_itself_cannot_complete_it_afterwards(desk) -> None:
    lease = desk.claimed()
    desk.board.block_run(lease, "need a key", "needs_input")
    assert not keep(desk, lease)


@pytest.mark.parametrize("status", ["done", "archived"])
def test_a_task_that_is_over_needs_no_late_completion(desk, status: str) -> None:
    lease = given_up(desk)
    desk.put(lease.task_id, status=status)
    assert not keep(desk, lease)


def test_a_person_accepts_and_the_task_is_done_like_any_other(desk) -> None:
    lease = given_up(desk)
    child = desk.create(parents=(lease.task_id,))
    keep(desk, lease)
    before = desk.run(lease.run_id)
    desk.board.clock.advance(60)
    assert completions.accept(desk.writer, lease.task_id, "ann", desk.now) == [child]
    row = desk.row(lease.task_id)
    expected = {
        "status": "done", "result": "42", "completed_at": desk.now, "consecutive_failures": 0,
        "last_failure_error": None, "current_run_id": None, "claim_lock": None,
    }  # fmt: skip
    assert {name: row[name] for name in expected} == expected
    assert desk.run(lease.run_id) == before  # a finished run is never rewritten
    newest = desk.runs(lease.task_id)[-1]
    assert (newest["outcome"], newest["summary"], newest["started_at"]) == ("completed", "all done", desk.now)
    kinds = {kind: payload for kind, payload, _ in desk.events(lease.task_id)}
    assert kinds["completed"]["actor"] == "ann"
    assert kinds["attached"]["filename"] == "r.pdf"
    (attachment,) = desk.rows("SELECT stored_path FROM task_attachments")
    assert attachment["stored_path"] == "/kept/r.pdf"
    (decided,) = desk.rows("SELECT decision, actor, decided_at FROM kp_completions")
    assert decided == {"decision": "accepted", "actor": "ann", "decided_at": desk.now}
    assert failures.counts_of(desk.writer, lease.task_id) == {}
    assert violations(desk.board.path) == []


def test_a_person_rejects_and_the_task_stays_where_it_is(desk) -> None:
    lease = given_up(desk)
    keep(desk, lease)
    before = desk.row(lease.task_id)
    late = completions.reject(desk.writer, lease.task_id, "ann", desk.now)
    assert late.handoff == HANDOFF
    assert desk.row(lease.task_id) == before
    assert completions.pending(desk.writer, lease.task_id) is None
    assert desk.last_event(lease.task_id)[0] == "late_completion_rejected"
    assert not keep(desk, lease)  # decided is decided


@pytest.mark.parametrize("decide", [completions.accept, completions.reject])
def test_there_must_be_something_to_decide(desk, decide) -> None:
    task_id = desk.create()
    with pytest.raises(NoLateCompletion, match=f"hermes-kanban show {task_id}"):
        decide(desk.writer, task_id, "ann", desk.now)
    with pytest.raises(UnknownTask):
        decide(desk.writer, "t_00000000", "ann", desk.now)


def test_a_task_that_somebody_finished_meanwhile_is_left_alone(desk) -> None:
    lease = given_up(desk)
    keep(desk, lease)
    desk.put(lease.task_id, status="done")
    with pytest.raises(ChangedMeanwhile):
        completions.accept(desk.writer, lease.task_id, "ann", desk.now)
    (undecided,) = desk.rows("SELECT decided_at FROM kp_completions")
    assert undecided["decided_at"] is None
