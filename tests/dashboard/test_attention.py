"""Who needs a person: worst first, one item per task, one button that helps, and nothing else."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from hermes_kanban_plugin.dashboard import actions
from hermes_kanban_plugin.dashboard.attention import LABELS, Attention, sort_out
from hermes_kanban_plugin.dashboard.evidence import words_of
from hermes_kanban_plugin.diagnosis.facts import Dispatching
from hermes_kanban_plugin.diagnosis.rulebook import diagnose
from hermes_kanban_plugin.dispatch.standing import State
from hermes_kanban_plugin.identity import Verdict
from hermes_kanban_plugin.store.outcomes import Handoff
from hermes_kanban_plugin.testing import claim_one

if TYPE_CHECKING:
    from tests.diagnosis.conftest import Scene

DEAD, ALIVE, UNKNOWN = Verdict.DEAD, Verdict.ALIVE, Verdict.UNKNOWN


def sorted_out(scene: Scene) -> Attention:
    facts = scene.facts()
    titles = {task.id: task.title for task in scene.board.tasks()}
    return sort_out(facts, diagnose(facts), titles)


def only_item(scene: Scene) -> dict[str, Any]:
    (item,) = sorted_out(scene).now
    return item


def button(item: dict[str, Any]) -> tuple[str, str] | None:
    action = item["action"]
    return (action["verb"], action["label"]) if action else None


def start(scene: Scene, title: str = "a task", supervisor: Verdict = ALIVE, worker: Verdict = ALIVE) -> tuple[str, int]:
    task_id = scene.add(title=title)
    lease = claim_one(scene.board, task_id, nonce=task_id)
    scene.spoil("UPDATE kp_runs SET accepted_at = claimed_at WHERE run_id = ?", lease.run_id)
    scene.verdicts[lease.run_id] = (supervisor, worker)
    return task_id, lease.run_id


def test_a_healthy_board_needs_nobody(scene: Scene) -> None:
    start(scene)
    scene.add(parents=[scene.add()])
    found = sorted_out(scene)
    assert (found.now, found.later, found.waiting, found.notes, found.stale) == ([], [], [], [], [])


def test_every_button_does_something() -> None:
    assert set(LABELS) == set(actions.VERBS)


def test_a_stale_claim_carries_the_claim_that_was_seen(scene: Scene) -> None:
    task_id, run_id = start(scene, "lost", DEAD, DEAD)
    item = only_item(scene)
    assert (item["title"], item["level"], item["kind"]) == ("lost", "error", "orphaned_run")
    assert item["action"] == {
        "verb": "reclaim", "label": "Reclaim", "task_id": task_id,
        "seen": {"status": "running", "run_id": run_id, "lock": scene.board.task(task_id).claim_lock},
        "life": f"{scene.board.task(task_id).claim_expires}/None",
    }  # fmt: skip
    assert ["supervisor", "dead"] in item["evidence"]
    assert sorted_out(scene).stale == [(task_id, run_id)]


def test_what_is_in_doubt_is_shown_and_not_counted_as_stale(scene: Scene) -> None:
    start(scene, "unseen", UNKNOWN, UNKNOWN)
    scene.clock.advance(3600)
    found = sorted_out(scene)
    assert [button(item) for item in found.now] == [("reclaim", "Reclaim")]
    assert found.stale == [], "it is taken back only when two looks agree"


def test_a_run_without_a_task_and_a_task_without_a_run(scene: Scene) -> None:
    _, run_id = start(scene, "runless")
    scene.spoil("UPDATE task_runs SET ended_at = 1 WHERE id = ?", run_id)
    stray = scene.add(title="stray")
    scene.spoil("INSERT INTO task_runs (task_id, status, started_at) VALUES (?, 'running', 1)", stray)
    locked = scene.add(title="locked")
    scene.spoil("UPDATE tasks SET claim_lock = 'x:1:y' WHERE id = ?", locked)
    found = sorted_out(scene)
    buttons = {item["title"]: button(item) for item in found.now}
    assert buttons == {
        "runless": ("reclaim", "Reclaim"), "stray": ("repair", "End what is left"),
        "locked": ("clear-claim", "Clear claim"),
    }  # fmt: skip
    seen = {item["title"]: item["action"]["seen"] for item in found.now}
    assert seen["locked"] == {"status": "ready", "run_id": 0, "lock": "x:1:y"}
    assert {task_id for task_id, _ in found.stale} == {stray, locked}


def test_what_is_left_of_a_closed_run_can_be_ended(scene: Scene) -> None:
    task_id, run_id = start(scene)
    scene.board.reclaim(scene.board.task(task_id), None, "anna")
    scene.verdicts[run_id] = (DEAD, ALIVE)
    scene.clock.advance(600)
    item = only_item(scene)
    assert button(item) == ("repair", "End what is left")
    assert item["action"]["seen"]["run_id"] == run_id


def test_a_blocked_task_can_be_unblocked(scene: Scene) -> None:
    task_id = scene.add(title="which licence?")
    scene.board.block(task_id, "MIT or Apache?", None, "anna")
    item = only_item(scene)
    assert button(item) == ("unblock", "Unblock")
    assert (item["level"], item["kind"]) == ("warning", "blocked")
    assert "MIT or Apache?" in item["reason"]


def test_a_gate_with_tasks_behind_it_offers_both_and_keeps_the_question(scene: Scene) -> None:
    gate = scene.add(title="which licence?")
    child = scene.add(title="write the head", parents=[gate])
    scene.board.block(gate, f"wait until {child} is done: MIT or Apache?", None, "anna")
    (item,) = [one for one in sorted_out(scene).now if one["task_id"] == gate]
    assert (item["kind"], button(item)) == ("dependency_deadlock", ("unblock", "Unblock"))
    assert item["command"] == f"hermes kanban unlink {gate} {child}"
    assert any("MIT or Apache?" in said for said in item["also"])


def test_a_gate_that_opens_and_closes_can_be_opened_once_more(scene: Scene) -> None:
    task_id = scene.add(title="round and round")
    for number in range(4):
        scene.event(task_id, "blocked", json.dumps({"reason": f"question {number}"}))
        if number < 3:
            scene.event(task_id, "unblocked")
    scene.spoil("UPDATE tasks SET status = 'blocked', block_recurrences = 3 WHERE id = ?", task_id)
    item = only_item(scene)
    assert (item["kind"], button(item)) == ("block_unblock_cycling", ("unblock", "Unblock"))
    assert item["command"] == f"hermes-kanban events {task_id}"
    assert any("question 3" in said for said in (item["reason"], *item["also"]))


def test_failures_are_unblocked_reset_or_tried_again(scene: Scene) -> None:
    given_up, failing, waiting = (scene.add(title=name) for name in ("given up", "failing", "waiting"))
    for task_id in (given_up, failing, waiting):
        scene.spoil("UPDATE tasks SET consecutive_failures = 3 WHERE id = ?", task_id)
        scene.closed_run(task_id, "crashed", retry_at=scene.clock.now() + 300 if task_id == waiting else None)
    scene.spoil("UPDATE tasks SET status = 'blocked' WHERE id = ?", given_up)
    scene.event(given_up, "gave_up")
    items = {item["title"]: (item["level"], button(item)) for item in sorted_out(scene).now}
    assert items == {
        "given up": ("error", ("unblock", "Unblock")),
        "failing": ("warning", ("reset-failures", "Reset failures")),
        "waiting": ("warning", ("retry", "Retry now")),
    }


def test_finished_work_that_came_too_late_can_be_accepted(scene: Scene) -> None:
    task_id = scene.add()
    lease = claim_one(scene.board, task_id)
    scene.board.reclaim(scene.board.task(task_id), None, "anna")
    assert scene.board.keep_completion(lease, Handoff("all done"))
    assert button(only_item(scene)) == ("accept", "Accept finished work")


def test_a_task_that_waits_for_its_time_can_be_hurried_and_alarms_nobody(scene: Scene) -> None:
    task_id = scene.add(title="limited")
    scene.closed_run(task_id, "rate_limited", cause="rate_limited", retry_at=scene.clock.now() + 240)
    found = sorted_out(scene)
    assert found.now == []
    (item,) = found.waiting
    assert (item["title"], item["at"] - scene.clock.now(), item["action"]["verb"]) == ("limited", 240, "retry")


def test_a_task_that_is_to_start_later_is_shown_with_its_time(scene: Scene) -> None:
    at = scene.clock.now() + 7200
    task_id = scene.add(title="at night", start_at=at)
    found = sorted_out(scene)
    assert (found.now, found.later) == ([], [])
    (item,) = found.waiting
    assert (item["title"], item["at"]) == ("at night", at)
    assert item["action"]["verb"] == "unblock"
    assert item["action"]["seen"] == {"status": "scheduled", "run_id": 0, "lock": ""}
    scene.spoil("DELETE FROM kp_timers")
    found = sorted_out(scene)
    assert (found.waiting, [item["task_id"] for item in found.later]) == ([], [task_id]), "nothing else wakes it"


@pytest.mark.parametrize("state", [State.DEAD, State.SILENT, State.STOPPED, State.NEVER])
@pytest.mark.parametrize("cause", ["rate_limited", "crashed"])
def test_a_wait_can_be_cut_short_while_nobody_dispatches(scene: Scene, cause: str, state: State) -> None:
    task_id = scene.add(title="limited")
    scene.closed_run(task_id, cause, cause=cause, retry_at=scene.clock.now() + 240)
    scene.dispatching = Dispatching(state=state, pid=7, last_tick_at=scene.clock.now() - 90)
    found = sorted_out(scene)
    assert [item["kind"] for item in found.now] == ["dispatcher_silent"]
    (item,) = found.waiting
    assert (item["title"], item["at"] - scene.clock.now(), item["action"]["verb"]) == ("limited", 240, "retry")


def test_an_outage_offers_to_try_one_of_its_tasks(scene: Scene) -> None:
    ids = [scene.add() for _ in range(3)]
    for task_id in ids:
        scene.closed_run(task_id, "crashed", cause="crashed", signature="crashed: no route to host")
    scene.spoil(
        "INSERT INTO kp_outages (signature, cause, began_at, last_seen_at, failures, failed_probes, longest_life, "
        "next_probe_at) VALUES ('crashed: no route to host', 'crashed', ?, ?, 3, 0, 1, ?)",
        scene.clock.now() - 60, scene.clock.now(), scene.clock.now() + 60,
    )  # fmt: skip
    item = only_item(scene)
    assert (item["title"], item["task_id"], button(item)) == (
        "Several tasks fail the same way", None, ("retry", "Retry now")
    )  # fmt: skip
    assert item["action"]["task_id"] in ids


def test_a_task_is_told_once_with_all_that_is_wrong(scene: Scene) -> None:
    task_id, _ = start(scene, "twice", DEAD, DEAD)
    scene.spoil("UPDATE tasks SET consecutive_failures = 4 WHERE id = ?", task_id)
    item = only_item(scene)
    assert item["kind"] == "orphaned_run"
    assert len(item["also"]) == 1
    assert "4 times in a row" in item["also"][0]


def test_the_worst_comes_first_then_what_waits_longest(scene: Scene) -> None:
    for ago, title in ((50, "younger"), (500, "older")):
        scene.clock.advance(-ago)
        task_id = scene.add(title=title)
        scene.board.block(task_id, "x", None, "anna")
        scene.clock.advance(ago)
    start(scene, "lost", DEAD, DEAD)
    assert [item["title"] for item in sorted_out(scene).now] == ["lost", "older", "younger"]


def test_what_has_no_hurry_is_kept_apart(scene: Scene) -> None:
    scene.add(title="an idea", triage=True)
    found = sorted_out(scene)
    assert found.now == []
    assert [(item["title"], item["action"]) for item in found.later] == [("an idea", None)]


def test_a_silent_dispatcher_is_one_item_and_not_one_per_task(scene: Scene) -> None:
    for _ in range(4):
        scene.add()
    scene.dispatching = Dispatching(state=State.DEAD, pid=7, last_tick_at=scene.clock.now() - 90)
    item = only_item(scene)
    assert (item["kind"], item["level"]) == ("dispatcher_silent", "critical")
    assert item["command"] == "hermes-kanban dispatcher"


def test_what_is_wrong_with_the_machine_alone_is_a_note(scene: Scene) -> None:
    scene.machine = scene.machine._replace(sqlite_version=(3, 40, 1))
    found = sorted_out(scene)
    assert found.now == []
    assert [note["kind"] for note in found.notes] == ["sqlite_version_risk"]


def test_tasks_that_wait_for_the_same_are_gathered(scene: Scene) -> None:
    for _ in range(3):
        scene.add(assignee="nobody-there")
    item = only_item(scene)
    assert (item["title"], item["task_id"], item["action"]) == ("Nobody can be started", None, None)
    assert item["command"].startswith("hermes kanban assign")


def test_tasks_that_lack_the_same_skill_have_a_button_each(scene: Scene) -> None:
    scene.lacking["coder"] = {"juggling"}
    ids = [scene.add(title=f"act {number}", assignee="coder", skills=["juggling"]) for number in range(3)]
    items = sorted_out(scene).now
    assert sorted(item["title"] for item in items) == ["act 0", "act 1", "act 2"]
    assert {button(item) for item in items} == {("clear-skills", "Clear skills")}
    assert sorted(item["action"]["task_id"] for item in items) == sorted(ids)
    assert all(item["reason"].startswith(f"{item['task_id']} is ready but cannot run: ") for item in items)
    assert all("does not have the skill juggling" in item["reason"] for item in items)


def test_more_tasks_without_their_skill_than_can_be_read_stay_one_item(scene: Scene) -> None:
    scene.lacking["coder"] = {"juggling"}
    for _ in range(21):
        scene.add(assignee="coder", skills=["juggling"])
    item = only_item(scene)
    assert (item["title"], item["task_id"], item["action"]) == ("A skill is missing", None, None)
    assert item["command"].endswith("--clear-skills")


# --- evidence ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("last_heartbeat_at", 900, ["last heartbeat", "1m 40s ago"]), ("next_probe_at", 1060, ["next probe", "in 1m"]),
        ("lease_until", 990, ["lease ended", "10s ago"]), ("lease_until", 1010, ["lease ends", "in 10s"]),
        ("last_output", "one\ntwo\n", ["last output", "two"]),
        ("tasks", ["a", "b", "c", "d"], ["tasks", "a, b, c and 1 more"]),
        ("last_error", "token=abcdefgh12345678", ["last error", "token=***"]),
    ],
)  # fmt: skip
def test_evidence_in_words(name: str, value: Any, said: list[str]) -> None:
    assert words_of({name: value}, 1000) == [said]


@pytest.mark.parametrize("value", [None, "", [], {"a": 1}])
def test_evidence_that_says_nothing_is_left_out(value: Any) -> None:
    assert words_of({"thing": value, "lock": "x", "run": 4}, 1000) == []


def test_a_process_is_named_with_its_verdict() -> None:
    assert words_of({"worker": "dead", "worker_pid": 12}, 1000) == [["worker", "dead (pid 12)"]]
