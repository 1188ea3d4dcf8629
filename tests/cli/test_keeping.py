"""gc, backup, restore, export, pause, resume, stats and completion as people type them."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
from contextlib import closing

import pytest

from hermes_kanban_plugin import locations, open_board
from hermes_kanban_plugin.locks import FileLock
from hermes_kanban_plugin.store.outcomes import Handoff

DAY = 86_400


def titles(command) -> list[str]:
    return sorted(task["title"] for task in command.ok("list", "--json").json)


def age(command, days: int) -> None:
    """Let everything on the board have happened some days ago."""
    with closing(sqlite3.connect(command.board, isolation_level=None)) as other:
        other.execute("UPDATE task_events SET created_at = created_at - ?", (days * DAY,))


def finished(command, title: str) -> str:
    task_id = command.add(title)
    with open_board() as board:
        board.complete(task_id, Handoff(summary="done"), "me")
    return task_id


# --- gc ------------------------------------------------------------------------------------------------------------


def test_gc_says_first_and_does_then(command) -> None:
    task_id = finished(command, "old")
    age(command, 31)

    said = command.ok("gc", "--dry-run").out
    assert "would remove 2 items (events 30, logs 30, runs 90 days)" in said
    assert "history of finished tasks" in said
    assert len(command.ok("events", task_id, "--json").out.splitlines()) == 2
    done = command.ok("gc", "--json").json

    assert [heap["items"] for heap in done[0]["heaps"] if heap["items"]] == [2]
    assert command.ok("events", task_id, "--json").out == ""
    assert "removed 0 items" in command.ok("gc").out


@pytest.mark.parametrize("days", ["-1", "0", "3651", "99999999999999999999"])
@pytest.mark.parametrize("flag", ["--events-days", "--logs-days", "--runs-days"])
def test_gc_refuses_impossible_days(command, flag: str, days: str) -> None:
    finished(command, "old")
    age(command, 5000)
    before = command.state(command.ok("list", "--json").json[0]["id"])

    for more in ([], ["--dry-run"], ["--all"]):
        command("gc", flag, days, *more).refused(2, flag, days, "nothing was removed")

    assert command.state(command.ok("list", "--json").json[0]["id"]) == before


@pytest.mark.parametrize("days", ["", "soon", "1.5", "1e3"])
def test_gc_refuses_what_is_no_number(command, days: str) -> None:
    command.add("x")
    command("gc", "--events-days", days).refused(2, "--events-days")


# --- backup and restore --------------------------------------------------------------------------------------------


def test_a_board_goes_through_backup_and_restore(command, tmp_path) -> None:
    command.add("kept")
    path = tmp_path / "kept.db"
    assert f"wrote {path}" in command.ok("backup", str(path)).out
    command.add("lost")

    said = command.ok("restore", str(path), "--dry-run").out
    assert "would restore board default as of" in said
    assert titles(command) == ["kept", "lost"]
    done = command.ok("restore", str(path), "--json").json

    assert titles(command) == ["kept"]
    (restored,) = done
    assert (restored["tasks"], restored["tasks_before"]) == (1, 2)
    command.ok("restore", restored["replaced"])
    assert titles(command) == ["kept", "lost"]


def test_backups_get_a_name_and_only_the_newest_are_kept(command) -> None:
    command.add("x")
    taken = [command.ok("backup", "--keep", "2", "--json").json for _ in range(3)]

    folder = command.home / "kanban" / "backups"
    assert sorted(str(path) for path in folder.iterdir()) == sorted(one["snapshots"][0]["path"] for one in taken[1:])
    assert taken[2]["removed"] == [taken[0]["snapshots"][0]["path"]]
    before = sorted(command.home.rglob("*.db"))
    for number in ("0", "-1"):
        command("backup", "--keep", number).refused(2, "--keep")
        command("backup", "--keep", number, "--dry-run").refused(2, "--keep")
    assert sorted(command.home.rglob("*.db")) == before
    command("backup", str(command.home / "one.db"), "--keep", "1").refused(2, "folder")
    assert not (command.home / "one.db").exists()


def test_a_dry_backup_writes_nothing(command) -> None:
    command.add("x")
    assert "would write" in command.ok("backup", "--dry-run").out
    assert not (command.home / "kanban" / "backups").exists()


def test_all_boards_go_into_a_folder_and_come_back_from_it(command, tmp_path) -> None:
    command.add("on default")
    command.ok("--board", "research", "init")
    command.ok("--board", "research", "create", "on research")
    folder = tmp_path / "safe"
    command.ok("backup", str(folder), "--all")
    command.ok("backup", str(folder), "--all")
    command.ok("create", "later")
    command.ok("--board", "research", "create", "later")

    done = command.ok("restore", str(folder), "--json").json

    assert sorted(one["board"] for one in done) == ["default", "research"]
    assert titles(command) == ["on default"]
    assert [task["title"] for task in command.ok("--board", "research", "list", "--json").json] == ["on research"]
    assert len(list(folder.iterdir())) == 4


def test_a_snapshot_goes_to_another_board_when_it_is_named(command, tmp_path) -> None:
    command.add("kept")
    path = tmp_path / "kept.db"
    command.ok("backup", str(path))

    command.ok("--board", "copy", "restore", str(path))

    assert [task["title"] for task in command.ok("--board", "copy", "list", "--json").json] == ["kept"]


def test_restore_refuses_while_somebody_serves_and_goes_on_with_force(command, tmp_path) -> None:
    command.add("kept")
    path = tmp_path / "kept.db"
    command.ok("backup", str(path))
    command.add("later")
    lock = FileLock(locations.dispatcher_lock(command.home))
    assert lock.acquire()
    try:
        command("restore", str(path)).refused(2, "in use", "serves this home", "--force")
        assert titles(command) == ["kept", "later"]
        said = command.ok("restore", str(path), "--dry-run").out
        assert "in use: a dispatcher or gateway serves this home" in said
        forced = command.ok("restore", str(path), "--force").out
    finally:
        lock.release()

    assert "overruled: a dispatcher or gateway serves this home" in forced
    assert titles(command) == ["kept"]


def test_what_cannot_be_restored_is_one_line(command, tmp_path) -> None:
    command.add("x")
    (tmp_path / "text").write_text("text")
    (tmp_path / "folder").mkdir()
    command("restore", str(tmp_path / "missing.db")).refused(2, "there is no snapshot at")
    command("restore", str(tmp_path / "text")).refused(1, "is no snapshot of a board", "not a database")
    command("restore", str(tmp_path / "folder")).refused(2, "holds no snapshot")
    command("backup", str(tmp_path / "text")).refused(2, "exists already")
    command("backup", str(command.board)).refused(2, "exists already")


def test_one_file_for_several_boards_is_refused(command, tmp_path) -> None:
    command.add("x")
    command.ok("--board", "research", "init")
    command.ok("backup", str(tmp_path / "safe"), "--all")

    answer = command("restore", str(tmp_path / "safe"), HERMES_KANBAN_DB=str(command.board))

    answer.refused(2, "HERMES_KANBAN_DB")


# --- export --------------------------------------------------------------------------------------------------------


def test_export_prints_or_writes_the_same_lines(command, tmp_path) -> None:
    command.add("x")
    printed = command.ok("export").out
    path = tmp_path / "board.jsonl"

    assert "exported 3 lines" in command.ok("export", str(path)).out
    first, *rest = [json.loads(line) for line in path.read_text().splitlines()]
    assert first["record"] == "board"
    assert [json.loads(line) for line in printed.splitlines()][1:] == rest
    command("export", str(path)).refused(2, "exists already")
    command("export", str(command.board)).refused(2, "exists already")


# --- pause, resume, stats ------------------------------------------------------------------------------------------


def test_a_paused_board_starts_nothing_until_it_is_resumed(command) -> None:
    command.configure({"lane": ["true"]})
    task_id = command.create("x", "--assignee", "lane")

    assert "board default: paused; 0 running go on" in command.ok("pause", "--reason", "deploy").out
    assert command.ok("dispatch", "--json").json["started"] == []
    command("claim", task_id).refused(2, "paused")
    assert "board default: resumed" in command.ok("resume").out
    assert [one["task_id"] for one in command.ok("dispatch", "--json").json["started"]] == [task_id]


def test_pausing_says_what_it_does_for_each_board(command) -> None:
    command.add("x")
    command.ok("--board", "research", "init")

    both = command.ok("pause", "--all", "--json").json
    assert [(one["board"], one["paused"], one["changed"]) for one in both] == [
        ("default", True, True),
        ("research", True, True),
    ]
    one = command.ok("resume", "research", "--json").json
    assert [(each["board"], each["changed"]) for each in one] == [("research", True)]
    assert "board research: was not paused" in command.ok("resume", "research").out
    assert "would be paused still" in command.ok("pause", "--dry-run").out
    command("pause", "nowhere").refused(2, "nowhere", "does not exist")
    command("pause", "research", "--all").refused(2, "--all")


def test_stats_prints_what_it_counts(command) -> None:
    finished(command, "done")
    command.add("waits")

    text = command.ok("stats").out
    found = command.ok("stats", "--json").json

    assert [window["completed"] for window in found["windows"]] == [1, 1]
    assert found["columns"][0]["cards"] == 1
    assert "tasks completed          1         1" in text
    assert max(len(line) for line in text.splitlines()) <= 80


# --- completion ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shell", ["bash", "fish", "zsh"])
def test_a_script_knows_every_verb_and_its_flags(command, shell: str) -> None:
    script = command.ok("completion", shell).out

    for word in ("reclaim", "backup", "events-days", "no-attachments", "needs_input"):
        assert word in script


def test_bash_completes_verbs_flags_and_values(command, tmp_path) -> None:
    bash = shutil.which("bash")
    if bash is None:
        pytest.skip("no bash here")
    script = tmp_path / "completion"
    script.write_text(command.ok("completion", "bash").out)

    def complete(*words: str) -> set[str]:
        line = " ".join(f"'{word}'" for word in words)
        ask = f"""
            source {script}
            COMP_WORDS=({line}); COMP_CWORD={len(words) - 1}; COMP_LINE="${{COMP_WORDS[*]}}"; COMP_POINT=${{#COMP_LINE}}
            $(complete -p hermes-kanban | grep -o -- '-F [^ ]*' | cut -c4-)
            printf '%s\\n' "${{COMPREPLY[@]}}" """
        done = subprocess.run([bash, "--norc", "-c", ask], capture_output=True, text=True, check=True, cwd=tmp_path,
                              env={"PATH": os.environ["PATH"]})  # fmt: skip
        return {word.strip() for word in done.stdout.splitlines()}

    assert complete("hermes-kanban", "pau") == {"pause"}
    assert {"restore", "resume"} <= complete("hermes-kanban", "res")
    assert "--keep" in complete("hermes-kanban", "backup", "--k")
    assert complete("hermes-kanban", "completion", "") == {"bash", "fish", "zsh"}
    (tmp_path / "kept.db").write_text("")
    assert "kept.db" in complete("hermes-kanban", "restore", "kep")
