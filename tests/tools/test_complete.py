"""kanban_complete: the hand-off is kept, the children start, the workspace goes when nobody needs it."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest
from pytest_mock import MockerFixture

from hermes_kanban_plugin import host, identity
from hermes_kanban_plugin.board import Board
from hermes_kanban_plugin.breaker import Terms
from hermes_kanban_plugin.causes import Cause
from hermes_kanban_plugin.host import Judgement
from hermes_kanban_plugin.store import leases, outcomes

if TYPE_CHECKING:
    from tests.tools.conftest import Seat


def test_hand_off_is_kept_on_task_run_and_history(seat: Seat, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HERMES_SESSION_ID", "session-7")
    lease = seat.work()
    answer = seat.call("kanban_complete", summary="counted\nall of them", result="42 words", metadata={"words": 42})
    assert answer == {"ok": True, "task_id": lease.task_id, "run_id": lease.run_id}
    task, (run,) = seat.board.task(lease.task_id), seat.board.runs(lease.task_id)
    assert (task.status, task.result, task.completed_at) == ("done", "42 words", seat.clock.now())
    assert (task.claim_lock, task.claim_expires, task.worker_pid, task.current_run_id) == (None, None, None, None)
    assert (run.status, run.outcome, run.summary) == ("done", "completed", "counted\nall of them")
    assert run.metadata == {"words": 42, "worker_session_id": "session-7"}
    assert seat.last_event(lease.task_id) == ("completed", {"result_len": 8, "summary": "counted"})


def test_result_alone_is_also_the_summary(seat: Seat) -> None:
    lease = seat.work()
    assert seat.call("kanban_complete", result="42 words")["ok"] is True
    assert seat.board.runs(lease.task_id)[0].summary == "42 words"


def test_success_forgets_the_failures(seat: Seat) -> None:
    lease = seat.work()
    failure = outcomes.Failure(Cause.CRASHED, "killed", {}, Terms(failure_limit=5))
    outcomes.fail(seat.board.writer, lease, failure, seat.clock.now())
    assert seat.board.task(lease.task_id).consecutive_failures == 1
    seat.sit(seat.claim(lease.task_id))
    seat.call("kanban_complete", summary="second try worked")
    task = seat.board.task(lease.task_id)
    assert (task.consecutive_failures, task.last_failure_error) == (0, None)


def test_a_completion_just_after_the_run_was_closed_is_kept_for_a_person(seat: Seat) -> None:
    lease = seat.work()
    seat.board.reclaim(seat.board.task(lease.task_id), "too slow", "ann")
    message = seat.call("kanban_complete", summary="done all the same")["error"]
    assert "no longer current" in message
    assert f"hermes-kanban accept {lease.task_id}" in message
    assert seat.board.task(lease.task_id).status == "ready"
    seat.board.accept(lease.task_id, "ann")
    assert seat.board.task(lease.task_id).status == "done"
    assert seat.board.runs(lease.task_id)[-1].summary == "done all the same"


def test_children_start_when_their_last_parent_is_done(seat: Seat) -> None:
    first, second = seat.create("one"), seat.create("two")
    child = seat.create("merge", parents=[first, second])
    seat.sit(seat.claim(first))
    seat.call("kanban_complete", summary="one")
    assert seat.board.task(child).status == "todo"
    seat.sit(seat.claim(second))
    seat.call("kanban_complete", summary="two")
    assert seat.board.task(child).status == "ready"
    assert seat.last_event(child) == ("promoted", None)


def test_created_cards_that_are_the_workers_own_are_verified(seat: Seat) -> None:
    lease = seat.work()
    by_profile = seat.create("follow-up", created_by="coder")
    by_task = seat.create("follow-up", created_by=lease.task_id)
    linked = seat.create("follow-up", created_by="ann", parents=[lease.task_id])
    cards = [by_profile, by_task, linked]
    seat.call("kanban_complete", summary="split it", created_cards=[*cards, by_profile, "  "])
    completed = dict(seat.events(lease.task_id))["completed"]
    assert completed["verified_cards"] == cards


def test_phantom_cards_hold_the_completion_and_are_noted(seat: Seat) -> None:
    lease = seat.work()
    own, foreign = seat.create("mine", created_by="coder"), seat.create("not mine", created_by="ann")
    answer = seat.call("kanban_complete", summary="split it\nin two", created_cards=[own, foreign, "t_00000000"])
    assert foreign in answer["error"]
    assert "t_00000000" in answer["error"]
    assert own not in answer["error"]
    assert "created_cards=[]" in answer["error"]
    payload = {"phantom_cards": [foreign, "t_00000000"], "verified_cards": [own], "summary_preview": "split it"}
    assert seat.last_event(lease.task_id) == ("completion_blocked_hallucination", payload)
    assert seat.board.task(lease.task_id).current_run_id == lease.run_id
    assert seat.call("kanban_complete", summary="split it", created_cards=own)["ok"] is True


def test_superseded_worker_does_not_even_leave_a_note_on_its_phantom_cards(
    seat: Seat, refused: Callable[..., str]
) -> None:
    old = seat.work()
    seat.board.reclaim(seat.board.task(old.task_id), None, "ann")
    seat.claim(old.task_id)
    assert "superseded" in refused("kanban_complete", summary="split", created_cards=["t_00000000"])


def test_task_ids_in_the_prose_that_do_not_exist_are_suspected(seat: Seat) -> None:
    lease = seat.work()
    known = seat.create("other")
    seat.call("kanban_complete", summary=f"see {known} and t_deadbeef", result="t_deadbeef, t_cafecafe")
    payload = {"phantom_refs": ["t_deadbeef", "t_cafecafe"], "source": "completion_summary"}
    assert seat.last_event(lease.task_id) == ("suspected_hallucinated_references", payload)


def test_scratch_workspace_of_an_unsupervised_worker_goes_at_once(seat: Seat) -> None:
    lease = seat.work()
    workspace = seat.workspace(lease.task_id, draft_txt="x")
    seat.call("kanban_complete", summary="done")
    assert not workspace.exists()


def test_scratch_workspace_of_a_supervised_worker_stays_until_it_is_gone(seat: Seat) -> None:
    """The worker still stands in the folder when it calls the tool (contract W18); its supervisor removes it."""
    lease = seat.work()
    workspace = seat.workspace(lease.task_id, draft_txt="x")
    me = identity.capture(1)
    leases.accept(seat.board.writer, lease, me, me, seat.clock.now() + 60, seat.clock.now())
    seat.call("kanban_complete", summary="done")
    assert workspace.exists()
    outcomes.record_exit(seat.board.writer, lease, outcomes.ExitFacts(exit_code=0), seat.clock.now())
    seat.board.tidy()
    assert not workspace.exists()


def test_scratch_workspace_waits_for_the_children(seat: Seat) -> None:
    lease = seat.work()
    workspace = seat.workspace(lease.task_id, draft_txt="x")
    child = seat.create("read the draft", parents=[lease.task_id])
    seat.call("kanban_complete", summary="drafted")
    assert workspace.exists()
    seat.sit(seat.claim(child))
    seat.call("kanban_complete", summary="read")
    assert not workspace.exists()


def test_folder_outside_the_managed_ones_is_never_removed(seat: Seat) -> None:
    lease = seat.work()
    sources = seat.board.location.root / "my-sources"
    sources.mkdir()
    seat.board.writer.execute("UPDATE tasks SET workspace_path = ? WHERE id = ?", (str(sources), lease.task_id))
    seat.call("kanban_complete", summary="done")
    assert sources.exists()


def test_completion_that_cannot_tidy_is_a_completion(seat: Seat, monkeypatch: pytest.MonkeyPatch) -> None:
    """What fails after the commit must not tell the worker that its work was not taken (contract W28)."""
    lease = seat.work()

    def broken(_: Board) -> list[str]:
        raise sqlite3.OperationalError("disk I/O error")

    monkeypatch.setattr(Board, "tidy", broken)
    assert seat.call("kanban_complete", summary="done") == {
        "ok": True, "task_id": lease.task_id, "run_id": lease.run_id,
    }  # fmt: skip
    assert seat.board.task(lease.task_id).status == "done"


@pytest.mark.parametrize("status", ["ready", "blocked", "running"])
def test_orchestrator_completes_from(seat: Seat, status: str) -> None:
    task_id = seat.create()
    if status == "blocked":
        seat.board.block(task_id, "later", None, "ann")
    lease = seat.claim(task_id) if status == "running" else None
    answer = seat.call("kanban_complete", task_id=task_id, summary="did it by hand")
    last = seat.board.runs(task_id)[-1]
    assert answer == {"ok": True, "task_id": task_id, "run_id": last.id}
    assert (last.outcome, last.summary) == ("completed", "did it by hand")
    assert seat.board.task(task_id).status == "done"
    if lease:
        assert last.id == lease.run_id


def test_worker_session_is_not_put_on_what_an_orchestrator_completes(
    seat: Seat, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HERMES_SESSION_ID", "session-7")
    task_id = seat.create()
    seat.call("kanban_complete", task_id=task_id, summary="by hand")
    assert seat.board.runs(task_id)[-1].metadata is None


@pytest.mark.parametrize("status", ["todo", "triage", "done", "archived", "scheduled"])
def test_orchestrator_cannot_complete_from(seat: Seat, refused: Callable[..., str], status: str) -> None:
    task_id = seat.create()
    seat.board.writer.execute("UPDATE tasks SET status = ? WHERE id = ?", (status, task_id))
    assert f"it is {status}" in refused("kanban_complete", task_id=task_id, summary="by hand")


def test_goal_mode_asks_the_judge_and_obeys(seat: Seat, refused: Callable[..., str], mocker: MockerFixture) -> None:
    lease = seat.work(title="write a poem", body="eight lines", goal_mode=True)
    judge = mocker.patch.object(host, "judge_goal", return_value=Judgement(objection="only six lines"))
    message = refused("kanban_complete", summary="wrote it")
    assert "only six lines" in message
    assert f"parents=[{lease.task_id}]" in message
    judge.assert_called_once_with("write a poem\n\neight lines", "wrote it")
    judge.return_value = Judgement()
    assert seat.call("kanban_complete", summary="wrote eight lines")["ok"] is True


def test_other_tasks_are_not_judged(seat: Seat, mocker: MockerFixture) -> None:
    seat.work()
    judge = mocker.patch.object(host, "judge_goal", return_value=Judgement(objection="no"))
    assert seat.call("kanban_complete", summary="done")["ok"] is True
    judge.assert_not_called()


def test_only_one_of_two_runs_can_finish(seat: Seat, refused: Callable[..., str]) -> None:
    old = seat.work()
    seat.board.reclaim(seat.board.task(old.task_id), None, "ann")
    new = seat.claim(old.task_id)
    assert f"superseded by run {new.run_id}" in refused("kanban_complete", summary="old news")
    seat.sit(new)
    assert seat.call("kanban_complete", summary="new")["run_id"] == new.run_id
    seat.sit(old)
    assert "the task is done" in refused("kanban_complete", summary="old news")
