"""Every status times every verb: a move that is not in the table raises and leaves the board as it was."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest

from hermes_kanban_plugin.causes import Cause
from hermes_kanban_plugin.errors import Superseded, UnknownTask, WrongState
from hermes_kanban_plugin.models import Status
from hermes_kanban_plugin.store import leases, outcomes
from hermes_kanban_plugin.store.leases import Lease
from hermes_kanban_plugin.store.outcomes import Failure, Handoff

STALE = Lease("", 9999, "box:1:stale")

# A person's verbs: what they do, and the only columns they do it from (contract section 3).
PERSON: dict[str, tuple[Callable[..., object], set[str]]] = {
    "complete": (lambda desk, task: desk.board.complete(task, Handoff("x"), "ann"), {"running", "ready", "blocked"}),
    "block": (lambda desk, task: desk.board.block(task, "x", None, "ann"), {"running", "ready"}),
    "unblock": (lambda desk, task: desk.board.unblock(task, "ann"), {"blocked", "scheduled"}),
    "reclaim": (lambda desk, task: desk.board.reclaim(desk.board.task(task), "x", "ann"), {"running"}),
}

# A worker's verbs need the current run: without it there is no column they do anything from.
WORKER: dict[str, Callable[..., object]] = {
    "heartbeat": lambda desk, lease: desk.board.heartbeat(lease, 60),
    "renew": lambda desk, lease: leases.renew(desk.writer, lease, desk.now + 60),
    "complete": lambda desk, lease: desk.board.complete_run(lease, Handoff("x")),
    "block": lambda desk, lease: desk.board.block_run(lease, "x", None),
    "fail": lambda desk, lease: outcomes.fail(desk.writer, lease, Failure(Cause.CRASHED, "x", {}), desk.now),
    "release": lambda desk, lease: outcomes.release(desk.writer, lease, Cause.INTERRUPTED, "x", {}, desk.now),
}


def task_in(desk, status: str) -> str:
    task_id = desk.create()
    if status == "running":
        desk.claim(task_id)
    else:
        desk.put(task_id, status=status)
    return task_id


LEGAL = [(verb, status) for verb, (_, statuses) in PERSON.items() for status in Status if status in statuses]
ILLEGAL = [(verb, status) for verb, status in itertools.product(PERSON, Status) if (verb, status) not in LEGAL]


def test_the_two_lists_are_the_whole_table() -> None:
    assert len(LEGAL) == 8
    assert len(LEGAL) + len(ILLEGAL) == len(PERSON) * len(Status) == 36


@pytest.mark.parametrize(("verb", "status"), LEGAL)
def test_a_person_can_make_every_legal_move(desk, verb: str, status: str) -> None:
    task_id = task_in(desk, status)
    PERSON[verb][0](desk, task_id)
    assert desk.row(task_id)["status"] != status


@pytest.mark.parametrize(("verb", "status"), ILLEGAL)
def test_a_person_can_make_no_other_move(desk, verb: str, status: str) -> None:
    task_id = task_in(desk, status)
    before = desk.dump()
    with pytest.raises(WrongState, match=f"could not {verb} {task_id}: it is {status}.*hermes-kanban show"):
        PERSON[verb][0](desk, task_id)
    assert desk.dump() == before


@pytest.mark.parametrize("verb", [verb for verb in PERSON if verb != "reclaim"])
def test_nobody_can_move_a_task_that_is_not_there(desk, verb: str) -> None:
    before = desk.dump()
    with pytest.raises(UnknownTask, match="hermes-kanban list"):
        PERSON[verb][0](desk, "t_00000000")
    assert desk.dump() == before


@pytest.mark.parametrize("verb", WORKER)
@pytest.mark.parametrize("status", Status)
def test_a_worker_without_the_current_run_moves_nothing_from_anywhere(desk, verb: str, status: str) -> None:
    task_id = task_in(desk, status)
    before = desk.dump()
    with pytest.raises(Superseded):
        WORKER[verb](desk, STALE._replace(task_id=task_id))
    assert desk.dump() == before


@pytest.mark.parametrize("verb", WORKER)
@pytest.mark.parametrize("status", [status for status in Status if status != "running"])
def test_a_worker_whose_task_was_moved_under_it_moves_nothing(desk, verb: str, status: str) -> None:
    """Even when whoever moved the task left the claim in place, as the host does in places (contract W14)."""
    lease = desk.claimed()
    desk.put(lease.task_id, status=status)
    before = desk.dump()
    with pytest.raises(Superseded):
        WORKER[verb](desk, lease)
    assert desk.dump() == before


def test_machinery_opens_neither_a_finished_task_nor_a_gate(desk) -> None:
    tasks = {status: task_in(desk, status) for status in Status if status not in ("todo", "running")}
    before = desk.dump()
    assert desk.board.promote() == []
    assert desk.dump() == before
    assert {status: desk.row(task_id)["status"] for status, task_id in tasks.items()} == {s: s for s in tasks}
