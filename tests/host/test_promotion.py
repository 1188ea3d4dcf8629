"""The host promotes whenever anybody lists or completes; it must not open what we closed (contract W5, W12, W21)."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from hermes_kanban_plugin.board import Board
from hermes_kanban_plugin.breaker import Terms
from hermes_kanban_plugin.causes import Cause
from hermes_kanban_plugin.clock import Clock
from hermes_kanban_plugin.store import outcomes
from hermes_kanban_plugin.testing import claim_one, make_board, violations

if TYPE_CHECKING:
    from tests.host.conftest import House

pytestmark = pytest.mark.host

# Who set the limit and how high -> how often the task fails before it is given up.
BREAKERS = {"dispatcher 1": (None, 1), "dispatcher 2": (None, 2), "dispatcher 3": (None, 3), "task 1": (1, 5)}
PROMOTERS = {
    "list": "kanban('list')",
    "complete": "kanban('complete', {other!r})",
    "archive": "kanban('archive', {other!r})",
    "recompute": "kb.recompute_ready(conn)",
}


def give_up(board: Board, outcome: str, max_retries: int | None, limit: int) -> str:
    task_id = board.create_task(title=f"{outcome} {max_retries} {limit}", max_retries=max_retries)
    for attempt in range(max_retries or limit):
        assert board.task(task_id).status == "ready"
        terms = Terms(failure_limit=limit, outage_tasks=0)
        failure = outcomes.Failure(Cause(outcome), "it fell over", {}, terms)
        outcomes.fail(board.writer, claim_one(board, task_id, nonce=f"n{attempt}"), failure, board.clock.now())
    assert board.task(task_id).status == "blocked"
    return task_id


@pytest.mark.parametrize("how", PROMOTERS)
def test_host_opens_nothing_that_we_closed(house: House, how: str) -> None:
    with make_board(house.database, Clock()) as board:
        closed = {
            give_up(board, outcome, *breaker)
            for outcome in ("crashed", "timed_out", "spawn_failed")
            for breaker in BREAKERS.values()
        }
        closed.add(board.create_task(title="gate", initial_status="blocked"))
        parent, other = board.create_task(title="parent", triage=True), board.create_task(title="other")
        child = board.create_task(title="child", parents=[parent])
        closed.add(board.create_task(title="gate below", initial_status="blocked", parents=[parent]))
        # What a death between completing and promoting leaves behind: only a promotion can open it.
        board.writer.execute("UPDATE tasks SET status = 'archived' WHERE id = :id", {"id": parent})
    host = house.host()
    of_host = host.ask("kb.create_task(conn, title='gate of the host', initial_status='blocked')")
    for _ in range(2):
        host.ask(PROMOTERS[how].format(other=other))
    status = {task["id"]: task["status"] for task in json.loads(host.ask("kanban('list', '--json')"))}
    assert status[child] == "ready", "the host did promote"
    assert status[of_host] == "ready", "and it did open a gate of its own"
    assert {status[task_id] for task_id in closed} == {"blocked"}
    assert violations(house.database) == []
