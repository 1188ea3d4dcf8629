"""W1: the host drops its locks on the board, and whoever closes next deletes the log that it still writes to.

Every test plays the same scene. A host process has written once (its locks are gone) and keeps its connection. Then
somebody takes the *place*: opens the board, does something and goes. After that the first host and a newcomer each
write a row that the host acknowledges. Whether all of them are in the file depends on who stood in the place.
"""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from typing import TYPE_CHECKING, Any

import psutil
import pytest

if TYPE_CHECKING:
    from tests.host.conftest import Actor, House

PLAIN = """
import sqlite3
plain = sqlite3.connect({path!r}, isolation_level=None)
plain.execute("INSERT INTO tasks (id, title, status, created_at) VALUES ('t_00000001', 'place', 'ready', 1)")
plain.close()
"""
TOOL_WORKER = """
import json
from hermes_kanban_plugin import toolkit
from hermes_kanban_plugin.manager import Manager
tools = toolkit.tools_of(Manager())
def use(name, **arguments):
    return json.loads(toolkit.call(tools[name], Manager(), arguments))
"""
pytestmark = pytest.mark.host
Place = Callable[["House"], set[str]]


class Scene:
    """The scene up to the place, and after it."""

    def __init__(self, house: House) -> None:
        self.house = house
        self.acknowledged: set[str] = set()
        self.first = house.host()
        self.write(self.first, "before")
        self.log = os.stat(f"{house.database}-wal").st_ino

    def write(self, process: Actor, title: str) -> None:
        process.ask(f"kb.create_task(conn, title={title!r})")
        self.acknowledged.add(title)

    def log_is_the_same(self) -> bool:
        try:
            return os.stat(f"{self.house.database}-wal").st_ino == self.log
        except FileNotFoundError:
            return False

    def play_on(self) -> set[str]:
        """Let the first host and a newcomer write, then everybody go; returns the acknowledged rows that are lost."""
        self.write(self.first, "after")
        newcomer = self.house.host()
        self.write(newcomer, "newcomer")
        newcomer.ask("conn.close()")
        self.first.ask("conn.close()")
        return self.acknowledged - self.house.titles()


# --- who may stand in the place: each does its work and is gone when the function returns -----------------------------


def host_process(house: House) -> set[str]:
    with house.host() as second:
        second.ask("kb.create_task(conn, title='place')")
        second.ask("conn.close()")
    return {"place"}


def plain_connection(house: House) -> set[str]:
    with house.ours() as second:
        second.ask(PLAIN.format(path=str(house.database)))
    return {"place"}


def our_board(house: House) -> set[str]:
    with house.ours() as second:
        second.ask("board = open_board(); board.create_task(title='place')")
        second.ask("board.close()")
    return {"place"}


def our_board_forgotten(house: House) -> set[str]:
    """Nobody calls close(): Python throws the connections away while the process goes on."""
    with house.ours() as second:
        second.ask("board = open_board(); board.create_task(title='place')")
        second.ask("del board")
    return {"place"}


def our_board_left_open(house: House) -> set[str]:
    """Nobody calls close(): the process ends and Python throws the connections away on its way out."""
    with house.ours() as second:
        second.ask("board = open_board(); board.create_task(title='place')")
    return {"place"}


def our_reader(house: House) -> set[str]:
    with house.ours() as second:
        assert second.ask("[task.title for task in open_board().tasks()]") == ["before"]
    return set()


def our_tools(house: House) -> set[str]:
    """The three agent tools in a worker, which is a host process with a connection of the host in it."""
    with closing(sqlite3.connect(f"file:{house.database}?mode=ro", uri=True)) as hold:
        hold.execute("SELECT count(*) FROM tasks").fetchone()  # or the host's own connect() would already do the harm
        worker = house.host()
    with worker:
        for tool, fields in {
            "kanban_heartbeat": {"note": "alive"},
            "kanban_block": {"reason": "why?"},
            "kanban_complete": {"summary": "made"},
        }.items():
            task_id, run_id, lock = worker.ask(
                f"(lambda task: [task.id, task.current_run_id, task.claim_lock])"
                f"(kb.claim_task(conn, kb.create_task(conn, title={tool!r}), claimer='here:1'))"
            )
            pinned = {
                "HERMES_KANBAN_TASK": task_id,
                "HERMES_KANBAN_RUN_ID": str(run_id),
                "HERMES_KANBAN_CLAIM_LOCK": lock,
            }
            worker.ask(f"import os; os.environ.update({pinned!r})")
            worker.ask(TOOL_WORKER)
            assert worker.ask(f"use({tool!r}, **{fields!r})")["ok"] is True
        # Gone without closing the host's own connection: that would be the host's harm, not ours.
        worker.kill()
    return {"kanban_heartbeat", "kanban_block", "kanban_complete"}


def our_commands(house: House) -> set[str]:
    task_id = json.loads(house.hermes_kanban("create", "place", "--json"))["id"]
    house.hermes_kanban("list")
    house.hermes_kanban("claim", task_id)
    house.hermes_kanban("heartbeat", task_id)
    house.hermes_kanban("complete", task_id, "--summary", "done")
    return {"place"}


def our_tick(house: House) -> set[str]:
    house.hermes_kanban("dispatch")
    return set()


def our_tick_and_supervisor(house: House) -> set[str]:
    """A tick that starts a worker; the supervisor outlives it, records the end and goes last."""
    house.configure(shell=["true"])
    task_id = json.loads(house.hermes_kanban("create", "place", "--assignee", "shell", "--json"))["id"]
    house.hermes_kanban("dispatch")
    query = f"SELECT supervisor_pid, ended_at FROM kp_runs WHERE task_id = '{task_id}' AND ended_at IS NOT NULL"
    house.wait_until(lambda: bool(house.rows(query)), "the worker's end is recorded")
    house.wait_until(lambda: not psutil.pid_exists(house.rows(query)[0]["supervisor_pid"]), "the supervisor is gone")
    assert house.rows("SELECT status FROM tasks WHERE title = 'place'") == [{"status": "done"}]
    return {"place"}


def our_dispatcher(house: House) -> set[str]:
    """The dispatcher's loop, stopped as a service manager stops it."""
    process = start_dispatcher(house)
    process.terminate()
    assert process.wait(60) == 0
    return set()


def start_dispatcher(house: House) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "hermes_kanban_plugin.cli.main", "dispatcher"]
    process = house.start(command)
    house.wait_until(lambda: house.guarded_by(process.pid), "the dispatcher holds the board")
    # Its first tick has written: only then is there a writer connection that could do harm.
    cursor = "SELECT 1 FROM sqlite_master WHERE name = 'kp_cursors'"
    house.wait_until(lambda: bool(house.rows(cursor)), "the dispatcher has ticked")
    return process


# --- what happens ----------------------------------------------------------------------------------------------------

WITHOUT_DEFENCE = pytest.mark.skipif(
    sqlite3.sqlite_version_info >= (3, 51), reason="SQLite itself resists dropped locks from 3.51.0 on"
)


@WITHOUT_DEFENCE
@pytest.mark.parametrize("place", [host_process, plain_connection])
def test_a_host_without_guard_loses_what_it_acknowledged(house: House, place: Place) -> None:
    """The host's own processes are enough; and the place is dangerous for every ordinary connection."""
    scene = Scene(house)
    scene.acknowledged |= place(house)
    assert not scene.log_is_the_same()
    scene.write(scene.first, "unseen")
    assert "unseen" not in house.titles(), "told ok, and nobody else can see it"
    assert "newcomer" in scene.play_on(), "told ok, seen by everybody, and gone"


@pytest.mark.parametrize(
    "place",
    [
        our_board,
        our_board_forgotten,
        our_board_left_open,
        our_reader,
        our_tools,
        our_commands,
        our_tick,
        our_tick_and_supervisor,
        our_dispatcher,
    ],
)
def test_ours_in_the_same_place_loses_nothing(house: House, place: Place) -> None:
    scene = Scene(house)
    scene.acknowledged |= place(house)
    assert scene.log_is_the_same()
    scene.write(scene.first, "unseen")
    assert "unseen" in house.titles()
    assert scene.play_on() == set()
    assert house.integrity() == "ok"


@pytest.mark.parametrize("guard", ["board", "dispatcher", "supervisor"])
def test_a_guard_protects_unchanged_hosts(house: House, guard: str) -> None:
    """The dangerous place is taken by the host, as in the first test; but one of our processes holds the board."""
    scene = Scene(house)
    release = GUARDS[guard](house)
    scene.acknowledged |= host_process(house)
    assert scene.log_is_the_same()
    assert scene.play_on() == set()
    assert scene.log_is_the_same()
    release()
    assert house.titles() >= scene.acknowledged
    assert house.integrity() == "ok"


def guard_by_board(house: House) -> Callable[[], None]:
    ours = house.ours()
    ours.ask("board = open_board()")
    return ours.leave


def guard_by_dispatcher(house: House) -> Callable[[], None]:
    process = start_dispatcher(house)

    def release() -> None:
        process.terminate()
        assert process.wait(60) == 0

    return release


def guard_by_supervisor(house: House) -> Callable[[], None]:
    """The dispatching process is gone; the supervisor of a long worker is all that is left of us."""
    house.configure(sleeper=["sleep", "600"])
    task_id = json.loads(house.hermes_kanban("create", "long", "--assignee", "sleeper", "--json"))["id"]
    house.hermes_kanban("dispatch")
    query = f"SELECT supervisor_pid FROM kp_runs WHERE task_id = '{task_id}' AND accepted_at IS NOT NULL"
    house.wait_until(lambda: bool(house.rows(query)), "the worker runs")
    (pid,) = [row["supervisor_pid"] for row in house.rows(query)]
    supervisor = psutil.Process(pid)
    house.stack.callback(stop, supervisor)
    assert house.guarded_by(pid)

    def release() -> None:
        stop(supervisor)
        house.wait_until(lambda: not psutil.pid_exists(pid), "the supervisor is gone")

    return release


def stop(supervisor: psutil.Process) -> None:
    if supervisor.is_running():
        supervisor.terminate()


GUARDS: dict[str, Any] = {"board": guard_by_board, "dispatcher": guard_by_dispatcher, "supervisor": guard_by_supervisor}
