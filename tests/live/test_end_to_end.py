"""A task's whole way through the real host with our plugin in the gateway and in the worker, and who is told of it."""

from __future__ import annotations

import json
import signal
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from hermes_kanban_plugin.testing import violations
from tests.live.house import WORKER, LiveHouse

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.live.model_server import ModelServer

pytestmark = [pytest.mark.host, pytest.mark.xdist_group("live-end-to-end"), pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def serving(tmp_path_factory: pytest.TempPathFactory, model_server: ModelServer) -> Iterator[LiveHouse]:
    """A house whose gateway has our dispatcher and a chat."""
    house = LiveHouse(tmp_path_factory.mktemp("serving") / "house", model_server)
    house.open_chat()
    house.hermes("kanban", "init")
    house.start_gateway()
    yield house
    house.close()


def subscribe(house: LiveHouse, task: str) -> None:
    house.hermes("kanban", "notify-subscribe", task, "--platform", "fakechat", "--chat-id", "c1")


def heard_about(house: LiveHouse, task: str, what: str) -> list[str]:
    return [said for said in house.heard() if task in said and what in said]


def tokens_of_session(house: LiveHouse, session: str) -> tuple[int, int]:
    """Return what Hermes itself keeps of a worker's session."""
    with closing(sqlite3.connect(house.home / "profiles" / WORKER / "state.db")) as sessions:
        columns = "input_tokens + cache_read_tokens + cache_write_tokens, output_tokens"
        sent, received = sessions.execute(f"SELECT {columns} FROM sessions WHERE id = ?", [session]).fetchone()
    assert sent > 0
    return sent, received


def test_from_creation_over_heartbeats_to_completion(serving: LiveHouse) -> None:
    task = serving.create("write a poem", "BEATS=3 SLOW=1")
    pid = serving.parked(task)
    (run,) = serving.runs(task)
    (known,) = serving.rows("SELECT * FROM kp_runs WHERE task_id = ?", [task])
    assert (known["run_id"], known["worker_pid"], known["lane"]) == (run["id"], pid, "hermes")
    assert serving.settle(task) == "done"
    serving.wait_until(lambda: serving.rows("SELECT 1 FROM kp_runs WHERE ended_at IS NOT NULL AND task_id = ?", [task]),
                       "the end of its processes")  # fmt: skip
    (known,) = serving.rows("SELECT * FROM kp_runs WHERE task_id = ?", [task])
    assert known["final_word_at"] is not None, "another tool than ours completed it"
    assert known["exit_code"] == 0
    beats = [
        event["payload"]["note"] for event in serving.events(task) if event["payload"] and "note" in event["payload"]
    ]
    assert beats == ["beat 1", "beat 2", "beat 3"]
    assert serving.kinds(task)[:3] == ["created", "claimed", "spawned"]
    assert serving.kinds(task)[-1] == "completed"
    (run,) = serving.runs(task)
    assert (run["outcome"], run["summary"]) == ("completed", "done in attempt 1")
    used = tokens_of_session(serving, json.loads(run["metadata"])["worker_session_id"])
    assert (known["input_tokens"], known["output_tokens"]) == used
    assert "done in attempt 1" in serving.hermes("kanban", "show", task)
    assert (serving.home / "kanban" / "logs" / f"{task}.log").stat().st_size > 0
    assert not (serving.home / "kanban" / "workspaces" / task).exists()
    assert violations(serving.database) == []


def test_block_and_unblock(serving: LiveHouse) -> None:
    task = serving.create("ask first", "BLOCK_FIRST=which+colour?")
    assert serving.settle(task, "blocked", "done") == "blocked"
    (run,) = serving.runs(task)
    assert run["outcome"] == "blocked"
    assert [event["payload"]["reason"] for event in serving.events(task) if event["kind"] == "blocked"] == [
        "which colour?"
    ]
    serving.hermes("kanban", "unblock", task)
    assert serving.settle(task, "done") == "done"
    assert [run["outcome"] for run in serving.runs(task)] == ["blocked", "completed"]
    assert serving.task(task)["consecutive_failures"] == 0
    assert violations(serving.database) == []


def test_a_subscribed_chat_is_told_all_the_time(serving: LiveHouse) -> None:
    """Also around the death of the dispatcher, and of what an operator does in the chat itself."""
    finished = serving.create("finish", "SLOW=600")
    stuck = serving.create("get stuck", "BLOCK=no+key")
    doomed = serving.create("die", "SLOW=600")
    for task in (finished, stuck, doomed):
        subscribe(serving, task)
    serving.wait_until(lambda: heard_about(serving, stuck, "no key"), "the message about the blocked task")
    serving.parked(finished)
    (old,) = serving.dispatchers()
    serving.kill(old, signal.SIGKILL)
    serving.say(f"/kanban complete {finished} --summary enough")
    serving.wait_until(lambda: heard_about(serving, finished, "done"), "the message about the completed task")
    serving.wait_until(lambda: serving.dispatchers() not in ([], [old]), "another dispatcher")
    for attempt in (1, 2):
        serving.kill(serving.parked(doomed, attempt), signal.SIGKILL)
    assert serving.settle(doomed, "blocked") == "blocked"
    serving.wait_until(lambda: heard_about(serving, doomed, "gave up"), "the message about the task that was given up")
    assert violations(serving.database) == []


def test_the_hosts_own_dispatcher_stands_down(serving: LiveHouse) -> None:
    serving.wait_until(serving.dispatchers, "our dispatcher")
    assert serving.settle(serving.create("go", "")) == "done"
    assert "kanban dispatcher: " not in serving.host_log("gateway")
