"""A completion that is not accepted at once: failing checks, negative verdicts (failure modes D4, J4)."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from hermes_kanban_plugin.rules import negative_verdict
from hermes_kanban_plugin.store import completions

if TYPE_CHECKING:
    from tests.tools.conftest import Seat


def settings(home: Path, **checks: str) -> None:
    """Let cards ask for Python programs by name."""
    commands = {name: {"command": [sys.executable, "-c", code]} for name, code in checks.items()}
    document = {"plugins": {"entries": {"hermes-kanban": {"checks": commands}}}}
    (home / "config.yaml").write_text(json.dumps(document))


def work(seat: Seat, body: str, **files: str) -> str:
    """Become the worker of a task with a workspace."""
    task_id = seat.create(body=body)
    seat.workspace(task_id, **files)
    seat.sit(seat.claim(task_id))
    return task_id


def test_a_check_that_passes_is_not_noticed(seat: Seat, home: Path) -> None:
    settings(home, tests="pass")
    task_id = work(seat, "Check: tests\nCheck: file report.md", report_md="x")
    assert seat.call("kanban_complete", summary="done")["ok"] is True
    assert seat.board.task(task_id).status == "done"


def test_the_first_time_the_worker_is_told_and_goes_on(seat: Seat) -> None:
    task_id = work(seat, "Check: file report.md")
    answer = seat.call("kanban_complete", summary="done")
    assert "check 'file report.md': there is no such file" in answer["error"]
    assert seat.board.task(task_id).status == "running"
    kind, payload = seat.last_event(task_id)
    assert kind == "completion_unverified"
    assert payload == {"failed": ["check 'file report.md': there is no such file"], "summary_preview": "done"}
    (seat.board.location.workspaces / task_id / "report.md").write_text("x")
    assert seat.call("kanban_complete", summary="now")["ok"] is True
    assert seat.board.task(task_id).status == "done"


def test_the_second_time_a_person_decides(seat: Seat) -> None:
    task_id = work(seat, "Check: file report.md")
    assert "error" in seat.call("kanban_complete", summary="done")
    answer = seat.call("kanban_complete", summary="it IS done")
    assert answer["status"] == "blocked"
    task = seat.board.task(task_id)
    assert (task.status, task.block_kind, task.block_recurrences) == ("blocked", "needs_input", 0)
    kind, payload = seat.last_event(task_id)
    assert (kind, payload["withheld"]) == ("blocked", True)
    assert "not verified" in payload["reason"]
    assert "there is no such file" in payload["reason"]
    assert "it IS done" in payload["reason"]
    late = completions.pending(seat.board.writer, task_id)
    assert late is not None
    assert late.handoff.summary == "it IS done"
    seat.board.accept(task_id, "ann")
    assert seat.board.task(task_id).status == "done"


def test_each_run_may_try_twice(seat: Seat) -> None:
    task_id = work(seat, "Check: file report.md")
    for _ in range(2):
        seat.call("kanban_complete", summary="done")
    seat.board.reject(task_id, "ann")
    assert seat.board.task(task_id).status == "ready"  # it runs again, and nobody has to unblock it too
    seat.sit(seat.claim(task_id))
    assert "error" in seat.call("kanban_complete", summary="done")
    assert seat.board.task(task_id).status == "running"


def test_a_secret_in_the_output_of_a_check_goes_nowhere(seat: Seat, home: Path) -> None:
    settings(home, tests="import sys; sys.exit('token=abcdef123456')")
    task_id = work(seat, "Check: tests")
    answer = seat.call("kanban_complete", summary="done")
    assert "token=***" in answer["error"]
    assert "abcdef123456" not in seat.dump()
    assert seat.board.task(task_id).status == "running"


def test_a_person_is_not_asked_for_checks(seat: Seat) -> None:
    task_id = seat.create(body="Check: file report.md")
    seat.stand_up()
    assert seat.call("kanban_complete", task_id=task_id, summary="I looked")["ok"] is True


def test_a_check_of_a_run_that_was_taken_away_refuses_like_any_other_write(
    seat: Seat, refused: Callable[..., str]
) -> None:
    task_id = work(seat, "Check: file report.md")
    seat.board.reclaim(seat.board.task(task_id), None, "ann")
    seat.claim(task_id)
    assert "superseded" in refused("kanban_complete", summary="done")


# --- negative verdicts ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("verdict", ["fail", "FAILED", " Rejected ", "changes requested", "no-go", False])
def test_these_say_no(verdict: object) -> None:
    assert negative_verdict({"verdict": verdict}) == str(verdict).strip().replace("False", "false")


@pytest.mark.parametrize("verdict", ["pass", "approved", "", None, True, 0, ["fail"], {"fail": 1}, "no idea"])
def test_these_do_not(verdict: object) -> None:
    assert negative_verdict({"verdict": verdict}) is None
    assert negative_verdict(None) is None


def test_a_negative_verdict_without_anybody_behind_it_is_a_result(seat: Seat) -> None:
    task_id = seat.work().task_id
    assert seat.call("kanban_complete", summary="it is bad", metadata={"verdict": "fail"})["ok"] is True
    assert seat.board.task(task_id).status == "done"


def test_a_gate_that_fails_three_times_is_no_loop(seat: Seat) -> None:
    gate = seat.create()
    child = seat.create(parents=[gate])
    for _ in range(3):
        seat.sit(seat.claim(gate))
        answer = seat.call("kanban_complete", summary="two bugs", metadata={"verdict": "fail"})
        assert answer["withheld"] == "its verdict is fail, so 1 task behind it is held: two bugs"
        assert (seat.board.task(gate).status, seat.board.task(child).status) == ("blocked", "todo")
        assert seat.board.runs(gate)[-1].metadata["verdict"] == "fail"
        seat.board.reject(gate, "ann")
    seat.sit(seat.claim(gate))
    assert seat.call("kanban_complete", summary="all fine", metadata={"verdict": "pass"})["ok"] is True
    assert seat.board.task(child).status == "ready"
