"""Leases: one owner at a time, a proof with every write, and an answer that names who holds the task instead."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from hermes_kanban_plugin import identity
from hermes_kanban_plugin.causes import Cause
from hermes_kanban_plugin.errors import Superseded, UnknownTask
from hermes_kanban_plugin.store import leases, orphans, outcomes, queries
from hermes_kanban_plugin.store.leases import ClaimTerms, Lease
from hermes_kanban_plugin.store.outcomes import Failure, Handoff

HERE = identity.Place("host", "boot", "namespace")
SUPERVISOR = identity.ProcessIdentity(*HERE, 100, 1.5)
WORKER = identity.ProcessIdentity(*HERE, 101, 2.5)


def accept(desk, lease: Lease, seconds: int = 900) -> None:
    leases.accept(desk.writer, lease, SUPERVISOR, WORKER, desk.now + seconds, desk.now)


def rescue(desk, task_id: str) -> None:
    held = queries.held_run(desk.writer, task_id)
    assert orphans.rescue(desk.writer, [orphans.Rescue(held, "reclaimed", "gone", "dead")], desk.now)


def test_a_claim_writes_lock_lease_run_and_history(desk) -> None:
    task_id = desk.create(max_runtime_seconds=77)
    (lease,) = desk.board.claim([task_id], ClaimTerms("box:12:abc", desk.now + 30, "command"))
    assert lease.lock.startswith("box:12:")
    row = desk.row(task_id)
    assert (row["status"], row["claim_lock"], row["claim_expires"]) == ("running", lease.lock, desk.now + 30)
    assert (row["current_run_id"], row["started_at"], row["worker_pid"]) == (lease.run_id, desk.now, None)
    run = desk.run(lease.run_id)
    expected = {
        "task_id": task_id, "profile": "worker", "status": "running", "claim_lock": lease.lock,
        "claim_expires": desk.now + 30, "max_runtime_seconds": 77, "started_at": desk.now,
        "ended_at": None, "outcome": None, "last_heartbeat_at": None, "worker_pid": None,
    }  # fmt: skip
    assert {name: run[name] for name in expected} == expected
    known = desk.known_run(lease.run_id)
    assert (known["lane"], known["source_status"], known["launch_deadline"]) == ("command", "ready", desk.now + 30)
    payload = {"lock": lease.lock, "expires": desk.now + 30, "run_id": lease.run_id}
    assert desk.last_event(task_id) == ("claimed", payload, lease.run_id)


def test_a_claim_starts_a_fresh_heartbeat_clock_and_keeps_the_first_start(desk) -> None:
    lease = desk.claimed()
    first = desk.now
    desk.board.heartbeat(lease, 60)
    desk.put(lease.task_id, status="ready", claim_lock=None, current_run_id=None, worker_pid=4711)
    desk.execute("UPDATE task_runs SET ended_at = 1, status = 'crashed' WHERE id = :id", id=lease.run_id)
    desk.board.clock.advance(30_000)
    again = desk.claim(lease.task_id)
    expected = (None, None, first)
    assert desk.columns(lease.task_id, "last_heartbeat_at", "worker_pid", "started_at") == expected
    assert desk.run(again.run_id)["last_heartbeat_at"] is None


def test_two_claims_of_one_task_never_share_lock_or_run(desk) -> None:
    first = desk.claimed()
    rescue(desk, first.task_id)
    second = desk.claim(first.task_id)
    assert second.run_id > first.run_id
    assert second.lock != first.lock


def test_tasks_of_one_batch_have_locks_of_their_own(desk) -> None:
    ids = [desk.create() for _ in range(5)]
    claimed = desk.board.claim(ids, ClaimTerms("box:12:abc", desk.now + 30, "command"))
    assert [lease.task_id for lease in claimed] == ids
    assert len({lease.lock for lease in claimed}) == len({lease.run_id for lease in claimed}) == 5


def test_a_batch_larger_than_one_transaction_is_claimed_in_order(desk) -> None:
    rows = [f"t_{number:08x}" for number in range(leases.CLAIM_BATCH + 3)]
    desk.writer.executemany(
        "INSERT INTO tasks (id, title, status, created_at) VALUES (?, 'one', 'ready', 1)", [(row,) for row in rows]
    )
    claimed = desk.board.claim(rows, ClaimTerms("box:12:abc", desk.now + 30, "command"))
    assert [lease.task_id for lease in claimed] == rows


@pytest.mark.parametrize("status", ["triage", "todo", "scheduled", "running", "blocked", "review", "done", "archived"])
def test_only_tasks_of_the_asked_column_are_claimed(desk, status: str) -> None:
    task_id = desk.create()
    desk.put(task_id, status=status)
    before = desk.dump()
    assert desk.board.claim([task_id, "t_00000000"], ClaimTerms("box:12:abc", desk.now + 30, "command")) == []
    assert desk.dump() == before


def test_a_task_with_an_unfinished_parent_is_not_claimed(desk) -> None:
    parent = desk.create()
    child = desk.create(parents=(parent,))
    desk.put(child, status="ready")
    terms = ClaimTerms("box:12:abc", desk.now + 30, "command")
    assert desk.board.claim([child], terms) == []
    desk.put(parent, status="archived")
    assert [lease.task_id for lease in desk.board.claim([child], terms)] == [child]


def test_a_review_is_claimed_from_its_column_and_remembers_it(desk) -> None:
    task_id = desk.create()
    desk.put(task_id, status="review")
    (lease,) = desk.board.claim([task_id], ClaimTerms("box:12:abc", desk.now + 30, "command", source="review"))
    assert desk.known_run(lease.run_id)["source_status"] == "review"
    assert desk.last_event(task_id)[1]["source_status"] == "review"
    rescue(desk, task_id)
    assert desk.row(task_id)["status"] == "review"


def test_accepting_writes_the_identity_and_the_full_lease_once(desk) -> None:
    lease = desk.claimed()
    accept(desk, lease)
    assert desk.columns(lease.task_id, "worker_pid", "claim_expires") == (101, desk.now + 900)
    run = desk.run(lease.run_id)
    assert (run["worker_pid"], run["claim_expires"]) == (101, desk.now + 900)
    held = queries.held_run(desk.writer, lease.task_id)
    assert (held.supervisor, held.worker, held.accepted_at) == (SUPERVISOR, WORKER, desk.now)
    assert desk.last_event(lease.task_id) == ("spawned", {"pid": 101}, lease.run_id)
    before = desk.dump()
    with pytest.raises(Superseded, match="accepted before"):
        accept(desk, lease)
    assert desk.dump() == before


def test_renewing_extends_without_a_sign_of_life_and_never_shortens(desk) -> None:
    lease = desk.claimed()
    assert leases.renew(desk.writer, lease, desk.now + 500) == desk.now + 500
    assert leases.renew(desk.writer, lease, desk.now + 100) == desk.now + 500
    assert desk.columns(lease.task_id, "claim_expires", "last_heartbeat_at") == (desk.now + 500, None)
    run = desk.run(lease.run_id)
    assert (run["claim_expires"], run["last_heartbeat_at"]) == (desk.now + 500, None)
    assert desk.kinds(lease.task_id) == ["created", "claimed"]


def test_a_heartbeat_extends_the_lease_and_the_clock_together(desk) -> None:
    lease = desk.claimed()
    desk.board.clock.advance(20)
    assert desk.board.heartbeat(lease, 300) == desk.now + 300
    assert desk.columns(lease.task_id, "claim_expires", "last_heartbeat_at") == (desk.now + 300, desk.now)
    run = desk.run(lease.run_id)
    assert (run["claim_expires"], run["last_heartbeat_at"]) == (desk.now + 300, desk.now)


def test_a_clock_that_went_back_does_not_shorten_a_lease(desk) -> None:
    lease = desk.claimed(title="a task")
    ends = desk.board.heartbeat(lease, 300)
    desk.board.clock.jump(-5000)
    assert desk.board.heartbeat(lease, 300) == ends


def test_a_note_that_says_the_same_again_leaves_no_history(desk) -> None:
    """A model that says "still working" every minute for a day says nothing; what is new in between is kept."""
    lease = desk.claimed()
    for note in ("reading", "reading", None, "reading", "writing", "writing", "reading"):
        desk.board.heartbeat(lease, 60, note)
    beats = [payload for kind, payload, _ in desk.events(lease.task_id) if kind == "heartbeat"]
    assert beats == [{"note": "reading"}, {"note": "writing"}, {"note": "reading"}]


def test_the_first_sign_of_life_of_each_run_leaves_history(desk) -> None:
    task_id = desk.create()
    for _ in range(2):
        desk.board.heartbeat(desk.claim(task_id), 60, "reading")
        rescue(desk, task_id)
    assert desk.kinds(task_id).count("heartbeat") == 2


def test_heartbeats_leave_history_only_when_they_say_something(desk) -> None:
    lease = desk.claimed()
    for note in (None, None, "half way", None, ""):
        desk.board.heartbeat(lease, 60, note)
    beats = [event for event in desk.events(lease.task_id) if event[0] == "heartbeat"]
    assert beats == [("heartbeat", None, lease.run_id), ("heartbeat", {"note": "half way"}, lease.run_id)]


WRITES: dict[str, Callable[..., object]] = {
    "accept": accept,
    "renew": lambda desk, lease: leases.renew(desk.writer, lease, desk.now + 9000),
    "heartbeat": lambda desk, lease: desk.board.heartbeat(lease, 9000, "still here"),
    "complete": lambda desk, lease: desk.board.complete_run(lease, Handoff(summary="mine")),
    "block": lambda desk, lease: desk.board.block_run(lease, "stuck", None),
    "fail": lambda desk, lease: outcomes.fail(desk.writer, lease, Failure(Cause.CRASHED, "x", {}), desk.now),
    "release": lambda desk, lease: outcomes.release(desk.writer, lease, Cause.INTERRUPTED, "stop", {}, desk.now),
    "current": lambda desk, lease: leases.current(desk.writer, lease),
    "note a stop": lambda desk, lease: leases.note_stop(desk.writer, lease, "stale"),
}


@pytest.mark.parametrize("write", WRITES)
def test_a_superseded_run_writes_nothing_and_learns_which_run_is_current(desk, write: str) -> None:
    old = desk.claimed()
    rescue(desk, old.task_id)
    new = desk.claim(old.task_id)
    before = desk.dump()
    with pytest.raises(Superseded, match=f"superseded by run {new.run_id}") as refusal:
        WRITES[write](desk, old)
    assert (refusal.value.run_id, refusal.value.current_run_id) == (old.run_id, new.run_id)
    assert desk.dump() == before


@pytest.mark.parametrize("write", WRITES)
def test_a_run_that_nobody_followed_learns_the_status(desk, write: str) -> None:
    lease = desk.claimed()
    desk.board.block_run(lease, "a question", "needs_input")
    before = desk.dump()
    with pytest.raises(Superseded, match="closed, the task is blocked") as refusal:
        WRITES[write](desk, lease)
    assert (refusal.value.current_run_id, refusal.value.status) == (None, "blocked")
    assert desk.dump() == before


@pytest.mark.parametrize("write", WRITES)
@pytest.mark.parametrize("forged", ["run", "lock"])
def test_half_a_proof_is_no_proof(desk, write: str, forged: str) -> None:
    lease = desk.claimed()
    half = lease._replace(run_id=lease.run_id + 1) if forged == "run" else lease._replace(lock="box:12:other")
    before = desk.dump()
    with pytest.raises(Superseded):
        WRITES[write](desk, half)
    assert desk.dump() == before


@pytest.mark.parametrize("write", WRITES)
def test_a_task_that_is_gone_is_unknown(desk, write: str) -> None:
    with pytest.raises(UnknownTask, match="t_00000000"):
        WRITES[write](desk, Lease("t_00000000", 1, "box:12:abc"))
