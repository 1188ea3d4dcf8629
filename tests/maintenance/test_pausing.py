"""``pause`` and ``resume``: nothing starts, nothing is counted, what runs goes on."""

from __future__ import annotations

import os

import pytest

from hermes_kanban_plugin import identity
from hermes_kanban_plugin.errors import Superseded
from hermes_kanban_plugin.maintenance import overview, pausing
from hermes_kanban_plugin.store import leases, queries
from hermes_kanban_plugin.store.leases import ClaimTerms
from hermes_kanban_plugin.testing import violations
from tests.maintenance.conftest import Keeper


def claim(keeper: Keeper, *task_ids: str, lane: str = "command") -> list[leases.Lease]:
    terms = ClaimTerms(f"host:1:{os.urandom(3).hex()}", keeper.now + 60, lane)
    return keeper.board.claim(task_ids, terms)


def test_nothing_can_be_claimed_on_a_paused_board(keeper: Keeper) -> None:
    task_id = keeper.create()

    paused = pausing.pause(keeper.board, "deploy", "ana")

    assert claim(keeper, task_id) == []
    assert claim(keeper, task_id, lane="terminal") == []
    assert keeper.rows("SELECT count(*) FROM task_runs") == [(0,)]
    assert keeper.kinds(task_id) == ["created"]
    assert (paused.changed, paused.returned, paused.running, paused.since) == (True, [], 0, keeper.now)
    pausing.resume(keeper.board, "ana")
    assert [lease.task_id for lease in claim(keeper, task_id)] == [task_id]


def test_a_claim_that_nobody_accepted_is_taken_back_and_can_never_be_accepted(keeper: Keeper) -> None:
    task_id = keeper.create()
    lease = keeper.claim(task_id)

    paused = pausing.pause(keeper.board, "deploy", "ana")

    task = keeper.board.task(task_id)
    assert (task.status, task.consecutive_failures, task.claim_lock) == ("ready", 0, None)
    assert paused.returned == [task_id]
    (run,) = keeper.board.runs(task_id)
    assert run.outcome == "reclaimed"
    last = keeper.board.events(task_id)[-1]
    assert (last.kind, last.payload["actor"]) == ("reclaimed", "ana")
    me = identity.capture(os.getpid())
    with pytest.raises(Superseded):
        leases.accept(keeper.board.writer, lease, me, me, keeper.now + 60, keeper.now)
    assert queries.lingering_runs(keeper.board.writer) == []
    assert violations(keeper.board.path) == []


def test_a_review_goes_back_to_review(keeper: Keeper) -> None:
    task_id = keeper.create()
    keeper.execute("UPDATE tasks SET status = 'review' WHERE id = ?", task_id)
    terms = ClaimTerms("host:1:review", keeper.now + 60, "command", "review")
    assert keeper.board.claim([task_id], terms)

    pausing.pause(keeper.board, "", "ana")

    assert keeper.board.task(task_id).status == "review"


def test_what_runs_goes_on(keeper: Keeper) -> None:
    worker, by_hand, foreign = (keeper.create(name) for name in ("worker", "by hand", "foreign"))
    lease = keeper.claim(worker)
    me = identity.capture(os.getpid())
    leases.accept(keeper.board.writer, lease, me, me, keeper.now + 60, keeper.now)
    claim(keeper, by_hand, lane="terminal")
    keeper.claim(foreign)
    keeper.execute("DELETE FROM kp_runs WHERE task_id = ?", foreign)  # as a run of the host's own dispatcher looks

    paused = pausing.pause(keeper.board, "deploy", "ana")

    assert (paused.returned, paused.running) == ([], 3)
    assert {task.status for task in keeper.board.tasks()} == {"running"}
    assert keeper.board.heartbeat(lease, 60)


def test_pausing_twice_keeps_it_paused_with_the_new_reason(keeper: Keeper) -> None:
    pausing.pause(keeper.board, "deploy", "ana")
    keeper.clock.advance(60)

    again = pausing.pause(keeper.board, " ", "ben")

    flag = pausing.find(keeper.board)
    assert flag is not None
    assert (again.changed, flag.value, flag.actor, flag.since) == (False, pausing.NO_REASON, "ben", keeper.now)


def test_resuming_what_is_not_paused_changes_nothing(keeper: Keeper) -> None:
    before = keeper.everything()

    assert pausing.resume(keeper.board, "ana").changed is False
    assert keeper.everything() == before


def test_dry_runs_change_no_byte(keeper: Keeper) -> None:
    task_id = keeper.create()
    keeper.claim(task_id)
    before = keeper.everything()

    said = pausing.pause(keeper.board, "deploy", "ana", dry_run=True)

    assert (said.dry_run, said.returned) == (True, [task_id])
    assert keeper.everything() == before
    pausing.pause(keeper.board, "deploy", "ana")
    before = keeper.everything()
    assert pausing.resume(keeper.board, "ana", dry_run=True).changed is True
    assert keeper.everything() == before


def test_the_picture_says_that_it_is_paused(keeper: Keeper) -> None:
    pausing.pause(keeper.board, "deploy", "ana")

    paused = overview.look(keeper.board).paused

    assert paused is not None
    assert (paused.actor, paused.value) == ("ana", "deploy")
