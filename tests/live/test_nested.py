"""What inherits a worker's environment in the real host, and is not the worker: it speaks for nobody."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest

from hermes_kanban_plugin.clock import Clock
from hermes_kanban_plugin.testing import claim_one, make_board, violations
from tests.live.model_server import ModelServer
from tests.live.test_worker import environment_of, set_agent

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from hermes_kanban_plugin.board import Board
    from hermes_kanban_plugin.store.leases import Lease
    from tests.live.house import LiveHouse
    from tests.live.model_server import Answer, Conversation

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


def delegating(house: LiveHouse, goal: str, **section: Any) -> str:
    """Let our dispatcher run a task whose worker hands ``goal`` (with the task's id in it) to a subagent."""
    for home in house.profiles():
        document = json.loads((home / "config.yaml").read_text())
        (home / "config.yaml").write_text(json.dumps({**document, "delegation": section}))
    task = house.create("x", "waits")
    arguments = quote(json.dumps({"goal": goal.format(task)}))
    house.write("UPDATE tasks SET body = ? WHERE id = ?", f"SLOW=6 CALL=delegate_task ARGS={arguments}", task)
    house.start_dispatcher()
    assert house.settle(task) == "done", house.describe()
    return task


def test_a_subagents_used_up_budget_is_not_the_tasks(live_house: LiveHouse) -> None:
    task = delegating(live_house, "help with the card", max_iterations=2)
    assert [run["outcome"] for run in live_house.runs(task)] == ["completed"]
    assert "timed_out" not in live_house.kinds(task)
    assert live_house.task(task)["consecutive_failures"] == 0
    assert "of a subagent" in live_house.host_log(home=live_house.home / "profiles" / "worker")


class Hasty(ModelServer):
    """A model that plays the same script and never waits."""

    def answer(self, body: dict[str, Any]) -> tuple[Conversation, Answer]:
        talk, said = super().answer(body)
        return talk, said._replace(hold=0.0)


def test_a_subagent_cannot_finish_its_parents_task(live_house: LiveHouse) -> None:
    """It has the kanban tools, and a model of its own that is done before its parent's is."""
    with Hasty() as other:
        task = delegating(
            live_house, "finish {}", base_url=other.url, api_key="a-key-for-nobody", model="scripted", provider="custom"
        )
        told = {entry["turn"]: entry["result"] for entry in other.requests(task) if entry["works"]}
    assert '"ok": true' in told[2], "its sign of life is welcome"
    assert "a subagent cannot end the task" in told[max(told)]
    assert [run["outcome"] for run in live_house.runs(task)] == ["completed"]
    assert "late_completion" not in live_house.kinds(task)


def test_a_nested_chat_that_calls_itself_the_worker_does_not_start(live_house: LiveHouse) -> None:
    """It has everything that the worker has, its prompt included, and it is told to end: the task is not given back."""
    house = live_house
    script = house.folder / "nested.sh"
    script.write_text(
        f'timeout 9 {sys.executable} -m hermes_cli.main -p worker chat -q "work kanban task $HERMES_KANBAN_TASK"\n'
        f'echo "ended with $?"\n'
    )
    task = house.create("x", f"TERM=sh+{script}")
    house.start_dispatcher()
    assert house.settle(task) == "done", house.describe()
    assert [run["outcome"] for run in house.runs(task)] == ["completed"]
    assert house.server.attempts(task) == 1, "the nested chat asked no model"
    said = [entry["result"] for entry in house.server.requests(task) if entry["works"]]
    (answer,) = [result for result in said if result and "ended with" in result]
    assert "not started" in answer
    assert "ended with 0" in answer


def test_the_hosts_own_command_in_a_workers_terminal_does_not_speak_for_it(live_house: LiveHouse) -> None:
    """What the start-up file does in every ``hermes``, done by hand: this house has none."""
    house = live_house
    script = house.folder / "words.py"
    script.write_text(
        "import os, runpy, sys\n"
        "import hermes_kanban_plugin.boot\n"
        "hermes_kanban_plugin.boot.install()\n"
        "sys.argv = ['hermes', 'kanban', 'complete', os.environ['HERMES_KANBAN_TASK']]\n"
        "runpy.run_module('hermes_cli.main', run_name='__main__')\n"
    )
    task = house.create("x", f"TERM={sys.executable}+{script}")
    house.start_dispatcher()
    assert house.settle(task) == "done", house.describe()
    said = [entry["result"] for entry in house.server.requests(task) if entry["works"] and entry["result"]]
    (answer,) = [result for result in said if "kanban complete" in result]
    assert "is not its worker" in answer
    (completed,) = [event for event in house.events(task) if event["kind"] == "completed"]
    assert completed["payload"]["summary"] == "done in attempt 1"
