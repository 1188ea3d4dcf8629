"""kanban_heartbeat: lease and sign of life in one transaction, a loud answer to a run that is not current any more."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING

import pytest

from hermes_kanban_plugin.store import statements

if TYPE_CHECKING:
    from tests.tools.conftest import Seat

LEASE_SECONDS = 120  # the default setting


def test_beat_extends_lease_and_sign_of_life_of_task_and_run(seat: Seat) -> None:
    lease = seat.work()
    seat.clock.advance(50)
    assert seat.call("kanban_heartbeat") == {"ok": True, "task_id": lease.task_id}
    task, (run,) = seat.board.task(lease.task_id), seat.board.runs(lease.task_id)
    now = seat.clock.now()
    assert (task.claim_expires, task.last_heartbeat_at) == (now + LEASE_SECONDS, now)
    assert (run.claim_expires, run.last_heartbeat_at) == (now + LEASE_SECONDS, now)


def test_beat_is_one_transaction(seat: Seat, monkeypatch: pytest.MonkeyPatch) -> None:
    seat.work()
    before = seat.dump()
    monkeypatch.setattr(statements, "RENEW_RUN", "UPDATE nowhere SET beat = 1")
    assert "nowhere" in seat.call("kanban_heartbeat")["error"]
    assert seat.dump() == before, "the task's lease was extended without the run's"


def test_beat_takes_the_lease_from_the_settings(seat: Seat, monkeypatch: pytest.MonkeyPatch) -> None:
    lease = seat.work()
    monkeypatch.setenv("HERMES_KANBAN_PLUGIN_LEASE_SECONDS", "600")
    seat.call("kanban_heartbeat")
    assert seat.board.task(lease.task_id).claim_expires == seat.clock.now() + 600


def test_broken_settings_cost_no_heartbeat(seat: Seat) -> None:
    lease = seat.work()
    (seat.board.location.root / "config.yaml").write_text("kanban: [unclosed")
    seat.clock.advance(50)
    assert seat.call("kanban_heartbeat")["ok"] is True
    assert seat.board.task(lease.task_id).claim_expires == seat.clock.now() + LEASE_SECONDS


def test_first_beat_and_every_note_are_events_and_others_are_not(seat: Seat) -> None:
    lease = seat.work()
    for note in (None, None, "half done", "  ", None):
        seat.clock.advance(1)
        assert seat.call("kanban_heartbeat", note=note)["ok"] is True
    beats = [payload for kind, payload in seat.events(lease.task_id) if kind == "heartbeat"]
    assert beats == [None, {"note": "half done"}]


def test_superseded_worker_is_told_so_and_extends_nothing(seat: Seat) -> None:
    old = seat.work()
    seat.board.reclaim(seat.board.task(old.task_id), "too slow", "ann")
    new = seat.claim(old.task_id)
    before = seat.dump()
    answer = seat.call("kanban_heartbeat", note="still here")
    assert f"superseded by run {new.run_id}" in answer["error"]
    assert "Stop working" in answer["error"]
    assert seat.dump() == before


def test_finished_run_cannot_beat(seat: Seat) -> None:
    seat.work()
    seat.call("kanban_complete", summary="done")
    assert "the task is done" in seat.call("kanban_heartbeat")["error"]


def test_terminal_that_claimed_a_task_beats_for_its_run(seat: Seat) -> None:
    lease = seat.claim(seat.create())
    seat.clock.advance(50)
    assert seat.call("kanban_heartbeat", task_id=lease.task_id)["ok"] is True
    assert seat.board.task(lease.task_id).claim_expires == seat.clock.now() + LEASE_SECONDS


def test_beat_waits_for_another_writer_and_then_says_that_nothing_was_changed(
    seat: Seat, monkeypatch: pytest.MonkeyPatch
) -> None:
    seat.work()
    before = seat.dump()
    monkeypatch.setenv("HERMES_KANBAN_BUSY_TIMEOUT_MS", "20")
    other = sqlite3.connect(seat.board.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    try:
        answer = seat.call("kanban_heartbeat")
    finally:
        other.close()
    assert "locked by another process" in answer["error"]
    assert seat.dump() == before
    assert seat.call("kanban_heartbeat")["ok"] is True
