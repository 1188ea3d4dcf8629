"""Every verb once, as a process: what it prints, what it does, how it ends."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest


def test_the_installed_script_is_the_same_command(command) -> None:
    script = Path(sys.executable).with_name("hermes-kanban")
    done = subprocess.run([script, "--version"], capture_output=True, text=True, check=True)
    assert done.stdout == command.ok("--version").out
    assert done.stdout.startswith("hermes-kanban ")


def test_init_makes_a_board_once(command) -> None:
    first = command.ok("init", "--json").json
    assert first == {"board": "default", "path": str(command.board), "created": True, "dry_run": False}
    before = command.board.read_bytes()
    assert command.ok("init", "--json").json["created"] is False
    assert "exists already" in command.ok("init").out
    assert command.board.read_bytes() == before


def test_init_of_a_named_board(command) -> None:
    command.ok("--board", "Alpha", "init")
    assert (command.home / "kanban/boards/alpha/kanban.db").exists()
    assert command.ok("list", "--board", "alpha", "--json").json == []
    command("list").refused(2, "board 'default' does not exist", "init")


def test_create_shows_and_lists(command) -> None:
    parent = command.create("first")
    answer = command.ok(
        "create", "second", "--body", "all of it", "--assignee", "Ann", "--parent", parent, "--tenant", "acme",
        "--priority", "5", "--idempotency-key", "k1", "--max-runtime", "30m", "--created-by", "me", "--skill", "one",
        "--skill", "two", "--max-retries", "3", "--goal", "--goal-max-turns", "4", "--workspace", "dir:/tmp/x",
        "--json",
    )  # fmt: skip
    task = answer.json
    expected = {
        "title": "second", "body": "all of it", "assignee": "ann", "status": "todo", "tenant": "acme", "priority": 5,
        "max_runtime_seconds": 1800, "created_by": "me", "skills": ["one", "two"], "max_retries": 3, "goal_mode": True,
        "goal_max_turns": 4, "workspace_kind": "dir", "workspace_path": "/tmp/x",
    }  # fmt: skip
    assert {name: task[name] for name in expected} == expected
    assert command.create("again", "--idempotency-key", "k1") == task["id"]
    shown = command.ok("show", task["id"], "--json").json
    assert shown["task"] == task
    assert (shown["parents"], shown["children"], shown["runs"]) == ([parent], [], [])
    assert [event["kind"] for event in shown["events"]] == ["created"]
    assert [row["id"] for row in command.ok("list", "--json").json] == [task["id"], parent]
    assert [row["id"] for row in command.ok("list", "--json", "--assignee", "ann").json] == [task["id"]]
    assert [row["id"] for row in command.ok("list", "--json", "--mine", HERMES_PROFILE="ann").json] == [task["id"]]
    assert [row["id"] for row in command.ok("list", "--json", "--status", "ready").json] == [parent]
    assert [row["id"] for row in command.ok("list", "--json", "--tenant", "acme").json] == [task["id"]]
    table = command.ok("list").out
    assert table.split()[:5] == ["id", "status", "assignee", "prio", "title"]
    assert "second" in table
    text = command.ok("show", task["id"]).out
    assert "all of it" in text
    assert f"waits for: {parent}" in text


@pytest.mark.parametrize(
    ("words", "status"), [([], "ready"), (["--triage"], "triage"), (["--initial-status", "blocked"], "blocked")]
)
def test_where_a_new_task_stands(command, words: list[str], status: str) -> None:
    assert command.ok("create", "x", *words, "--json").json["status"] == status


def test_an_empty_board_says_so(command) -> None:
    command.ok("init")
    assert command.ok("list").out == "no tasks\n"
    task_id = command.create("x")
    assert command.ok("runs", task_id).out == "no runs\n"
    assert command.ok("runs", task_id, "--json").json == []


def test_link_holds_the_child_back(command) -> None:
    parent, child = command.create("parent"), command.create("child")
    assert command.ok("link", parent, child).out == f"linked {parent} -> {child}\n"
    assert command.ok("show", child, "--json").json["task"]["status"] == "todo"
    command("link", child, parent).refused(2, "wait for itself")
    command("link", parent, "t_none").refused(2, "unknown task 't_none'")
    command.ok("complete", parent)
    assert command.ok("show", child, "--json").json["task"]["status"] == "ready"


def test_a_life_in_a_terminal(command) -> None:
    task_id = command.create("x")
    claimed = command.ok("claim", task_id)
    assert claimed.out.startswith(f"claimed {task_id} run 1, lease until ")
    command("claim", task_id).refused(2, f"could not claim {task_id}: it is running")
    assert task_id in command.ok("heartbeat", task_id, "--note", "half way").out
    command.ok("complete", task_id, "--summary", "all done", "--metadata", '{"files": 2}')
    shown = command.ok("show", task_id, "--json").json
    assert (shown["task"]["status"], shown["latest_summary"]) == ("done", "all done")
    (run,) = command.ok("runs", task_id, "--json").json
    assert (run["outcome"], run["lane"], run["metadata"]) == ("completed", "terminal", {"files": 2})
    command("complete", task_id).refused(2, "it is done")
    command("heartbeat", task_id).refused(2, "it is done")


def test_block_and_unblock(command) -> None:
    one, two = command.create("one"), command.create("two")
    command.ok("block", one, "need", "an", "answer", "--ids", two, "--kind", "needs_input")
    tasks = command.ok("list", "--json", "--status", "blocked").json
    assert {task["id"] for task in tasks} == {one, two}
    assert {task["block_kind"] for task in tasks} == {"needs_input"}
    assert command.ok("unblock", one, two, "--reason", "yes").out.splitlines() == [
        f"unblocked {one} ready",
        f"unblocked {two} ready",
    ]
    assert command.ok("show", one, "--json").json["comments"][0]["body"] == "yes"


def test_a_refused_unblock_leaves_no_comment(command) -> None:
    task_id = command.create("x")
    command("unblock", task_id, "--reason", "yes").refused(2, "it is ready")
    assert command.ok("show", task_id, "--json").json["comments"] == []


def test_complete_of_several_tasks(command) -> None:
    ids = [command.create("x"), command.create("y")]
    command("complete", *ids, "--summary", "both").refused(2, "take one task")
    command("complete", ids[0], "--metadata", "[1]").refused(2, "JSON object")
    command("complete", ids[0], "--metadata", "{").refused(2, "not JSON")
    command.ok("complete", *ids, "--result", "both")
    assert [task["result"] for task in command.ok("list", "--json").json] == ["both", "both"]


def test_reclaim_takes_a_task_back(command) -> None:
    task_id = command.create("x")
    command("reclaim", task_id).refused(2, "it is ready")
    command.ok("claim", task_id)
    assert command.ok("reclaim", task_id, "--reason", "went home").out == f"reclaimed {task_id} ready\n"
    (run,) = command.ok("runs", task_id, "--json").json
    assert (run["outcome"], run["error"]) == ("reclaimed", "went home")


def test_events_of_a_task_and_of_the_board(command) -> None:
    one, two = command.create("one"), command.create("two")
    lines = [line.split() for line in command.ok("events").out.splitlines()]
    assert [(line[0], line[3], line[4]) for line in lines] == [("1", one, "created"), ("2", two, "created")]
    answer = command.ok("events", two, "--json")
    assert answer.json["task_id"] == two  # one object on each line
    assert command.ok("events", "--after", "2").out == ""


def test_dispatch_without_work(command) -> None:
    command.ok("init")
    assert command.ok("dispatch").out == "board default: 0 running\n"
    report = command.ok("dispatch", "--json").json
    assert (report["board"], report["started"], report["running"]) == ("default", [], 0)
    assert command.ok("scan").out == "board default: 0 running\nscan: 0 rescued, 0 repaired\n"
    assert command.ok("scan", "--json").json == report


def test_dispatch_says_why_not(command) -> None:
    task_id = command.create("x", "--assignee", "nobody")
    assert f"not started {task_id} nobody to start for 'nobody'" in command.ok("dispatch").out
