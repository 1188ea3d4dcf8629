"""What the dispatcher does for the board's upkeep while it serves: the endpoint, and the daily clean-up."""

from __future__ import annotations

import signal
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from urllib.error import URLError

import pytest

from hermes_kanban_plugin.store import flags
from hermes_kanban_plugin.store.outcomes import Handoff
from tests.conftest import Workshop, wait_for
from tests.maintenance.test_metrics import scrape

DAY = 86_400


@pytest.fixture
def serve(workshop: Workshop, tmp_path: Path) -> Iterator[Callable[[], Path]]:
    """Start a dispatcher; returns the file that its log goes to."""
    started: list[subprocess.Popen[bytes]] = []

    def start() -> Path:
        log = tmp_path / "dispatcher.log"
        with log.open("wb") as stream:
            argv = [sys.executable, "-m", "hermes_kanban_plugin.cli.main", "dispatcher"]
            started.append(subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=stream))
        return log

    yield start
    for process in started:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=30)


@pytest.fixture
def port() -> int:
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def figures(port: int) -> dict[tuple[str, ...], float] | None:
    try:
        return scrape(port)
    except (URLError, OSError):
        return None


def test_the_dispatcher_answers_where_the_setting_says_and_counts_what_it_tells(
    workshop: Workshop, serve: Callable[[], Path], port: int
) -> None:
    workshop.configure({"lane": "true"}, metrics_port=port)
    log = serve()
    found = wait_for(lambda: figures(port), "the endpoint to answer")
    assert found["unreadable", "default"] == 0
    task_id = workshop.board.create_task(title="x", assignee="lane")
    wait_for(lambda: workshop.board.task(task_id).status == "done", "the task to be done")
    wait_for(
        lambda: (figures(port) or {}).get(("events_total", "default", "completed")) == 1, "the completion to be counted"
    )

    found = scrape(port)
    assert found["events_total", "default", "claimed"] == 1
    assert found["ticks_total", "default"] >= 2
    assert found["tasks", "default", "done"] == 1
    workshop.configure({"lane": "true"})
    wait_for(lambda: figures(port) is None, "the endpoint to be closed")
    text = log.read_text()
    assert f"action=metrics address=http://127.0.0.1:{port}/metrics" in text
    assert f"action=started board=default task={task_id} run=1 assignee=lane lane=command" in text
    assert "action=start board=default running=0 rescued=0 repaired=0" in text


def test_the_dispatcher_cleans_up_once_a_day_when_it_is_told_to(workshop: Workshop, serve: Callable[[], Path]) -> None:
    board = workshop.board
    task_id = board.create_task(title="old")
    board.complete(task_id, Handoff(summary="done"), "me")
    with closing(sqlite3.connect(workshop.database, isolation_level=None)) as other:
        other.execute("UPDATE task_events SET created_at = created_at - ?", (40 * DAY,))
        last = other.execute("SELECT max(id) FROM task_events").fetchone()[0]
        other.execute("INSERT INTO kp_cursors (name, event_id) VALUES ('kanban_task_event', ?)", (last,))
    workshop.configure({}, keep_days=30)

    log = serve()
    wait_for(lambda: not board.events(task_id), "the old history to go")

    wait_for(lambda: "action=clean board=default removed=2" in log.read_text(), "the deed to be logged")
    flag = flags.find(board.reader, "cleaned")
    assert flag is not None
    assert flag.value == "30"
    assert log.read_text().count("action=clean ") == 1
    assert board.task(task_id).status == "done"


def test_without_the_setting_nothing_is_forgotten(workshop: Workshop, serve: Callable[[], Path]) -> None:
    board = workshop.board
    task_id = board.create_task(title="old")
    board.complete(task_id, Handoff(summary="done"), "me")
    with closing(sqlite3.connect(workshop.database, isolation_level=None)) as other:
        other.execute("UPDATE task_events SET created_at = created_at - ?", (4000 * DAY,))
    log = serve()
    wait_for(lambda: "action=start" in log.read_text(), "the dispatcher to serve")
    runs = board.create_task(title="another", assignee="nobody")
    wait_for(lambda: board.data_version() and board.task(runs), "the board to be ticked")

    assert len(board.events(task_id)) == 2
    assert flags.find(board.reader, "cleaned") is None
