"""The real gateway with our dispatcher beside it: it serves, is watched, hands over, and ends in order."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from hermes_kanban_plugin import locations
from hermes_kanban_plugin.locks import FileLock
from hermes_kanban_plugin.testing import violations

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.live.house import LiveHouse

pytestmark = [pytest.mark.host, pytest.mark.xdist_group("live-gateway"), pytest.mark.timeout(240)]

HERMES = [sys.executable, "-m", "hermes_cli.main"]
QUICK = {"command": ["true"]}
# A plugin of somebody else, which wants to know of each claim.
OBSERVER = """
import json, pathlib
def register(ctx):
    told = pathlib.Path(__file__).with_name("told")
    def note(**facts):
        with told.open("a") as lines:
            lines.write(json.dumps({name: facts[name] for name in ("task_id", "board", "assignee", "run_id")}) + "\\n")
    ctx.register_hook("kanban_task_claimed", note)
"""
# Makes the host one that we do not know: the same loop, with an argument more.
STRANGER = """
import importlib.util
def register(ctx):
    from gateway import kanban_watchers
    spec = importlib.util.spec_from_file_location("untouched", kanban_watchers.__file__)
    untouched = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(untouched)
    async def loop(self, more=None):
        await untouched.GatewayKanbanWatchersMixin._kanban_dispatcher_watcher(self)
    kanban_watchers.GatewayKanbanWatchersMixin._kanban_dispatcher_watcher = loop
"""


def dispatcher_of(gateway: subprocess.Popen[bytes]) -> int | None:
    """Return the pid of the dispatcher process that a gateway has, or None."""
    children = psutil.Process(gateway.pid).children()
    found = [child.pid for child in children if "--until-eof" in child.cmdline()]
    assert len(found) < 2
    return found[0] if found else None


def leader(house: LiveHouse) -> int | None:
    """Return the pid of the dispatcher that serves the board by its own word, or None."""
    try:
        rows = house.rows("SELECT pid, ended_at FROM kp_dispatchers ORDER BY term DESC LIMIT 1")
    except Exception:  # noqa: BLE001 - nobody of us has opened the board yet
        return None
    return rows[0]["pid"] if rows and rows[0]["ended_at"] is None else None


def lead(house: LiveHouse, gateway: subprocess.Popen[bytes]) -> int:
    """Wait until a gateway's dispatcher serves the board; returns its pid."""

    def look() -> int | None:
        pid = dispatcher_of(gateway)
        return pid if pid is not None and pid == leader(house) else None

    return house.wait_until(look, "the gateway's dispatcher to lead")


def is_free(house: LiveHouse) -> bool:
    lock = FileLock(locations.dispatcher_lock(house.home))
    free = lock.acquire()
    lock.release()
    return free


def create_for_nobody(house: LiveHouse, title: str, *flags: str) -> str:
    """Create a task without an assignee."""
    return str(json.loads(house.hermes("kanban", "create", title, "--json", *flags))["id"])


def add_plugin(house: LiveHouse, name: str, source: str) -> Path:
    """Install a plugin of somebody else in the root home; returns its folder."""
    folder = house.home / "plugins" / name
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text(source)
    (folder / "plugin.yaml").write_text(f"name: {name}\nversion: '1'\n")
    config = json.loads((house.home / "config.yaml").read_text())
    config["plugins"]["enabled"].append(name)
    (house.home / "config.yaml").write_text(json.dumps(config))
    return folder


def observe(house: LiveHouse) -> Callable[[], list[dict[str, Any]]]:
    """Install the observing plugin; returns what reads what it was told."""
    told = add_plugin(house, "observer", OBSERVER) / "told"
    return lambda: [json.loads(line) for line in told.read_text().splitlines()] if told.exists() else []


def test_it_serves_tells_the_chat_and_the_plugins_and_survives_the_death_of_its_dispatcher(
    new_house: Callable[..., LiveHouse],
) -> None:
    house = new_house(ours={"lanes": {"quick": QUICK}})
    house.open_chat()
    told = observe(house)
    task = house.create("say hello", "BEATS=1")
    house.hermes("kanban", "notify-subscribe", task, "--platform", "fakechat", "--chat-id", "c1")
    gateway = house.start_gateway()
    first = lead(house, gateway)
    assert house.settle(task) == "done"
    house.wait_until(lambda: [said for said in house.heard() if task in said], "the message about it")
    (run,) = house.runs(task)
    expected = {"task_id": task, "board": "default", "assignee": "worker", "run_id": run["id"]}
    house.wait_until(lambda: told() == [expected], "the plugin to be told of the claim")

    house.kill(first)
    began = time.monotonic()
    death = f"dispatcher pid {first} was killed by SIGKILL"
    house.wait_until(lambda: death in house.host_log("gateway"), "the death to be logged")
    print(f"death of the dispatcher in the log after {time.monotonic() - began:.2f} s")
    second = lead(house, gateway)
    print(f"a new dispatcher leads after {time.monotonic() - began:.2f} s")
    assert second != first
    house.configure(kanban={"default_assignee": "quick"})  # read while it runs
    late = create_for_nobody(house, "and again")
    house.hermes("kanban", "notify-subscribe", late, "--platform", "fakechat", "--chat-id", "c1")
    assert house.settle(late) == "done"
    house.wait_until(lambda: [said for said in house.heard() if late in said], "the message about the second one")
    assert "its dispatcher" not in house.host_log("errors")
    assert "kanban dispatcher: embedded in gateway" not in house.host_log()
    assert violations(house.database) == []


WAYS = ("SIGTERM", "SIGINT", "SIGKILL", "gateway stop", "gateway restart")


def test_every_end_frees_the_lock_and_the_next_gateway_adopts_the_work(new_house: Callable[..., LiveHouse]) -> None:
    """One worker lives through all of them, in one run; what became ready meanwhile waits for the next gateway."""
    house = new_house()
    go = house.folder / "go"
    waiting = ["sh", "-c", f"until test -e {go}; do sleep 0.05; done"]
    noting = ["sh", "-c", f"echo $HERMES_KANBAN_TASK >> {house.folder / 'worked'}"]
    house.configure(lanes={"quick": {"command": noting}, "patient": {"command": waiting}})
    held = house.create("held through all of it", "", "patient")
    gateway = house.start_gateway()
    worker = house.wait_until(lambda: house.task(held)["worker_pid"], "the worker to be accepted")
    between: list[str] = []
    for way in WAYS:
        dispatcher = lead(house, gateway)
        began = time.monotonic()
        successor = end_by(house, gateway, way)
        if successor is None:
            house.wait_until(lambda: is_free(house), "the lock to be free")
            print(f"{way}: lock free after {time.monotonic() - began:.2f} s")
            house.wait_until(lambda pid=dispatcher: not psutil.pid_exists(pid), "the dispatcher to be gone")
            gateway.wait(30)
            between.append(house.create(f"created after {way}", "", "quick"))
            assert house.task(between[-1])["status"] == "ready"
            gateway = house.start_gateway()
        else:
            house.wait_until(lambda pid=dispatcher: leader(house) not in (None, pid), "the next gateway to lead")
            print(f"{way}: the next gateway leads after {time.monotonic() - began:.2f} s")
            gateway = successor
        assert house.task(held)["worker_pid"] == worker
        assert psutil.pid_exists(worker)
    for task in between:
        assert house.settle(task) == "done"
    go.touch()
    assert house.settle(held) == "done"
    assert len(house.runs(held)) == 1
    # A claim that the end of a dispatcher caught before its launch is given back: a run more, but never a worker more.
    outcomes = {task: [run["outcome"] for run in house.runs(task)] for task in between}
    assert {tuple(set(found[:-1])) for found in outcomes.values()} <= {(), ("reclaimed",)}, outcomes
    assert sorted((house.folder / "worked").read_text().split()) == sorted(between)
    assert violations(house.database) == []


def end_by(house: LiveHouse, gateway: subprocess.Popen[bytes], way: str) -> subprocess.Popen[bytes] | None:
    """Begin the end of a gateway; returns the gateway that follows it by itself, if one does."""
    if way == "gateway restart":
        return house.start([*HERMES, "gateway", "restart"], "gateway")
    if way == "gateway stop":
        house.start([*HERMES, "gateway", "stop"], "stop")
    else:
        gateway.send_signal(signal.Signals[way])
    return None


def test_when_the_gateway_that_dispatches_is_killed_another_one_takes_over(
    new_house: Callable[..., LiveHouse],
) -> None:
    house = new_house(ours={"lanes": {"quick": QUICK}})
    house.add_profile("second")
    task = house.create("work on", "SLOW=10")
    owner = house.start_gateway()
    first = lead(house, owner)
    other = house.start_gateway("second")
    house.wait_until(lambda: dispatcher_of(other), "the second gateway to have a dispatcher")
    worker = house.parked(task)
    owner.kill()
    began = time.monotonic()
    second = lead(house, other)
    print(f"the other gateway leads after {time.monotonic() - began:.2f} s")
    assert second != first
    late = [house.create(str(number), "", "quick") for number in range(3)]
    for one in late:
        assert house.settle(one) == "done"
    assert house.worker_pid(task) in (worker, None)
    assert house.settle(task) == "done"
    assert [len(house.runs(one)) for one in (task, *late)] == [1, 1, 1, 1]
    assert house.server.attempts(task) == 1
    assert violations(house.database) == []


def test_the_operators_switches(new_house: Callable[..., LiveHouse]) -> None:
    house = new_house(kanban={"dispatch_in_gateway": False}, ours={"lanes": {"quick": QUICK}})
    gateway = house.start_gateway()
    house.wait_until(lambda: "no dispatcher: kanban.dispatch_in_gateway" in house.host_log("gateway"), "a word of it")
    assert dispatcher_of(gateway) is None
    house.end(gateway)
    house.configure(kanban={"dispatch_in_gateway": True}, take_over_dispatcher=False)
    gateway = house.start_gateway()
    house.wait_until(lambda: "kanban dispatcher: embedded in gateway" in house.host_log(), "the host to dispatch")
    assert "take_over_dispatcher is off: Hermes dispatches by itself" in house.host_log()
    assert dispatcher_of(gateway) is None
    assert leader(house) is None


def test_a_host_that_is_not_known_is_kept_from_leading(new_house: Callable[..., LiveHouse]) -> None:
    house = new_house(ours={"lanes": {"quick": QUICK}})
    add_plugin(house, "stranger", STRANGER)
    house.hermes("kanban", "init")
    gateway = house.start_gateway()
    dispatcher = lead(house, gateway)
    house.wait_until(lambda: "this gateway will NOT dispatch" in house.host_log(), "the host to stand down")
    assert "kept from leading by the lock" in house.host_log()
    task = house.create("done all the same", "", "quick")
    assert house.settle(task) == "done"
    house.end(gateway)
    house.wait_until(lambda: not psutil.pid_exists(dispatcher), "the dispatcher to end with it")
    assert is_free(house)


class Decomposer(HTTPServer):
    """A model that splits a card in two once it is let go."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), DecomposerRequests)
        self.asked, self.go = threading.Event(), threading.Event()


class DecomposerRequests(BaseHTTPRequestHandler):
    server: Decomposer

    def log_message(self, *_: object) -> None:
        """Write nothing to the terminal."""

    def do_GET(self) -> None:
        self._reply({"object": "list", "data": []})

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.server.asked.set()
        self.server.go.wait(60)
        tasks = [{"title": f"part {number}", "body": "", "assignee": None, "parents": []} for number in (1, 2)]
        message = {"role": "assistant", "content": json.dumps({"fanout": True, "rationale": "two", "tasks": tasks})}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
        self._reply({"id": "1", "object": "chat.completion", "created": 0, "model": "splitter", "choices": [choice],
                     "usage": usage})  # fmt: skip

    def _reply(self, answer: dict[str, Any]) -> None:
        content = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


@pytest.fixture
def decomposer() -> Iterator[Decomposer]:
    with Decomposer() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield server
        server.go.set()
        server.shutdown()
        thread.join()


def test_cards_are_decomposed_beside_the_dispatching(
    new_house: Callable[..., LiveHouse], decomposer: Decomposer
) -> None:
    house = new_house(kanban={"auto_decompose": True}, ours={"lanes": {"quick": QUICK}})
    config = json.loads((house.home / "config.yaml").read_text())
    url = f"http://127.0.0.1:{decomposer.server_address[1]}/v1"
    config["auxiliary"] = {"kanban_decomposer": {"provider": "custom", "base_url": url, "api_key": "x", "model": "x"}}
    (house.home / "config.yaml").write_text(json.dumps(config))
    card = create_for_nobody(house, "something big", "--triage")
    house.start_gateway()
    assert decomposer.asked.wait(60)
    quick = house.create("not held up", "", "quick")
    assert house.settle(quick) == "done"
    assert house.task(card)["status"] == "triage"
    decomposer.go.set()
    house.wait_until(lambda: "decomposed" in house.kinds(card), "the card to be decomposed")
    assert {row["title"] for row in house.rows("SELECT title FROM tasks")} == {
        "something big", "not held up", "part 1", "part 2"
    }  # fmt: skip
    assert f"task={card}" in house.host_log("gateway")
