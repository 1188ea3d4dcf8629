"""``--dry-run`` and ``--json`` of every verb that changes a task: it says what would happen and changes no byte."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from hermes_kanban_plugin import open_board


def bytes_of(folder: Path) -> dict[str, str]:
    """Every file of a home as a hash, but the index of the log, which a reader writes too."""
    files = [path for path in folder.rglob("*") if path.is_file() and not path.name.endswith("-shm")]
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.fixture
def tasks(command) -> dict[str, str]:
    """A task in each of the places from which the verbs work."""
    ids = {name: command.create(name, "--assignee", "nobody") for name in ("ready", "second", "claimed", "blocked")}
    command.ok("claim", ids["claimed"])
    command.ok("block", ids["blocked"], "which colour?")
    return ids


VERBS = {
    "create": (["create", "one more"], "would create"),
    "init": (["init"], "exists already"),
    "link": (["link", "{second}", "{ready}"], "would link"),
    "claim": (["claim", "{ready}"], "would claim"),
    "heartbeat": (["heartbeat", "{claimed}", "--note", "half"], "would heartbeat"),
    "complete": (["complete", "{claimed}", "{ready}", "--result", "x"], "would complete"),
    "block": (["block", "{ready}", "wait", "--ids", "{second}"], "would block"),
    "unblock": (["unblock", "{blocked}", "--reason", "blue"], "would have unblocked"),
    "schedule": (["schedule", "{ready}", "--in", "1h"], "would schedule"),
    "reclaim": (["reclaim", "{claimed}"], "would reclaim"),
    "stop": (["stop", "{claimed}"], "would stop"),
    "cancel": (["cancel", "{ready}"], "would cancel"),
    "edit": (["edit", "{blocked}", "--reset-failures"], "would be"),
    "pause": (["pause", "--reason", "lunch"], "would"),
}


@pytest.mark.parametrize("verb", VERBS)
def test_a_dry_run_changes_no_byte_and_says_what_would_happen(command, tasks, verb: str) -> None:
    words = [word.format(**tasks) for word in VERBS[verb][0]]
    before = bytes_of(command.home)
    said = command.ok(*words, "--dry-run").out
    assert VERBS[verb][1] in said
    tried = command.ok(*words, "--dry-run", "--json").json
    assert bytes_of(command.home) == before
    done = command.ok(*words, "--json").json
    assert isinstance(done, (dict, list))
    if verb != "init":
        assert bytes_of(command.home) != before
    for one, other in zip(*([x] if isinstance(x, dict) else x for x in (tried, done)), strict=True):
        assert one.keys() == other.keys()
        assert one.get("status") == other.get("status")
        assert (one.get("dry_run", True), other.get("dry_run", False)) == (True, False)


def test_a_dry_run_refuses_what_the_verb_would_refuse(command, tasks) -> None:
    before = bytes_of(command.home)
    command("complete", tasks["ready"], tasks["ready"], "t_unknown", "--dry-run").refused(2, "t_unknown")
    command("claim", tasks["claimed"], "--dry-run").refused(2, "a ready task")
    command("link", tasks["ready"], tasks["ready"], "--dry-run").refused(2, "wait for itself")
    command("schedule", tasks["claimed"], "--in", "1h", "--dry-run").refused(2, "is running")
    assert bytes_of(command.home) == before


def test_a_dry_run_of_a_board_that_is_not_there(command) -> None:
    assert command.ok("init", "--dry-run").out.startswith("would create board default")
    assert not command.board.exists()


def test_a_dry_run_of_a_completion_copies_no_file_and_removes_none(command) -> None:
    task_id = command.create("write", "--assignee", "nobody")
    command.ok("claim", task_id)
    workspace = command.home / "kanban" / "workspaces" / task_id
    workspace.mkdir(parents=True)
    (workspace / "report.md").write_text("x")
    with open_board() as board:
        board.writer.execute("UPDATE tasks SET workspace_path = ? WHERE id = ?", (str(workspace), task_id))
    before = bytes_of(command.home)
    command.ok("complete", task_id, "--summary", "done", "--artifact", str(workspace / "report.md"), "--dry-run")
    assert bytes_of(command.home) == before
    missing = ["--artifact", str(workspace / "missing.md"), "--dry-run"]
    command("complete", task_id, "--summary", "done", *missing).refused(1, "missing.md")
    command.ok("complete", task_id, "--summary", "done", "--artifact", str(workspace / "report.md"))
    assert (command.home / "kanban" / "attachments" / task_id / "report.md").read_text() == "x"
    assert not workspace.exists()
