"""What inherits a worker's environment in the real host, and is not the worker: it speaks for nobody."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from hermes_kanban_plugin.clock import Clock
from hermes_kanban_plugin.testing import claim_one, make_board, violations
from tests.live.test_worker import environment_of, set_agent

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from hermes_kanban_plugin.board import Board
    from hermes_kanban_plugin.store.leases import Lease
    from tests.live.house import LiveHouse

pytestmark = [pytest.mark.host, pytest.mark.xdist_group("live-nested")]


def chat(house: LiveHouse, lease: Lease, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a chat of the host to its end, with the environment of a run's worker."""
    return subprocess.run(
        [sys.executable, "-m", "hermes_cli.main", "-p", "worker", "chat", *arguments],
        env=environment_of(house, lease, {}), cwd=house.folder, stdin=subprocess.DEVNULL,
        capture_output=True, text=True, timeout=90, check=False,
    )  # fmt: skip


def board_of(house: LiveHouse) -> AbstractContextManager[Board]:
    return make_board(house.database, Clock())


@pytest.mark.parametrize("whose", ["an old run", "its parent"])
def test_a_nested_chat_ends_no_run_and_gives_no_sign_of_life(live_house: LiveHouse, whose: str) -> None:
    """It is asked something else, so its arguments do not say that it is a worker; its own budget is used up."""
    house = live_house
    set_agent(house, max_turns=2)
    with board_of(house) as board:
        lease = claim_one(board, board.create_task(title="x", assignee="worker"), lane="hermes")
        current = lease
        if whose == "an old run":
            board.reclaim(board.task(lease.task_id), None, "ann")
            current = claim_one(board, lease.task_id, nonce="n2", lane="hermes")
        before = list(board.reader.iterdump())
        did = chat(house, lease, "-q", "say something")
        assert list(board.reader.iterdump()) == before, did
    assert house.task(lease.task_id)["current_run_id"] == current.run_id
    assert len(house.server.requests()) >= 2, "it used its budget up"
    assert "is not the task's failure" in house.host_log(home=house.home / "profiles" / "worker")
    assert violations(house.database) == []
