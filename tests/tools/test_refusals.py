"""Every refusal: one sentence that names what is wrong and what to do, and not one byte of the board changed."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest
from pytest_mock import MockerFixture

from hermes_kanban_plugin import toolkit
from hermes_kanban_plugin.board import Board
from hermes_kanban_plugin.store.leases import Lease

if TYPE_CHECKING:
    from tests.tools.conftest import Seat

Refused = Callable[..., str]
GOOD: dict[str, dict[str, Any]] = {
    "kanban_heartbeat": {},
    "kanban_block": {"reason": "stuck"},
    "kanban_complete": {"summary": "done"},
}
HUGE = "x" * 10_000_000
every_tool = pytest.mark.parametrize("tool", list(GOOD))


@pytest.mark.parametrize(
    ("tool", "wrong", "named"),
    [
        ("kanban_heartbeat", {"note": 5}, "note"),
        ("kanban_heartbeat", {"note": ["x"]}, "note"),
        ("kanban_heartbeat", {"note": HUGE}, "note"),
        ("kanban_block", {}, "reason"),
        ("kanban_block", {"reason": None}, "reason"),
        ("kanban_block", {"reason": " \n"}, "say what you need"),
        ("kanban_block", {"reason": {"a": 1}}, "reason"),
        ("kanban_block", {"reason": HUGE}, "reason"),
        ("kanban_block", {"reason": "x", "kind": "coffee"}, "'dependency', 'needs_input', 'capability' or 'transient'"),
        ("kanban_block", {"reason": "x", "kind": ""}, "kind"),
        ("kanban_complete", {}, "summary (preferred)"),
        ("kanban_complete", {"summary": " ", "result": ""}, "summary (preferred)"),
        ("kanban_complete", {"metadata": {"a": 1}}, "summary (preferred)"),
        ("kanban_complete", {"summary": 5}, "summary"),
        ("kanban_complete", {"summary": "bad \ud800 text"}, "summary"),
        ("kanban_complete", {"summary": HUGE}, "summary"),
        ("kanban_complete", {"result": HUGE}, "result"),
        ("kanban_complete", {"summary": "x", "metadata": "text"}, "metadata"),
        ("kanban_complete", {"summary": "x", "metadata": [1]}, "metadata"),
        ("kanban_complete", {"summary": "x", "metadata": {"when": object()}}, "use plain values"),
        ("kanban_complete", {"summary": "x", "metadata": {"n": float("nan")}}, "use plain values"),
        ("kanban_complete", {"summary": "x", "metadata": {"n": "\ud800"}}, "use plain values"),
        ("kanban_complete", {"summary": "x", "metadata": {1: 2}}, "metadata"),
        ("kanban_complete", {"summary": "x", "metadata": {"log": HUGE}}, "put the data into a file"),
        ("kanban_complete", {"summary": "x", "created_cards": 5}, "created_cards"),
        ("kanban_complete", {"summary": "x", "created_cards": [5]}, "created_cards"),
        ("kanban_complete", {"summary": "x", "created_cards": ["t_1"] * 100_000}, "created_cards"),
        ("kanban_complete", {"summary": "x", "artifacts": {"a": 1}}, "artifacts"),
        ("kanban_complete", {"summary": "x", "artifacts": [HUGE]}, "artifacts"),
    ],
    ids=lambda value: f"{value!r:.40}",
)
def test_wrong_argument(seat: Seat, refused: Refused, tool: str, wrong: dict[str, Any], named: str) -> None:
    seat.work()
    assert named in refused(tool, wrong)


def test_metadata_nested_without_end(seat: Seat, refused: Refused) -> None:
    seat.work()
    deep: dict[str, Any] = {}
    deep["self"] = deep
    assert "metadata" in refused("kanban_complete", {"summary": "x", "metadata": deep})


@every_tool
@pytest.mark.parametrize("arguments", [[], "text", 5, True, [("task_id", "x")]], ids=repr)
def test_arguments_that_are_no_object(seat: Seat, refused: Refused, tool: str, arguments: Any) -> None:
    seat.work()
    assert "arguments must be an object" in refused(tool, arguments)


@every_tool
def test_no_arguments_at_all(seat: Seat, tool: str) -> None:
    found = toolkit.tools_of(seat.manager)[tool]
    assert "must be an object, got NoneType" in json.loads(toolkit.call(found, seat.manager, None))["error"]


@every_tool
@pytest.mark.parametrize("task_id", [5, ["t_1"], HUGE], ids=["number", "list", "huge"])
def test_task_id_that_is_none(seat: Seat, refused: Refused, tool: str, task_id: Any) -> None:
    assert "task_id" in refused(tool, {**GOOD[tool], "task_id": task_id})


@every_tool
@pytest.mark.parametrize("task_id", [None, "", "  "])
def test_task_id_is_required_of_who_is_no_worker(seat: Seat, refused: Refused, tool: str, task_id: str | None) -> None:
    assert "was not started for a task" in refused(tool, {**GOOD[tool], "task_id": task_id})


@every_tool
def test_unknown_task(seat: Seat, refused: Refused, tool: str) -> None:
    message = refused(tool, {**GOOD[tool], "task_id": "t_00000000"})
    assert "unknown task 't_00000000' on board 'default'" in message
    assert "hermes-kanban list" in message


@every_tool
def test_own_task_that_was_deleted(seat: Seat, refused: Refused, tool: str) -> None:
    seat.sit(Lease("t_00000000", 1, "host:1:n-x"))
    assert "unknown task" in refused(tool, GOOD[tool])


@every_tool
@pytest.mark.parametrize("exists", [True, False])
def test_foreign_task(seat: Seat, refused: Refused, tool: str, exists: bool) -> None:
    other = seat.claim(seat.create("somebody else's")).task_id if exists else "t_00000000"
    own = seat.work()
    message = refused(tool, {**GOOD[tool], "task_id": other})
    assert f"worker is scoped to task {own.task_id}" in message
    assert "kanban_comment" in message


@every_tool
@pytest.mark.parametrize("run_id", ["", " ", "one", "-1", "0", "1.5", "0x1", "1e3", "²", str(2**63), "9" * 4000])
def test_run_id_that_is_none(
    seat: Seat, refused: Refused, monkeypatch: pytest.MonkeyPatch, tool: str, run_id: str
) -> None:
    seat.work()
    monkeypatch.setenv("HERMES_KANBAN_RUN_ID", run_id)
    message = refused(tool, GOOD[tool])
    assert "HERMES_KANBAN_RUN_ID" in message
    assert "hermes-kanban dispatcher" in message


def test_run_id_longer_than_python_converts(seat: Seat, refused: Refused, monkeypatch: pytest.MonkeyPatch) -> None:
    seat.work()
    monkeypatch.setenv("HERMES_KANBAN_RUN_ID", "9" * 5000)
    assert "HERMES_KANBAN_RUN_ID" in refused("kanban_heartbeat")


@every_tool
@pytest.mark.parametrize("name", ["HERMES_KANBAN_RUN_ID", "HERMES_KANBAN_CLAIM_LOCK"])
def test_environment_that_lacks_a_proof(
    seat: Seat, refused: Refused, monkeypatch: pytest.MonkeyPatch, tool: str, name: str
) -> None:
    seat.work()
    monkeypatch.delenv(name)
    assert f"{name} is not set" in refused(tool, GOOD[tool])


@every_tool
@pytest.mark.parametrize("run_id", [2**63 - 1, 999])
def test_run_that_never_was(
    seat: Seat, refused: Refused, monkeypatch: pytest.MonkeyPatch, tool: str, run_id: int
) -> None:
    lease = seat.work()
    monkeypatch.setenv("HERMES_KANBAN_RUN_ID", str(run_id))
    assert f"superseded by run {lease.run_id}" in refused(tool, GOOD[tool])


@every_tool
@pytest.mark.parametrize("lock", ["host:1:other", "%", "' OR 1=1 --"])
def test_lock_that_is_another(
    seat: Seat, refused: Refused, monkeypatch: pytest.MonkeyPatch, tool: str, lock: str
) -> None:
    seat.work()
    monkeypatch.setenv("HERMES_KANBAN_CLAIM_LOCK", lock)
    assert "held under another lock" in refused(tool, GOOD[tool])


@every_tool
def test_old_run_with_its_own_lock(seat: Seat, refused: Refused, tool: str) -> None:
    old = seat.work()
    seat.board.reclaim(seat.board.task(old.task_id), "too slow", "ann")
    if tool != "kanban_complete":  # which is kept until a person decides: test_complete.py
        assert "closed, the task is ready" in refused(tool, GOOD[tool])
    new = seat.claim(old.task_id)
    message = refused(tool, GOOD[tool])
    assert f"superseded by run {new.run_id}" in message
    assert f"hermes-kanban runs {old.task_id}" in message


@every_tool
@pytest.mark.parametrize("slug", ["../etc", "a b", "-x", "x" * 65, "ö"])
def test_board_name_that_is_none(seat: Seat, refused: Refused, tool: str, slug: str) -> None:
    seat.work()
    assert "cannot be a board's name" in refused(tool, {**GOOD[tool], "board": slug})


@every_tool
def test_board_that_does_not_exist_is_not_made(seat: Seat, refused: Refused, tool: str) -> None:
    seat.work()
    message = refused(tool, {**GOOD[tool], "board": "nowhere"})
    assert "hermes-kanban --board nowhere init" in message
    assert not (seat.board.location.root / "kanban" / "boards").exists()


@every_tool
def test_task_of_another_board(seat: Seat, refused: Refused, monkeypatch: pytest.MonkeyPatch, tool: str) -> None:
    lease = seat.work()
    second = toolkit.open_board("second", create=True)
    second.close()
    message = refused(tool, {**GOOD[tool], "board": "second"})
    assert f"unknown task {lease.task_id!r} on board 'second'" in message


@pytest.mark.parametrize(("tool", "status"), [("kanban_heartbeat", "ready"), ("kanban_block", "done")])
def test_task_in_the_wrong_state(seat: Seat, refused: Refused, tool: str, status: str) -> None:
    task_id = seat.create()
    seat.board.writer.execute("UPDATE tasks SET status = ? WHERE id = ?", (status, task_id))
    message = refused(tool, {**GOOD[tool], "task_id": task_id})
    assert f"it is {status}" in message
    assert f"hermes-kanban show {task_id}" in message


@every_tool
def test_what_nobody_thought_of_is_still_one_sentence(seat: Seat, mocker: MockerFixture, tool: str) -> None:
    seat.work()
    before = seat.dump()
    mocker.patch.object(Board, "task", side_effect=ZeroDivisionError("what?"))
    message = seat.call(tool, GOOD[tool])["error"]
    assert message == f"{tool} failed unexpectedly (ZeroDivisionError: what?); nothing was changed"
    assert seat.dump() == before
