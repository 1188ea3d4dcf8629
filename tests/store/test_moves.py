"""What a person does to a task: the columns, the run and the history of each move, and who did it."""

from __future__ import annotations

import itertools
import json

import pytest

from hermes_kanban_plugin.errors import ChangedMeanwhile, InvalidArgument, UnknownTask
from hermes_kanban_plugin.store import moves
from hermes_kanban_plugin.store.moves import Seen
from hermes_kanban_plugin.store.outcomes import Handoff
from hermes_kanban_plugin.testing import violations

FREE = ("claim_lock", "claim_expires", "worker_pid", "current_run_id")


def test_create_writes_the_row_and_its_history(desk) -> None:
    fields = {
        "body": "text", "assignee": " Ann ", "priority": 3, "tenant": "t1", "workspace_kind": "worktree",
        "workspace_path": "/w", "branch_name": "b", "max_runtime_seconds": 60, "max_retries": 4,
        "goal_mode": True, "goal_max_turns": 5, "session_id": "s", "created_by": "boss",
    }  # fmt: skip
    task_id = desk.board.create_task(title=" a title ", skills=("x", "y", "x"), **fields)
    row = desk.row(task_id)
    expected = fields | {
        "title": "a title", "assignee": "ann", "status": "ready", "created_at": desk.now, "goal_mode": 1,
        "consecutive_failures": 0, "block_recurrences": 0, "started_at": None, **dict.fromkeys(FREE),
    }  # fmt: skip
    assert {name: row[name] for name in expected} == expected
    assert json.loads(row["skills"]) == ["x", "y"]
    payload = {
        "assignee": "ann", "status": "ready", "parents": [], "tenant": "t1", "branch_name": "b",
        "skills": ["x", "y"], "goal_mode": True,
    }  # fmt: skip
    assert desk.events(task_id) == [("created", payload, None)]


@pytest.mark.parametrize(
    ("parent_status", "fields", "status"),
    [
        ("ready", {}, "todo"),
        ("archived", {}, "ready"),
        ("done", {}, "ready"),
        ("ready", {"triage": True}, "triage"),
        ("ready", {"initial_status": "blocked"}, "blocked"),
    ],
)
def test_a_new_task_waits_for_its_parents(desk, parent_status: str, fields: dict, status: str) -> None:
    parent = desk.create()
    desk.put(parent, status=parent_status)
    task_id = desk.create(parents=(parent,), **fields)
    assert desk.row(task_id)["status"] == status
    assert desk.rows("SELECT * FROM task_links") == [{"parent_id": parent, "child_id": task_id}]
    assert desk.events(task_id)[0][1]["parents"] == [parent]


def test_a_task_created_blocked_stays_so_even_for_the_host(desk, host) -> None:
    task_id = desk.create(initial_status="blocked", created_by="boss")
    payload = {"reason": "created blocked", "kind": None, "recurrences": 0, "actor": "boss"}
    assert desk.last_event(task_id) == ("blocked", payload, None)
    host(
        "import sys; from pathlib import Path; from hermes_cli import kanban_db as kb\n"
        "with kb.connect_closing(Path(sys.argv[1])) as board: kb.recompute_ready(board)",
        desk.board.path,
    )
    desk.board.promote()
    assert desk.row(task_id)["status"] == "blocked"


def test_an_unknown_parent_adds_nothing(desk) -> None:
    known = desk.create()
    before = desk.dump()
    with pytest.raises(InvalidArgument, match=r"unknown parent task\(s\): t_00000000"):
        desk.create(parents=(known, "t_00000000"))
    assert desk.dump() == before


def test_a_key_names_one_task_until_that_is_archived(desk) -> None:
    first = desk.create(idempotency_key="k")
    before = desk.dump()
    assert desk.create(title="other", idempotency_key="k") == first
    assert desk.dump() == before
    desk.put(first, status="archived")
    assert desk.create(idempotency_key="k") != first


def test_eight_processes_with_one_key_create_one_task(desk, spawn) -> None:
    creators = [spawn("twin_creator.py", desk.board.path, "the-key") for _ in range(8)]
    for creator in creators:
        assert creator.stdout.readline() == "waiting\n"
    for creator in creators:
        creator.stdin.write("go\n")
        creator.stdin.flush()
    ids = {creator.communicate()[0].strip() for creator in creators}
    assert ids == {task.id for task in desk.board.tasks()}
    assert len(ids) == 1


def test_a_link_sends_a_ready_child_back_to_wait(desk) -> None:
    parent, child = desk.create(), desk.create()
    desk.board.link(parent, child)
    assert desk.row(child)["status"] == "todo"
    assert desk.last_event(child) == ("linked", {"parent": parent, "child": child}, None)
    desk.board.link(parent, child)
    assert desk.rows("SELECT count(*) AS links FROM task_links") == [{"links": 1}]


def test_a_link_leaves_a_running_child_and_a_child_of_a_finished_parent_alone(desk) -> None:
    parent, finished = desk.create(), desk.create()
    desk.board.complete(finished, Handoff("done"), "ann")
    running, ready = desk.claimed(), desk.create()
    desk.board.link(parent, running.task_id)
    desk.board.link(finished, ready)
    assert (desk.row(running.task_id)["status"], desk.row(ready)["status"]) == ("running", "ready")


@pytest.mark.parametrize("length", [1, 2, 3])
def test_a_link_that_closes_a_circle_is_refused(desk, length: int) -> None:
    chain = [desk.create() for _ in range(length)]
    for parent, child in itertools.pairwise(chain):
        desk.board.link(parent, child)
    before = desk.dump()
    with pytest.raises(InvalidArgument, match="wait for itself"):
        desk.board.link(chain[-1], chain[0])
    assert desk.dump() == before


@pytest.mark.parametrize("missing", ["parent", "child"])
def test_a_link_to_nothing_is_refused(desk, missing: str) -> None:
    task_id = desk.create()
    before = desk.dump()
    with pytest.raises(UnknownTask, match="t_00000000"):
        desk.board.link(*(("t_00000000", task_id) if missing == "parent" else (task_id, "t_00000000")))
    assert desk.dump() == before


def test_completing_a_running_task_by_hand_closes_its_run_and_names_who_did_it(desk) -> None:
    lease = desk.claimed()
    desk.put(lease.task_id, consecutive_failures=1, last_failure_error="x", block_kind="transient", block_recurrences=1)
    child = desk.create(parents=(lease.task_id,))
    assert desk.board.complete(lease.task_id, Handoff("by hand", "r", {"a": 1}), "ann") == [child]
    row = desk.row(lease.task_id)
    assert [row[name] for name in FREE] == [None] * 4
    assert (row["status"], row["result"], row["completed_at"]) == ("done", "r", desk.now)
    counters = ("consecutive_failures", "last_failure_error", "block_kind", "block_recurrences")
    assert [row[name] for name in counters] == [0, None, None, 0]
    run = desk.run(lease.run_id)
    assert (run["status"], run["outcome"], run["ended_at"]) == ("done", "completed", desk.now)
    assert (run["summary"], json.loads(run["metadata"]), run["claim_lock"]) == ("by hand", {"a": 1}, None)
    completed = {"result_len": 1, "summary": "by hand", "actor": "ann"}
    takeover = {"manual": True, "reason": "completed by ann", "prev_lock": lease.lock, "actor": "ann"}
    assert desk.events(lease.task_id)[-2:] == [
        ("completed", completed, lease.run_id),
        ("reclaimed", takeover, lease.run_id),
    ]
    assert violations(desk.board.path) == []


@pytest.mark.parametrize("status", ["ready", "blocked"])
def test_completing_a_task_without_a_run_keeps_the_hand_off_in_a_run_of_no_length(desk, status: str) -> None:
    task_id = desk.create()
    desk.put(task_id, status=status)
    desk.board.complete(task_id, Handoff(result="r"), "ann")
    (run,) = desk.runs(task_id)
    assert (run["status"], run["outcome"], run["summary"], run["profile"]) == ("completed", "completed", "r", "worker")
    assert run["started_at"] == run["ended_at"] == desk.now
    payload = {"result_len": 1, "summary": "r", "actor": "ann"}
    assert desk.last_event(task_id) == ("completed", payload, run["id"])


def test_completing_with_nothing_to_keep_adds_no_run(desk) -> None:
    task_id = desk.create()
    desk.board.complete(task_id, Handoff(), "ann")
    assert desk.runs(task_id) == []
    assert desk.last_event(task_id) == ("completed", {"result_len": 0, "summary": None, "actor": "ann"}, None)


@pytest.mark.parametrize("running", [True, False])
@pytest.mark.parametrize("kind", ["needs_input", None])
def test_blocking_by_hand_names_who_did_it(desk, kind: str | None, running: bool) -> None:
    task_id = desk.create()
    if running:
        desk.claim(task_id)
    assert desk.board.block(task_id, "wait", kind, "ann") == "blocked"
    row = desk.row(task_id)
    assert [row[name] for name in FREE] == [None] * 4
    assert (row["status"], row["block_kind"], row["block_recurrences"]) == ("blocked", kind, 1)
    (run,) = desk.runs(task_id)
    assert (run["status"], run["outcome"], run["summary"], run["ended_at"]) == ("blocked", "blocked", "wait", desk.now)
    payload = {"reason": "wait", "kind": kind, "recurrences": 1, "actor": "ann"}
    assert desk.last_event(task_id) == ("blocked", payload, run["id"])


def test_blocking_by_hand_follows_the_same_routes(desk) -> None:
    parent, waiting, looping = desk.create(), desk.create(), desk.create()
    desk.board.link(parent, waiting)
    desk.put(waiting, status="ready")
    assert desk.board.block(waiting, None, "dependency", "ann") == "todo"
    payload = {"reason": None, "kind": "dependency", "actor": "ann"}
    assert desk.last_event(waiting) == ("dependency_wait", payload, None)
    desk.board.block(looping, "one", None, "ann")
    desk.board.unblock(looping, "ann")
    assert desk.board.block(looping, "two", None, "ann") == "triage"
    assert desk.last_event(looping)[0] == "block_loop_detected"


@pytest.mark.parametrize("status", ["blocked", "scheduled"])
@pytest.mark.parametrize(("parent_status", "landed"), [("ready", "todo"), ("done", "ready"), ("archived", "ready")])
def test_unblocking_gives_a_fresh_start(desk, status: str, parent_status: str, landed: str) -> None:
    parent = desk.create()
    task_id = desk.create(parents=(parent,))
    desk.put(parent, status=parent_status)
    desk.put(task_id, status=status, consecutive_failures=2, last_failure_error="x", block_kind="transient")
    desk.put(task_id, block_recurrences=1)
    assert desk.board.unblock(task_id, "ann") == landed
    names = ("status", "consecutive_failures", "last_failure_error", "block_kind", "block_recurrences")
    assert desk.columns(task_id, *names) == (landed, 0, None, "transient", 1)
    payload = {"actor": "ann"} | ({"status": "todo"} if landed == "todo" else {})
    assert desk.last_event(task_id) == ("unblocked", payload, None)


def test_unblocking_closes_a_run_and_a_claim_that_were_left_behind(desk) -> None:
    lease = desk.claimed()
    desk.put(lease.task_id, status="blocked")
    desk.board.unblock(lease.task_id, "ann")
    assert desk.columns(lease.task_id, "status", *FREE) == ("ready", None, None, None, None)
    run = desk.run(lease.run_id)
    assert (run["status"], run["outcome"], run["ended_at"]) == ("reclaimed", "reclaimed", desk.now)
    assert violations(desk.board.path) == []


def test_reclaiming_gives_the_task_back_with_a_fresh_count(desk) -> None:
    lease = desk.claimed()
    desk.put(lease.task_id, consecutive_failures=1, last_failure_error="x")
    assert desk.board.reclaim(desk.board.task(lease.task_id), "stuck", "ann") == "ready"
    names = ("status", "consecutive_failures", "last_failure_error", *FREE)
    assert desk.columns(lease.task_id, *names) == ("ready", 0, None, None, None, None, None)
    run = desk.run(lease.run_id)
    assert (run["status"], run["outcome"], run["error"]) == ("reclaimed", "reclaimed", "stuck")
    payload = {"manual": True, "reason": "stuck", "prev_lock": lease.lock, "actor": "ann"}
    assert desk.last_event(lease.task_id) == ("reclaimed", payload, lease.run_id)


@pytest.mark.parametrize("status", ["ready", "blocked"])
def test_reclaiming_clears_a_claim_that_was_left_behind(desk, status: str) -> None:
    task_id = desk.create()
    desk.put(task_id, status=status, claim_lock="box:1", claim_expires=5, worker_pid=6)
    assert desk.board.reclaim(desk.board.task(task_id), None, "ann") == status
    assert desk.columns(task_id, "status", *FREE) == (status, None, None, None, None)


@pytest.mark.parametrize("verb", ["reclaim", "complete", "block"])
def test_a_move_is_refused_when_the_task_is_not_what_was_shown(desk, verb: str) -> None:
    first = desk.claimed()
    seen = Seen.of(desk.row(first.task_id))
    desk.board.reclaim(desk.board.task(first.task_id), None, "bob")
    desk.claim(first.task_id)
    before = desk.dump()
    do = {
        "reclaim": lambda: moves.reclaim(desk.writer, first.task_id, None, "ann", desk.now, seen),
        "complete": lambda: moves.complete(desk.writer, first.task_id, Handoff("x"), "ann", desk.now, seen),
        "block": lambda: moves.block(desk.writer, first.task_id, "x", None, "ann", desk.now, seen),
    }
    with pytest.raises(ChangedMeanwhile, match="changed meanwhile"):
        do[verb]()
    assert desk.dump() == before


def test_a_comment_is_kept_with_its_author(desk) -> None:
    task_id = desk.create()
    number = desk.board.comment(task_id, "ann", "hello")
    expected = {"id": number, "task_id": task_id, "author": "ann", "body": "hello", "created_at": desk.now}
    assert desk.rows("SELECT * FROM task_comments") == [expected]
    assert desk.last_event(task_id) == ("commented", {"author": "ann", "len": 5}, None)
