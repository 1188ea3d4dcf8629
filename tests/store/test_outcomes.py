"""How a run ends at the word of its own worker or supervisor: the columns, the run and the history of each end."""

from __future__ import annotations

import json

import pytest

from hermes_kanban_plugin.breaker import Terms
from hermes_kanban_plugin.causes import Cause
from hermes_kanban_plugin.store import outcomes
from hermes_kanban_plugin.store.outcomes import ExitFacts, Failure, Handoff, StoredArtifact
from hermes_kanban_plugin.testing import EPOCH, violations

FREE = {"claim_lock": None, "claim_expires": None, "worker_pid": None, "current_run_id": None}


def closed(desk, run_id: int, status: str, outcome: str, **more: object) -> None:
    """Check that a run was closed with these words, at this time, and lets go of its claim."""
    run = desk.run(run_id)
    expected = {
        "status": status, "outcome": outcome, "ended_at": desk.now, "claim_lock": None, "claim_expires": None,
        "worker_pid": None, **more,
    }  # fmt: skip
    assert {name: run[name] for name in expected} == expected


def landed(desk, task_id: str, status: str, **more: object) -> None:
    """Check that a task is in a column without any claim."""
    expected = {**FREE, "status": status, **more}
    row = desk.row(task_id)
    assert {name: row[name] for name in expected} == expected
    assert violations(desk.board.path) == []


def fail(desk, lease, outcome: str = "crashed", limit: int = 2, error: str = "exit 7", **payload: object) -> str:
    failure = Failure(Cause(outcome), error, payload, Terms(failure_limit=limit))
    return outcomes.fail(desk.writer, lease, failure, desk.now)


def test_complete_keeps_the_hand_off_and_resets_every_counter(desk) -> None:
    lease = desk.claimed()
    desk.put(
        lease.task_id, consecutive_failures=1, last_failure_error="old", block_kind="transient", block_recurrences=1
    )
    desk.board.clock.advance(50)
    handoff = Handoff("all done\nsecond line", "42 words", {"changed_files": ["a"], "artifacts": [" x.txt ", 7, ""]})
    assert desk.board.complete_run(lease, handoff) == []
    counters = {"consecutive_failures": 0, "last_failure_error": None, "block_kind": None, "block_recurrences": 0}
    landed(desk, lease.task_id, "done", result="42 words", completed_at=desk.now, **counters)
    closed(desk, lease.run_id, "done", "completed", summary="all done\nsecond line", error=None)
    assert json.loads(desk.run(lease.run_id)["metadata"]) == handoff.metadata
    assert desk.known_run(lease.run_id)["final_word_at"] == desk.now
    payload = {"result_len": 8, "summary": "all done", "artifacts": ["x.txt"]}
    assert desk.last_event(lease.task_id) == ("completed", payload, lease.run_id)


def test_without_a_summary_the_result_stands_in(desk) -> None:
    lease = desk.claimed()
    desk.board.complete_run(lease, Handoff(result="r" * 500))
    assert desk.run(lease.run_id)["summary"] == "r" * 500
    assert desk.last_event(lease.task_id)[1] == {"result_len": 500, "summary": "r" * 400}


def test_complete_records_cards_artifacts_and_doubtful_references(desk) -> None:
    card = desk.create()
    lease = desk.claimed()
    stored = [StoredArtifact("report.pdf", "/kept/report.pdf", 12)]
    handoff = Handoff(f"made {card}, see t_deadbeef and t_deadbeef", verified_cards=[card], artifacts=stored)
    desk.board.complete_run(lease, handoff)
    kinds = {kind: (payload, run) for kind, payload, run in desk.events(lease.task_id)}
    assert kinds["attached"] == ({"filename": "report.pdf", "size": 12, "by": "kanban_complete"}, None)
    assert kinds["completed"][0]["verified_cards"] == [card]
    doubts = {"phantom_refs": ["t_deadbeef"], "source": "completion_summary"}
    assert kinds["suspected_hallucinated_references"] == (doubts, lease.run_id)
    (attachment,) = desk.rows("SELECT * FROM task_attachments")
    names = ("task_id", "filename", "stored_path", "size", "uploaded_by", "created_at")
    expected = (lease.task_id, "report.pdf", "/kept/report.pdf", 12, "kanban_complete", desk.now)
    assert tuple(attachment[name] for name in names) == expected


def test_complete_promotes_the_children_that_waited_for_it_alone(desk) -> None:
    lease, other = desk.claimed(), desk.create()
    only, both = desk.create(parents=(lease.task_id,)), desk.create(parents=(lease.task_id, other))
    assert desk.board.complete_run(lease, Handoff("done")) == [only]
    assert (desk.row(only)["status"], desk.row(both)["status"]) == ("ready", "todo")
    assert desk.last_event(only) == ("promoted", None, None)


@pytest.mark.parametrize("kind", ["needs_input", "capability", "transient", None])
def test_a_first_block_waits_for_a_person(desk, kind: str | None) -> None:
    lease = desk.claimed()
    assert desk.board.block_run(lease, "which one?", kind) == "blocked"
    landed(desk, lease.task_id, "blocked", block_kind=kind, block_recurrences=1, consecutive_failures=0)
    closed(desk, lease.run_id, "blocked", "blocked", summary="which one?", error=None)
    assert desk.known_run(lease.run_id)["final_word_at"] == desk.now
    payload = {"reason": "which one?", "kind": kind, "recurrences": 1}
    assert desk.last_event(lease.task_id) == ("blocked", payload, lease.run_id)


@pytest.mark.parametrize("kind", ["needs_input", "capability", "transient", "dependency", None])
def test_the_second_block_of_a_kind_goes_to_triage(desk, kind: str | None) -> None:
    lease = desk.claimed()
    desk.board.block_run(lease, "first", kind)
    desk.board.unblock(lease.task_id, "ann")
    again = desk.claim(lease.task_id)
    assert desk.board.block_run(again, "again", kind) == "triage"
    landed(desk, lease.task_id, "triage", block_kind=kind, block_recurrences=2)
    closed(desk, again.run_id, "blocked", "blocked", summary="again")
    payload = {"reason": "again", "kind": kind, "recurrences": 2, "limit": 2}
    assert desk.last_event(lease.task_id) == ("block_loop_detected", payload, again.run_id)


def test_a_block_of_another_kind_starts_a_new_count(desk) -> None:
    lease = desk.claimed()
    desk.board.block_run(lease, "first", "transient")
    desk.board.unblock(lease.task_id, "ann")
    desk.board.block_run(desk.claim(lease.task_id), "second", "needs_input")
    landed(desk, lease.task_id, "blocked", block_kind="needs_input", block_recurrences=1)


def test_a_dependency_block_waits_for_its_open_parent(desk) -> None:
    lease, parent = desk.claimed(), desk.create()
    desk.board.link(parent, lease.task_id)
    desk.put(lease.task_id, block_recurrences=1, block_kind="transient")
    assert desk.board.block_run(lease, "needs the list", "dependency") == "todo"
    landed(desk, lease.task_id, "todo", block_kind="dependency", block_recurrences=1)
    closed(desk, lease.run_id, "blocked", "blocked", summary="needs the list")
    payload = {"reason": "needs the list", "kind": "dependency"}
    assert desk.last_event(lease.task_id) == ("dependency_wait", payload, lease.run_id)
    assert desk.board.complete_run(desk.claim(parent), Handoff("listed")) == [lease.task_id]


def test_a_dependency_block_without_an_open_parent_goes_to_a_person(desk) -> None:
    lease, parent = desk.claimed(), desk.create()
    desk.board.link(parent, lease.task_id)
    desk.board.complete(parent, Handoff("done"), "ann")
    assert desk.board.block_run(lease, "needs something", "dependency") == "blocked"
    landed(desk, lease.task_id, "blocked", block_kind="dependency", block_recurrences=1)
    assert desk.last_event(lease.task_id)[0] == "blocked"


def test_a_failure_below_the_limit_gives_the_task_back(desk) -> None:
    lease = desk.claimed()
    assert fail(desk, lease, error="e" * 900, pid=7, claimer=lease.lock) == "ready"
    landed(desk, lease.task_id, "ready", consecutive_failures=1, last_failure_error="e" * 500)
    closed(desk, lease.run_id, "crashed", "crashed", error="e" * 500, summary=None)
    assert desk.last_event(lease.task_id) == ("crashed", {"pid": 7, "claimer": lease.lock, "failures": 1}, lease.run_id)
    assert desk.known_run(lease.run_id)["final_word_at"] is None


@pytest.mark.parametrize(
    ("outcome", "booked"), [("crashed", "crashed"), ("timed_out", "timed_out"), ("spawn_failed", "gave_up")]
)
def test_the_failure_at_the_limit_trips_the_breaker(desk, outcome: str, booked: str) -> None:
    task_id = desk.create()
    fail(desk, desk.claim(task_id), outcome)
    lease = desk.claim(task_id)
    assert fail(desk, lease, outcome, pid=7) == "blocked"
    landed(desk, task_id, "blocked", consecutive_failures=2, last_failure_error="exit 7")
    closed(desk, lease.run_id, booked, booked, error="exit 7")
    payload = {"failures": 2, "effective_limit": 2, "limit_source": "dispatcher", "error": "exit 7"}
    assert desk.events(task_id)[-2:] == [
        (outcome, {"pid": 7, "failures": 2}, lease.run_id),
        ("gave_up", payload | {"trigger_outcome": outcome}, lease.run_id),
    ]


@pytest.mark.parametrize(("limit", "own", "source"), [(1, None, "dispatcher"), (5, 1, "task"), (1, 3, "task")])
def test_the_tasks_own_limit_wins(desk, limit: int, own: int | None, source: str) -> None:
    effective = own or limit
    task_id = desk.create(max_retries=own)
    for count in range(1, effective + 1):
        lease = desk.claim(task_id)
        assert fail(desk, lease, limit=limit) == ("blocked" if count == effective else "ready")
    given_up = next(payload for kind, payload, _ in desk.events(task_id) if kind == "gave_up")
    assert (given_up["failures"], given_up["effective_limit"], given_up["limit_source"]) == (
        effective, effective, source,
    )  # fmt: skip


def test_a_breaker_that_the_host_would_open_again_is_made_sticky(desk) -> None:
    lease = desk.claimed()
    fail(desk, lease, limit=1)
    payload = {"reason": "gave up after 1 failure(s): exit 7", "kind": None, "recurrences": 0}
    assert desk.kinds(lease.task_id)[-2:] == ["gave_up", "blocked"]
    assert desk.last_event(lease.task_id) == ("blocked", payload, lease.run_id)


def test_the_host_itself_does_not_open_our_breaker(desk, host) -> None:
    early, late, own = desk.claimed(), desk.create(), desk.claimed(max_retries=1)
    fail(desk, early, limit=1, error="early")
    for _ in range(2):
        fail(desk, desk.claim(late), error="late")
    fail(desk, own, error="own")
    host(
        "import sys; from pathlib import Path; from hermes_cli import kanban_db as kb\n"
        "with kb.connect_closing(Path(sys.argv[1])) as board: kb.recompute_ready(board)",
        desk.board.path,
    )
    for task_id in (early.task_id, late, own.task_id):
        assert desk.row(task_id)["status"] == "blocked"


@pytest.mark.parametrize(
    ("cause", "outcome", "more"),
    [
        (Cause.INTERRUPTED, "reclaimed", {"cause": "interrupted"}),
        (Cause.INFRASTRUCTURE, "reclaimed", {"cause": "infrastructure"}),
        (Cause.HEARTBEAT_STALE, "stale", {"cause": "heartbeat_stale"}),
        (Cause.RATE_LIMITED, "rate_limited", {"retry_at": EPOCH + 300}),
    ],
)
def test_a_release_counts_no_failure(desk, cause: Cause, outcome: str, more: dict[str, object]) -> None:
    lease = desk.claimed()
    desk.put(
        lease.task_id, consecutive_failures=1, last_failure_error="old", block_kind="transient", block_recurrences=1
    )
    payload = {"pid": 7, "exit_code": 75}
    assert outcomes.release(desk.writer, lease, cause, "try later", payload, desk.now) == "ready"
    counters = {"consecutive_failures": 1, "last_failure_error": "old", "block_kind": "transient"}
    landed(desk, lease.task_id, "ready", block_recurrences=1, **counters)
    closed(desk, lease.run_id, outcome, outcome, error="try later")
    assert desk.last_event(lease.task_id) == (outcome, payload | {"reason": "try later"} | more, lease.run_id)
    assert desk.known_run(lease.run_id)["cause"] == cause


@pytest.mark.parametrize("end", ["fail", "release"])
def test_an_unfinished_review_stays_a_review(desk, end: str) -> None:
    task_id = desk.create()
    desk.put(task_id, status="review")
    terms = outcomes.leases.ClaimTerms("box:1:abc", desk.now + 60, "command", source="review")
    (lease,) = desk.board.claim([task_id], terms)
    if end == "fail":
        assert fail(desk, lease) == "review"
    else:
        assert outcomes.release(desk.writer, lease, Cause.INTERRUPTED, "stop", {}, desk.now) == "review"
    landed(desk, task_id, "review")


def test_what_the_supervisor_saw_is_kept_even_for_a_closed_run(desk) -> None:
    lease = desk.claimed()
    desk.board.complete_run(lease, Handoff("done"))
    before = desk.row(lease.task_id)
    facts = ExitFacts(3, None, 1.25, 0.5, 4096, "last words")
    outcomes.record_exit(desk.writer, lease, facts, desk.now + 9)
    known = desk.known_run(lease.run_id)
    assert ExitFacts(*(known[name] for name in ExitFacts._fields)) == facts
    assert known["ended_at"] == desk.now + 9
    assert desk.row(lease.task_id) == before
    (run,) = desk.board.runs(lease.task_id)
    assert (run.exit_code, run.user_seconds, run.peak_memory_bytes, run.last_output) == (3, 1.25, 4096, "last words")


def test_a_run_that_its_worker_ended_has_a_final_word(desk) -> None:
    done, dropped = desk.claimed(), desk.claimed()
    desk.board.complete_run(done, Handoff("done"))
    fail(desk, dropped)
    assert outcomes.has_final_word(desk.writer, done)
    assert not outcomes.has_final_word(desk.writer, dropped)
