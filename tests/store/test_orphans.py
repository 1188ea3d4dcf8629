"""Rescue is a compare-and-set on what the verdict was based on; repair closes the pairs that may not exist."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from hermes_kanban_plugin import identity
from hermes_kanban_plugin.errors import Superseded
from hermes_kanban_plugin.store import leases, orphans, queries
from hermes_kanban_plugin.store.orphans import Repair, Rescue
from hermes_kanban_plugin.store.outcomes import Handoff
from hermes_kanban_plugin.testing import violations

SOMEBODY = identity.ProcessIdentity("host", "boot", "namespace", 100, 1.5)
FREE = ("claim_lock", "claim_expires", "worker_pid", "current_run_id")


def seen(desk, task_id: str) -> Rescue:
    return Rescue(queries.held_run(desk.writer, task_id), "crashed", "the worker is gone", "dead")


def accepted(desk):
    lease = desk.claimed()
    leases.accept(desk.writer, lease, SOMEBODY, SOMEBODY, desk.now + 900, desk.now)
    return lease


def statements_of(connection, work: Callable[[], object]) -> list[str]:
    said: list[str] = []
    connection.set_trace_callback(said.append)
    work()
    connection.set_trace_callback(None)
    return said


def test_a_rescue_gives_the_task_back_and_counts_no_failure(desk) -> None:
    lease = accepted(desk)
    desk.board.heartbeat(lease, 900)
    row = desk.row(lease.task_id)
    desk.board.clock.advance(1000)
    found = seen(desk, lease.task_id)
    assert orphans.rescue(desk.writer, [found], desk.now) == [found]
    assert desk.columns(lease.task_id, "status", "consecutive_failures", *FREE) == ("ready", 0, None, None, None, None)
    run = desk.run(lease.run_id)
    assert (run["status"], run["outcome"], run["ended_at"]) == ("crashed", "crashed", desk.now)
    assert (run["error"], run["claim_lock"], run["worker_pid"]) == ("the worker is gone", None, None)
    assert desk.known_run(lease.run_id)["ended_at"] == desk.now
    payload = {
        "stale_lock": lease.lock, "worker_pid": 100, "claim_expires": row["claim_expires"],
        "last_heartbeat_at": row["last_heartbeat_at"], "now": desk.now, "reason": "the worker is gone",
        "verdict": "dead", "cause": "infrastructure",
    }  # fmt: skip
    assert desk.last_event(lease.task_id) == ("reclaimed", payload, lease.run_id)
    assert violations(desk.board.path) == []


def complete_and_nothing_else(desk, lease) -> None:
    desk.board.complete_run(lease, Handoff("done after all"))


def new_owner(desk, lease) -> None:
    desk.board.reclaim(desk.board.task(lease.task_id), None, "ann")
    desk.claim(lease.task_id)


BETWEEN: dict[str, Callable[..., object]] = {
    "renewal": lambda desk, lease: leases.renew(desk.writer, lease, desk.now + 5000),
    "heartbeat": lambda desk, lease: desk.board.heartbeat(lease, 5000),
    "heartbeat within the lease": lambda desk, lease: desk.board.heartbeat(lease, 1),
    "new owner": new_owner,
    "completion": complete_and_nothing_else,
    "block": lambda desk, lease: desk.board.block_run(lease, "x", None),
    "new worker": lambda desk, lease: desk.put(lease.task_id, worker_pid=4711),
    "deletion": lambda desk, lease: desk.execute("DELETE FROM tasks WHERE id = :id", id=lease.task_id),
}


@pytest.mark.parametrize("event", BETWEEN)
def test_a_rescue_does_nothing_when_the_run_changed_after_it_was_looked_at(desk, event: str) -> None:
    lease = accepted(desk)
    found = seen(desk, lease.task_id)
    desk.board.clock.advance(10)
    BETWEEN[event](desk, lease)
    before = desk.dump()
    assert orphans.rescue(desk.writer, [found], desk.now) == []
    assert desk.dump() == before


def test_a_claim_that_was_accepted_meanwhile_is_not_rescued(desk) -> None:
    lease = desk.claimed()
    found = seen(desk, lease.task_id)
    leases.accept(desk.writer, lease, SOMEBODY, SOMEBODY, desk.now + 60, desk.now)
    before = desk.dump()
    assert orphans.rescue(desk.writer, [found], desk.now) == []
    assert desk.dump() == before


def test_a_claim_that_took_the_place_of_another_with_the_same_deadline_is_not_rescued(desk) -> None:
    lease = desk.claimed()
    found = seen(desk, lease.task_id)
    new_owner(desk, lease)
    assert desk.columns(lease.task_id, "claim_expires", "worker_pid") == (found.run.claim_expires, None)
    before = desk.dump()
    assert orphans.rescue(desk.writer, [found], desk.now) == []
    assert desk.dump() == before


def test_of_many_rescues_in_one_transaction_only_the_changed_ones_are_left_alone(desk) -> None:
    held = [accepted(desk) for _ in range(4)]
    found = [seen(desk, lease.task_id) for lease in held]
    desk.board.heartbeat(held[1], 5000)
    said = statements_of(desk.writer, lambda: orphans.rescue(desk.writer, found, desk.now))
    assert [text for text in said if text.startswith("BEGIN")] == ["BEGIN IMMEDIATE"]
    assert [desk.row(lease.task_id)["status"] for lease in held] == ["ready", "running", "ready", "ready"]


def test_a_rescued_worker_can_write_nothing_more(desk) -> None:
    lease = accepted(desk)
    orphans.rescue(desk.writer, [seen(desk, lease.task_id)], desk.now)
    with pytest.raises(Superseded):
        desk.board.complete_run(lease, Handoff("too late"))


def test_a_running_task_of_the_host_without_any_run_is_rescued(desk) -> None:
    task_id = desk.create()
    desk.put(task_id, status="running", claim_lock="box:1", claim_expires=desk.now - 1)
    assert len(orphans.rescue(desk.writer, [seen(desk, task_id)], desk.now)) == 1
    assert desk.columns(task_id, "status", *FREE) == ("ready", None, None, None, None)
    assert violations(desk.board.path) == []


def test_closed_runs_linger_until_their_processes_are_proven_gone(desk) -> None:
    lease = accepted(desk)
    desk.board.complete(lease.task_id, Handoff("by hand"), "ann")
    (lingering,) = queries.lingering_runs(desk.writer)
    assert (lingering.run_id, lingering.worker, lingering.closed_at) == (lease.run_id, SOMEBODY, desk.now)
    orphans.mark_ended(desk.writer, [lease.run_id], desk.now)
    assert queries.lingering_runs(desk.writer) == []


def test_nothing_may_start_beside_a_lingering_process(desk) -> None:
    lease = accepted(desk)
    desk.board.reclaim(desk.board.task(lease.task_id), None, "ann")
    assert queries.candidates(desk.writer, desk.now, 0) == []
    orphans.mark_ended(desk.writer, [lease.run_id], desk.now)
    assert [task.id for task in queries.candidates(desk.writer, desk.now, 0)] == [lease.task_id]


@pytest.mark.parametrize("status", ["ready", "todo", "blocked", "done", "archived", "triage", "review", "scheduled"])
def test_repair_takes_a_left_claim_and_its_run_from_a_task_that_is_not_running(desk, status: str) -> None:
    lease = accepted(desk)
    desk.put(lease.task_id, status=status)
    found = orphans.repair(desk.writer, desk.now)
    assert found[0] == Repair(lease.task_id, lease.run_id, f"claim on a task that is {status}")
    assert desk.columns(lease.task_id, "status", *FREE) == (status, None, None, None, None)
    run = desk.run(lease.run_id)
    assert (run["status"], run["outcome"], run["ended_at"]) == ("reclaimed", "reclaimed", desk.now)
    kind, payload, run_id = desk.events(lease.task_id)[3]
    assert (kind, payload["stale_lock"], payload["worker_pid"], run_id) == ("reclaimed", lease.lock, 100, lease.run_id)
    assert violations(desk.board.path) == []


def test_repair_clears_a_lock_without_a_run(desk) -> None:
    task_id = desk.create()
    desk.put(task_id, claim_lock="box:1", worker_pid=7)
    assert orphans.repair(desk.writer, desk.now) == [Repair(task_id, None, "claim on a task that is ready")]
    assert desk.columns(task_id, *FREE) == (None, None, None, None)


@pytest.mark.parametrize("status", ["ready", "blocked", "done", "running"])
def test_repair_closes_a_second_open_run(desk, status: str) -> None:
    lease = desk.claimed()
    if status == "done":
        desk.board.complete_run(lease, Handoff("done"))
    elif status != "running":
        desk.board.reclaim(desk.board.task(lease.task_id), None, "ann")
        desk.put(lease.task_id, status=status)
    desk.execute(
        "INSERT INTO task_runs (task_id, status, claim_lock, started_at) VALUES (:task_id, 'running', 'box:9', 5)",
        task_id=lease.task_id,
    )
    stray = desk.runs(lease.task_id)[-1]["id"]
    row = desk.row(lease.task_id)
    assert orphans.repair(desk.writer, desk.now) == [
        Repair(lease.task_id, stray, f"open run of a task that is {status}")
    ]
    run = desk.run(stray)
    assert (run["status"], run["ended_at"], run["claim_lock"]) == ("reclaimed", desk.now, None)
    assert desk.row(lease.task_id) == row
    assert desk.last_event(lease.task_id)[2] == stray


def test_repair_closes_the_open_run_of_a_task_that_is_gone(desk) -> None:
    lease = desk.claimed()
    desk.execute("DELETE FROM tasks WHERE id = :id", id=lease.task_id)
    assert orphans.repair(desk.writer, desk.now) == [
        Repair(lease.task_id, lease.run_id, "open run of a task that is gone")
    ]
    assert desk.run(lease.run_id)["status"] == "reclaimed"


def test_repair_leaves_a_sound_board_alone(desk) -> None:
    accepted(desk)
    desk.create()
    desk.board.complete_run(desk.claimed(), Handoff("done"))
    before = desk.dump()
    assert orphans.repair(desk.writer, desk.now) == []
    assert desk.dump() == before


@pytest.mark.parametrize(
    "scan",
    [
        lambda desk: orphans.repair(desk.writer, desk.now),
        lambda desk: orphans.rescue(desk.writer, [], desk.now),
        lambda desk: orphans.mark_ended(desk.writer, [], desk.now),
        lambda desk: desk.board.promote(),
        lambda desk: desk.board.tidy(),
    ],
    ids=["repair", "rescue", "mark_ended", "promote", "tidy"],
)
def test_an_idle_scan_opens_no_write_transaction(desk, scan: Callable[..., object]) -> None:
    accepted(desk)
    desk.create()
    said = statements_of(desk.writer, lambda: scan(desk))
    assert [text for text in said if not text.lstrip().startswith("SELECT")] == []
