"""A worker that lives and says nothing any more: the pure rule, and a real worker that is stopped for it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from hermes_kanban_plugin.supervisor.order import Order
from hermes_kanban_plugin.supervisor.staleness import HOST_SILENCE_SECONDS, Limits, Pulse, is_stale
from tests.conftest import lives, wait_for

ROOT = Path(__file__).parents[2]
BEATEN = Pulse(1_000, seen_at=100.0)
NEVER = Pulse(None, seen_at=0.0)


@pytest.mark.parametrize(
    ("pulse", "limits", "now", "expected"),
    [
        (BEATEN, Limits(3600, 0), 100.0 + 3599, False),
        (BEATEN, Limits(3600, 0), 100.0 + 3600, True),
        (BEATEN, Limits(0, 0), 1e9, False),  # switched off
        (NEVER, Limits(3600, 0), 1e9, False),  # who never beat is left alone by our limit
        (NEVER, Limits(0, 14_400), 14_399.0, False),
        (NEVER, Limits(0, 14_400), 14_400.0, True),  # but not by the host's
        (BEATEN, Limits(0, 600), 600.0, False),  # old, and heard of within the hour
        (BEATEN, Limits(0, 600), 100.0 + HOST_SILENCE_SECONDS, True),
    ],
)
def test_the_rule(pulse: Pulse, limits: Limits, now: float, expected: bool) -> None:
    assert is_stale(pulse, limits, 0.0, now) is expected


def test_only_what_changes_is_a_sign_of_life() -> None:
    pulse = NEVER.look(None, 50.0)
    assert pulse == NEVER
    pulse = pulse.look(1_000, 60.0).look(1_000, 70.0)
    assert (pulse.seen_at, pulse.silence(70.0)) == (60.0, 10.0)
    assert pulse.look(900, 80.0).silence(80.0) == 0.0, "a clock that was set back is no silence"


def test_an_order_of_an_older_dispatcher_knows_no_limits() -> None:
    assert (Order._field_defaults["heartbeat_limit"], Order._field_defaults["stale_timeout"]) == (0, 0)


BEAT = f'{sys.executable} -P -m hermes_kanban_plugin.cli.main heartbeat "$HERMES_KANBAN_TASK"'


def test_a_wedged_worker_is_stopped_although_it_lives(workshop, monkeypatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("HERMES_KANBAN_PLUGIN_HEARTBEAT_LIMIT_SECONDS", "2")
    workshop.configure({"lane": f"{BEAT}; sleep 600"})
    task_id = workshop.board.create_task(title="work", assignee="lane")
    workshop.tick()
    held = workshop.run(task_id)
    run = workshop.ended(held.run_id)
    assert (run.status, run.outcome, run.cause) == ("stale", "stale", "heartbeat_stale")
    assert run.error.startswith("stopped: no sign of life for ")
    task = workshop.board.task(task_id)
    assert (task.status, task.consecutive_failures) == ("ready", 0)
    event = next(event for event in workshop.board.events(task_id) if event.kind == "stale")
    assert event.payload["heartbeat_age_seconds"] >= 2
    assert event.payload["timeout_seconds"] == 2
    assert not lives(held.worker_pid)


def test_why_it_is_stopped_is_on_the_board_before_the_signal(workshop, home) -> None:
    asks = "SELECT stop_cause FROM kp_runs"
    told = f"import sqlite3; print(sqlite3.connect('{home / 'kanban.db'}').execute('{asks}').fetchone()[0])"
    line = f"trap '{sys.executable} -c \"$ASK\" > ../cause; exit 0' TERM; sleep 600 & wait"
    workshop.configure({"lane": f'ASK="{told}"\n{line}'})
    task_id = workshop.board.create_task(title="work", assignee="lane", max_runtime_seconds=1)
    workshop.tick()
    run = workshop.ended(workshop.run(task_id).run_id)
    assert run.outcome == "timed_out"
    cause = home / "kanban" / "workspaces" / "cause"
    wait_for(cause.exists, "the worker to have asked")
    assert cause.read_text() == "overdue\n"
