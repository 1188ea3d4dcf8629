"""Workers of the real host with our plugin in them: who may start and speak, what is a sign of life, how they end."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import psutil
import pytest

from hermes_kanban_plugin.clock import Clock
from hermes_kanban_plugin.store.outcomes import Handoff
from hermes_kanban_plugin.testing import claim_one, make_board, violations
from tests.live.model_server import ModelServer

if TYPE_CHECKING:
    from collections.abc import Callable

    from hermes_kanban_plugin.board import Board
    from hermes_kanban_plugin.store.leases import Lease
    from tests.live.house import LiveHouse

pytestmark = [pytest.mark.host, pytest.mark.xdist_group("live-worker")]

COMMENT = "CALL=kanban_comment ARGS="


def comment_on(task_id: str) -> str:
    """Return the directives that make the model comment on a task."""
    return COMMENT + quote(json.dumps({"task_id": task_id, "body": "said by a worker"}))


def set_agent(house: LiveHouse, **keys: Any) -> None:
    """Write keys of the host's ``agent`` section for workers."""
    for home in house.profiles():
        document = json.loads((home / "config.yaml").read_text())
        (home / "config.yaml").write_text(json.dumps({**document, "agent": keys}))


def run_of(house: LiveHouse, task_id: str) -> dict[str, Any]:
    """Return the latest run of a task, with what we know beside it."""
    query = "SELECT * FROM task_runs LEFT JOIN kp_runs ON kp_runs.run_id = task_runs.id WHERE task_runs.task_id = ?"
    return house.rows(f"{query} ORDER BY task_runs.id DESC", [task_id])[0]


def ended(house: LiveHouse, task_id: str) -> dict[str, Any]:
    """Wait for the end of a task's first run and return it."""

    def look() -> dict[str, Any] | None:
        runs = house.runs(task_id)
        return runs[0] if runs and runs[0]["outcome"] else None

    return house.wait_until(look, f"the end of the first run of {task_id}")


def has_ended(pid: int) -> bool:
    """Say whether a process is gone, or dead and not buried."""
    try:
        return bool(psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True


def outcomes_of(house: LiveHouse, task_id: str) -> list[str]:
    return [run["outcome"] for run in house.runs(task_id)]


# --- who may start -------------------------------------------------------------------------------------------------


def taken_back(board: Board, lease: Lease) -> None:
    board.reclaim(board.task(lease.task_id), None, "ann")


def superseded(board: Board, lease: Lease) -> None:
    taken_back(board, lease)
    claim_one(board, lease.task_id, nonce="n2")


def blocked(board: Board, lease: Lease) -> None:
    board.block(lease.task_id, "wait", "needs_input", "ann")


def done(board: Board, lease: Lease) -> None:
    board.complete(lease.task_id, Handoff("by hand"), "ann")


def archived(board: Board, lease: Lease) -> None:
    taken_back(board, lease)
    board.writer.execute("UPDATE tasks SET status = 'archived' WHERE id = ?", (lease.task_id,))


def deleted(board: Board, lease: Lease) -> None:
    taken_back(board, lease)
    board.writer.execute("DELETE FROM tasks WHERE id = ?", (lease.task_id,))


def untouched(board: Board, lease: Lease) -> None:
    """The run is current; only the environment is wrong."""


STARTS: list[tuple[Callable[[Board, Lease], None], dict[str, str | None], str]] = [
    (taken_back, {}, "no longer current"),
    (superseded, {}, "superseded by run"),
    (blocked, {}, "the task is blocked"),
    (done, {}, "the task is done"),
    (archived, {}, "the task is archived"),
    (deleted, {}, "unknown task"),
    (untouched, {"RUN_ID": None}, "RUN_ID is not set"),
    (untouched, {"RUN_ID": "seven"}, "RUN_ID is malformed"),
    (untouched, {"RUN_ID": "999"}, "superseded by run"),
    (untouched, {"CLAIM_LOCK": None}, "CLAIM_LOCK is not set"),
    (untouched, {"CLAIM_LOCK": "vm:1"}, "under another lock"),
    (untouched, {"DB": "/nowhere/kanban.db"}, "does not exist"),
    (untouched, {"TASK": None}, "HERMES_KANBAN_TASK is not set"),
    (untouched, {"TASK": " "}, "HERMES_KANBAN_TASK is not set"),
    (untouched, {"TASK": "t_00000000"}, "HERMES_KANBAN_TASK is malformed"),
]
# Other ways to say the same; the host's parser takes them all.
PROMPTS = (["--query=work kanban task {}"], ["-qwork kanban task {}"], ["-q", "work kanban task {}, now"])


def environment_of(house: LiveHouse, lease: Lease, changed: dict[str, str | None]) -> dict[str, str]:
    values = {"TASK": lease.task_id, "RUN_ID": str(lease.run_id), "CLAIM_LOCK": lease.lock, "DB": str(house.database)}
    named = {f"HERMES_KANBAN_{name}": value for name, value in {**values, **changed}.items() if value is not None}
    return house.environment | named


def start_worker(house: LiveHouse, lease: Lease, changed: dict[str, str | None], prompt: list[str]) -> Any:
    """Start a worker of the host in an environment that is wrong, and wait for its end."""
    return subprocess.run(
        [sys.executable, "-m", "hermes_cli.main", "-p", "worker", "--cli", "--accept-hooks", "chat",
         *(word.format(lease.task_id) for word in prompt)],
        env=environment_of(house, lease, changed), cwd=house.folder, stdin=subprocess.DEVNULL,
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


def test_a_worker_that_may_not_start_asks_no_model_and_books_nothing(live_house: LiveHouse) -> None:
    house, asked = live_house, len(live_house.server.log)
    starts = [(*start, ["-q", "work kanban task {}"]) for start in STARTS]
    starts += [(untouched, {"RUN_ID": "999"}, "superseded by run", prompt) for prompt in PROMPTS]
    with make_board(house.database, Clock()) as board:
        for stage, changed, reason, prompt in starts:
            lease = claim_one(board, board.create_task(title="x", assignee="worker"), lane="hermes")
            stage(board, lease)
            before = list(board.reader.iterdump())
            did = start_worker(house, lease, changed, prompt)
            case = f"{stage.__name__}, {changed}, {prompt}: {did}"
            assert did.returncode == 0, case
            assert did.stdout == "", case
            (line,) = [line for line in did.stderr.splitlines() if line]
            assert reason in line, case
            assert list(board.reader.iterdump()) == before, case
    assert house.server.log[asked:] == [], "not one request, not even for the list of models"
    said = (house.home / "profiles" / "worker" / "logs" / "agent.log").read_text()
    assert said.count("not started") == len(starts)


# --- workers that the host's own dispatcher started ----------------------------------------------------------------


def dispatch_by_host(house: LiveHouse, task_id: str) -> dict[str, Any]:
    """Let the plain host start the worker of a task; returns the payload of its claim."""
    house.hermes("kanban", "dispatch", HERMES_KANBAN_CLAIM_TTL_SECONDS="60")
    (claimed,) = [event for event in house.events(task_id) if event["kind"] == "claimed"]
    return dict(claimed["payload"])


def test_a_heartbeat_moves_the_hosts_lease_and_a_superseded_run_may_not_speak(live_house: LiveHouse) -> None:
    house = live_house
    task = house.create("x", "waits")
    house.write("UPDATE tasks SET body = ? WHERE id = ?", f"BEATS=2 PACE=3 {comment_on(task)}", task)
    first = dispatch_by_host(house, task)
    noted = "SELECT created_at FROM task_events WHERE kind = 'heartbeat' AND payload LIKE '%beat 2%'"
    beaten = house.wait_until(lambda: house.rows(noted), "the second heartbeat of the model")[0]["created_at"]
    assert house.task(task)["claim_expires"] >= beaten + 60 > first["expires"]
    assert house.task(task)["last_heartbeat_at"] >= beaten
    # Another run takes the task while the worker waits for its model.
    house.write("UPDATE tasks SET current_run_id = 77 WHERE id = ?", task)
    house.wait_until(lambda: not house.workers(task), "the worker to end")
    said = {entry["turn"]: entry["result"] for entry in house.server.requests(task) if entry["works"]}
    assert '"ok": true' in said[3]
    for turn, tool in ((4, "kanban_comment"), (5, "kanban_complete")):
        assert "no longer current (superseded by run 77)" in said[turn], tool
    assert house.rows("SELECT * FROM task_comments") == []
    assert house.task(task)["status"] == "running"


def test_a_worker_of_the_host_that_is_told_to_end_gives_its_task_back(live_house: LiveHouse) -> None:
    house = live_house
    task = house.create("x", "SLOW_FIRST=600")
    dispatch_by_host(house, task)
    os.kill(house.parked(task), signal.SIGHUP)
    house.settle(task, "ready")
    run = run_of(house, task)
    assert (run["outcome"], run["error"]) == ("reclaimed", "interrupted by SIGHUP")
    assert house.task(task)["consecutive_failures"] == 0
    house.wait_until(lambda: not house.workers(task), "the worker to end")
    house.hermes("kanban", "dispatch")
    assert house.settle(task) == "done"
    assert not {"crashed", "protocol_violation"} & set(house.kinds(task))


# --- workers of ours -----------------------------------------------------------------------------------------------


def test_what_a_worker_starts_may_not_speak_for_it(live_house: LiveHouse) -> None:
    """A nested chat with another model, and our command: both inherit everything that the worker has."""
    house = live_house
    script = house.folder / "nested.sh"
    script.write_text(
        f'[ -z "$NESTED" ] || exit 0\nexport NESTED=1\n'
        f"{sys.executable} -m hermes_kanban_plugin.cli.main complete $HERMES_KANBAN_TASK\n"
        f'{sys.executable} -m hermes_cli.main -p nested chat -q "finish task $HERMES_KANBAN_TASK"\n'
    )
    with ModelServer() as other:
        config = house.add_profile("nested") / "config.yaml"
        document = json.loads(config.read_text())
        document["model"]["base_url"] = other.url
        config.write_text(json.dumps(document))
        task = house.create("x", "waits")
        house.write("UPDATE tasks SET body = ? WHERE id = ?", f"{comment_on(task)} TERM=sh+{script}", task)
        house.start_dispatcher()
        assert house.settle(task) == "done", house.describe()
        nested = [entry for entry in other.requests(task) if entry["works"]]
    assert [entry["said"] for entry in nested] == [
        "kanban_show", "kanban_heartbeat", "kanban_comment", "terminal", "kanban_complete", None
    ]  # fmt: skip
    for turn in (2, 3, 5):
        assert "is not its worker" in nested[turn]["result"], nested[turn]
        assert "ownership: tree" in nested[turn]["result"]
    mine = [entry["result"] for entry in house.server.requests(task) if entry["works"]]
    assert '"ok": true' in mine[2], "the worker's own heartbeat"
    assert "is not its worker" in mine[4], "what our command said in the worker's terminal"
    assert "call the kanban tool in the worker itself" in mine[4]
    assert outcomes_of(house, task) == ["completed"]
    assert len(house.rows("SELECT * FROM task_comments")) == 1
    assert violations(house.database) == []


def test_a_long_silent_tool_call_keeps_its_run_and_a_wedged_worker_is_stopped(live_house: LiveHouse) -> None:
    house = live_house
    house.configure(lease_seconds=6, terminate_grace_seconds=3)
    silent = house.create("silent", "TERM=sleep+14")
    house.start_dispatcher()
    assert house.settle(silent) == "done"
    assert outcomes_of(house, silent) == ["completed"]
    assert house.server.attempts(silent) == 1
    house.configure(heartbeat_limit_seconds=4)
    wedged = house.create("wedged", "SLOW_FIRST=600")
    pid = house.parked(wedged)
    assert ended(house, wedged)["outcome"] == "stale"
    house.configure(heartbeat_limit_seconds=3600)
    assert house.settle(wedged) == "done"
    assert pid not in house.workers(wedged)
    # The second attempt may have been started under the short limit too.
    outcomes = outcomes_of(house, wedged)
    assert (set(outcomes[:-1]), outcomes[-1]) == ({"stale"}, "completed")
    assert house.task(wedged)["consecutive_failures"] == 0
    assert violations(house.database) == []


def test_a_worker_that_is_told_to_end_is_no_failure(live_house: LiveHouse) -> None:
    house = live_house
    task = house.create("x", "SLOW_FIRST=600")
    house.start_dispatcher()
    os.kill(house.parked(task), signal.SIGTERM)
    first = ended(house, task)
    assert (first["outcome"], first["error"]) == ("reclaimed", "interrupted by SIGTERM")
    assert house.settle(task) == "done"
    assert outcomes_of(house, task) == ["reclaimed", "completed"]
    assert not {"crashed", "protocol_violation"} & set(house.kinds(task))


def test_a_worker_that_is_told_to_end_while_the_board_is_busy_is_no_failure(live_house: LiveHouse) -> None:
    """The host's handler ends it with status 0, which says nothing of the signal; so it may not come to that."""
    house = live_house
    task = house.create("x", "SLOW_FIRST=600")
    house.start_dispatcher()
    pid = house.parked(task)
    with closing(sqlite3.connect(house.database, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        os.kill(pid, signal.SIGTERM)
        house.wait_until(lambda: has_ended(pid), "its end")
        other.execute("ROLLBACK")
    first = ended(house, task)
    assert (first["outcome"], first["error"]) == ("reclaimed", "interrupted by SIGTERM")
    assert house.settle(task) == "done"
    assert not {"crashed", "protocol_violation"} & set(house.kinds(task))


def test_a_used_up_budget_counts_once_and_a_refusing_provider_not_at_all(live_house: LiveHouse) -> None:
    house = live_house
    set_agent(house, max_turns=5, api_max_retries=1)
    endless, refused = (
        house.create("endless", "ENDLESS=1", "worker", "--max-retries", "1"),
        house.create("x", "RATE=999"),
    )
    house.start_dispatcher()
    assert house.settle(endless, "blocked") == "blocked"
    assert outcomes_of(house, endless) == ["timed_out"]
    assert house.task(endless)["consecutive_failures"] == 1
    (spent,) = [event["payload"] for event in house.events(endless) if event["kind"] == "timed_out"]
    assert spent["budget_used"] == spent["budget_max"] == 5
    first = ended(house, refused)
    assert first["outcome"] == "rate_limited"
    assert "429" in first["error"]
    known = run_of(house, refused)
    assert known["ended_at"] is not None
    assert 990 <= known["retry_at"] - first["ended_at"] <= 1000
    assert (house.task(refused)["status"], house.task(refused)["consecutive_failures"]) == ("ready", 0)
    assert outcomes_of(house, refused) == ["rate_limited"], "it is not started before the provider serves"
    assert violations(house.database) == []
