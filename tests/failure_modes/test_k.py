"""Group K: what can be known afterwards."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from hermes_kanban_plugin import identity
from hermes_kanban_plugin.cli.main import main
from hermes_kanban_plugin.dispatch.health import Health
from hermes_kanban_plugin.dispatch.standing import SILENT_SECONDS
from hermes_kanban_plugin.maintenance import statistics
from hermes_kanban_plugin.store import dispatchers
from tests.conftest import wait_for

HOUR, DAY = 3600, 86_400


class Home:
    """A kanban home that is probed from outside."""

    def __init__(self, workshop) -> None:
        self.workshop = workshop
        self.dispatcher: subprocess.Popen[bytes] | None = None

    def serve(self, *words: str) -> None:
        argv = [sys.executable, "-m", "hermes_kanban_plugin.cli.main", *words, "dispatcher"]
        self.dispatcher = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_for(lambda: "serving" in self.probe()[1], "the dispatcher to serve")

    def probe(self, *words: str) -> tuple[int, str]:
        argv = [sys.executable, "-m", "hermes_kanban_plugin.cli.main", "status", "--probe", *words]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
        assert done.stderr == ""
        assert done.stdout.count("\n") == 1 or words
        return done.returncode, done.stdout

    def close(self) -> None:
        if self.dispatcher is not None:
            self.dispatcher.send_signal(signal.SIGCONT)
            self.dispatcher.terminate()
            self.dispatcher.wait(timeout=30)


@pytest.fixture
def probed(workshop):
    made = Home(workshop)
    yield made
    made.close()


def test_K3_every_state_has_an_exit_status_of_its_own(probed, monkeypatch) -> None:
    workshop = probed.workshop
    workshop.configure({"lane": "sleep 600"}, kanban={"max_in_progress": 1})
    seen = {"not served": probed.probe()[0]}
    probed.serve()
    seen["healthy"] = probed.probe()[0]
    main(["pause", "--reason", "deploy"])
    seen["paused"], text = probed.probe()
    assert "default" in text
    main(["resume"])
    first, _ = (workshop.board.create_task(title=title, assignee="lane") for title in ("first", "second"))
    wait_for(lambda: "running" in {task.status for task in workshop.board.tasks()}, "one to run")
    seen["capped"], text = probed.probe()
    assert "1 of 1 running, 1 waiting" in text
    assert probed.dispatcher is not None
    probed.dispatcher.send_signal(signal.SIGSTOP)
    monkeypatch.setattr("hermes_kanban_plugin.dispatch.standing.SILENT_SECONDS", -1)
    seen["frozen"] = main(["status", "--probe"])
    assert seen == {"not served": 6, "healthy": 0, "paused": 3, "capped": 4, "frozen": 5}
    probed.dispatcher.send_signal(signal.SIGCONT)
    main(["pause"])
    for task in workshop.board.tasks(status="running"):
        main(["stop", task.id])
    wait_for(lambda: not workshop.board.tasks(status="running"), "nothing to run")
    assert first


def test_K3_a_board_that_the_dispatcher_leaves_out_or_cannot_read_is_told(probed, home) -> None:
    main(["--board", "two", "init"])
    main(["--board", "three", "init"])
    probed.serve("--board", "two")
    assert main(["--board", "two", "status"]) == 0
    assert probed.probe("--board", "three")[0] == Health.NOT_SERVED.exit_status
    status, text = probed.probe()
    assert (status, "not served: default, three" in text) == (Health.NOT_SERVED.exit_status, True)
    assert main(["--board", "three", "status"]) == 1
    assert main(["status"]) == 1
    (home / "kanban" / "boards" / "two" / "kanban.db").write_bytes(b"no board" * 1000)
    status, text = probed.probe()
    assert (status, "unreadable: two" in text) == (Health.UNREADABLE.exit_status, True)


def test_K3_a_gateway_that_may_not_dispatch_has_a_status_of_its_own(workshop, monkeypatch) -> None:
    workshop.configure({"lane": "true"}, kanban={"dispatch_in_gateway": False})
    assert main(["status", "--probe"]) == Health.DISABLED.exit_status
    workshop.configure({"lane": "true"}, kanban={"dispatch_in_gateway": True})
    assert main(["status", "--probe"]) == Health.NOT_SERVED.exit_status
    monkeypatch.setenv("HERMES_KANBAN_DISPATCH_IN_GATEWAY", "off")
    assert main(["status", "--probe"]) == Health.DISABLED.exit_status


def test_K3_another_dispatcher_is_told_apart(stage, monkeypatch) -> None:
    monkeypatch.setattr("hermes_kanban_plugin.locks.holder", lambda path: os.getppid())
    stage.create()

    assert main(["status", "--probe"]) == Health.HERMES.exit_status


def test_K3_a_dispatcher_that_did_not_tick_is_silent_by_its_record(stage, capsys) -> None:
    me = identity.capture(os.getpid())
    now = int(time.time())
    dispatchers.begin(stage.board.writer, me, now - SILENT_SECONDS - 1)

    assert main(["status", "--probe", "--json"]) == Health.SILENT.exit_status
    assert json.loads(capsys.readouterr().out)["health"] == "silent"


def test_K3_the_probe_works_with_everything_down(home: Path, capsys) -> None:
    assert main(["status", "--probe"]) == Health.NOT_SERVED.exit_status
    (home / "kanban.db").write_bytes(b"no board")
    assert main(["status", "--probe"]) == Health.NOT_SERVED.exit_status
    assert len({health.exit_status for health in Health}) == len(Health)
    assert not {health.exit_status for health in Health} & {1, 2}


def test_K4_head_and_tail_of_every_run_outlive_the_log(workshop) -> None:
    flood = "echo begin of $HERMES_KANBAN_RUN_ID; seq 1 20000; echo end of $HERMES_KANBAN_RUN_ID; exit 3"
    small = {"worker_log_rotate_bytes": 1000, "worker_log_backup_count": 0, "failure_limit": 3}
    workshop.configure({"lane": flood}, small, retry_base_seconds=1, retry_cap_seconds=1)
    task_id = workshop.board.create_task(title="x", assignee="lane")
    workshop.settle(task_id, "blocked")

    runs = workshop.board.runs(task_id)
    log = workshop.board.location.logs / f"{task_id}.log"
    assert len(runs) == 3
    assert log.read_text().count("begin of") == 1
    for run in runs:
        assert run.first_output is not None
        assert run.first_output.startswith(f"begin of {run.id}\n1\n2\n")
        assert run.last_output is not None
        assert run.last_output.endswith(f"\n20000\nend of {run.id}")
        for kept in (run.first_output, run.last_output):
            assert len(kept.splitlines()) <= 20
            assert len(kept.encode()) <= 8192


def test_K4_a_short_output_is_kept_once(workshop) -> None:
    workshop.configure({"lane": "echo all of it"})
    task_id = workshop.board.create_task(title="x", assignee="lane")
    workshop.settle(task_id, "done")

    (run,) = workshop.board.runs(task_id)
    ended = workshop.ended(run.id)
    assert (ended.first_output, ended.last_output) == (None, "all of it")


def test_K8_the_report_matches_a_count_by_hand(stage) -> None:
    ids = [stage.create(title=f"task {number}") for number in range(4)]
    stage.tick()
    stage.clock.advance(600)
    stage.complete(ids[0])
    stage.fail(ids[1])
    stage.release(ids[2])
    stage.block(ids[3], "which one?", "needs_input")
    first, second = ids[1], ids[2]
    assert set(stage.started(60)) == {first, second}
    stage.clock.advance(900)
    stage.complete(first)
    stage.complete(second)
    waiting = stage.create(title="waits", triage=True)
    stage.clock.advance(HOUR)

    found = statistics.gather(stage.board)

    events = stage.board.events(limit=10_000)
    day = found.windows[0]
    assert day.created == sum(event.kind == "created" for event in events) == 5
    assert day.completed == sum(event.kind == "completed" for event in events) == 3
    assert day.started == sum(event.kind == "claimed" for event in events) == 6
    assert day.failures == {"crashed": 1}
    assert day.setbacks == {"interrupted": 1}
    assert (day.cycle.count, day.cycle.median, day.cycle.longest) == (3, 1560, 1560)
    assert day.cycle.p90 == 1560
    columns = {column.name: (column.cards, column.oldest_task) for column in found.columns}
    assert columns == {"triage": (1, waiting), "blocked": (1, ids[3])}
    assert day.card_seconds == {
        "triage": HOUR, "ready": 2 * 60, "running": 4 * 600 + 2 * 900, "blocked": 960 + HOUR,
    }  # fmt: skip
