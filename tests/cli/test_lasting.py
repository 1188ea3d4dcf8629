"""``outages``: what lasts, and a person who says that it is over."""

from __future__ import annotations

import pytest

from hermes_kanban_plugin import open_board
from hermes_kanban_plugin.causes import Cause
from hermes_kanban_plugin.store import outcomes
from hermes_kanban_plugin.store.outcomes import Failure
from hermes_kanban_plugin.testing import claim_one


@pytest.fixture
def failing() -> list[str]:
    """Three tasks that fail the same way."""
    with open_board(create=True) as board:
        ids = [board.create_task(title="x", assignee="nobody") for _ in range(3)]
        for task_id in ids:
            lease = claim_one(board, task_id, nonce=task_id)
            outcomes.fail(board.writer, lease, Failure(Cause.CRASHED, "no route to host", {}), board.clock.now())
    return ids


def test_without_any(command) -> None:
    command.ok("init")
    assert command.ok("outages").out == "no outage\n"
    assert command.ok("outages", "--json").json == []
    command("outages", "--close", "1").refused(2, "no outage 1", "hermes-kanban outages")


def test_one_is_listed_and_closed(command, failing) -> None:
    (listed,) = command.ok("outages", "--json").json
    assert sorted(listed["waiting"]) == sorted(failing)
    shown = command.ok("outages").out
    assert "crashed: no route to host" in shown
    number = str(listed["id"])
    assert "would close" in command.ok("outages", "--close", number, "--dry-run").out
    assert len(command.ok("outages", "--json").json) == 1
    assert command.ok("outages", "--close", number).out == "closed outage 1; 3 tasks come back, one after the other\n"
    assert command.ok("outages", "--json").json == []
