"""why and diagnostics: one answer per task, one line per fault, in eighty columns, without touching the board."""

from __future__ import annotations

import sqlite3
from contextlib import closing


def test_why_says_one_reason_and_the_next_event(command) -> None:
    command.ok("init")
    task_id = command.create("Count the words", "--assignee", "ghost")
    answer = command.ok("why", task_id)
    lines = answer.out.splitlines()
    assert lines[0] == f"{task_id} ready Count the words"
    assert lines[1].startswith("why      its assignee 'ghost' is neither a profile nor a lane")
    assert lines[-1] == f"         hermes kanban assign {task_id} <PROFILE>"
    said = command.ok("why", task_id, "--json").json
    assert (said["task_id"], said["code"], said["next"]["by"]) == (task_id, "assignee_not_found", "person")


def test_why_of_a_task_that_does_not_exist(command) -> None:
    command.ok("init")
    command("why", "t_nowhere").refused(2, "unknown task 't_nowhere'", "hermes-kanban list")
    command("--board", "nosuch", "why", "t_1").refused(2, "board 'nosuch' does not exist")


def test_a_command_for_another_board_names_it(command) -> None:
    command.ok("--board", "side", "init")
    task_id = command.ok("--board", "side", "create", "there", "--initial-status", "blocked", "--json").json["id"]
    said = command.ok("--board", "side", "why", task_id, "--json").json
    assert said["next"]["command"] == f"hermes-kanban --board side unblock {task_id}"
    fixes = [one["fix"] for one in command("--board", "side", "diagnostics", "--json").json["findings"]]
    assert all("--board side" in fix for fix in fixes if fix and fix.startswith("hermes"))
    command.ok("init")
    assert "--board" not in command("diagnostics").out


def test_diagnostics_says_what_is_wrong_and_its_status_counts_what_holds_work_up(command) -> None:
    command.ok("init")
    answer = command("diagnostics")
    assert (answer.status, answer.err) == (0, "")
    task_id = command.create("waits", "--assignee", "ghost")
    other = command.create("waits too", "--initial-status", "blocked")
    answer = command("diagnostics")
    assert answer.status == 1
    levels = [line.split(" ")[0] for line in answer.out.splitlines() if not line.startswith(" ")]
    assert levels[:2] == ["critical", "error"]
    assert command("diagnostics", "--severity", "error").out.count("\nwarning") == 0
    said = command("diagnostics", "--task", task_id, "--json").json
    assert [one["kind"] for one in said["findings"]] == ["assignee_profile_not_found"]
    answer = command("diagnostics", "--task", other)
    assert (answer.status, answer.out) == (0, "nothing is wrong\n")
    command("diagnostics", "--task", "t_nowhere").refused(2, "unknown task")


def test_nothing_is_wider_than_the_terminal_but_commands(command) -> None:
    command.ok("init")
    parent = command.create("x" * 200, "--initial-status", "blocked")
    child = command.create("waits", "--parent", parent)
    outputs = [command(*words, COLUMNS="80").out for words in (["diagnostics"], ["why", child], ["doctor"])]
    for line in "".join(outputs).splitlines():
        assert len(line) <= 80 or line.startswith("         hermes"), line


def test_doctor_names_what_is_wrong_on_the_boards_too(command) -> None:
    command.ok("init")
    task_id = command.create("waits", "--assignee", "ghost")
    command.ok("--board", "side", "init")
    command.ok("--board", "side", "create", "there", "--assignee", "ghost")
    kinds = [one["kind"] for one in command("doctor", "--json").json["findings"]]
    assert kinds.count("assignee_profile_not_found") == 2
    assert kinds.count("dispatcher_silent") == 1
    alone = command("--board", "default", "doctor", "--json").json["findings"]
    assert [one["task_id"] for one in alone if one["kind"] == "assignee_profile_not_found"] == [task_id]
    assert f"hermes kanban assign {task_id} <PROFILE>" in command("doctor").out


def test_a_board_without_our_tables_is_answered_and_left_as_it_is(command) -> None:
    command.ok("init")
    task_id = command.create("waits", "--assignee", "ghost")
    with closing(sqlite3.connect(command.board, isolation_level=None)) as board:
        names = [row[0] for row in board.execute("SELECT name FROM sqlite_master WHERE name LIKE 'kp_%'")]
        for name in names:
            board.execute(f"DROP TABLE {name}")
        board.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    before = command.board.read_bytes()
    assert command.ok("why", task_id, "--json").json["code"] == "assignee_not_found"
    assert command("diagnostics").status == 1
    assert command.board.read_bytes() == before


def test_a_printed_line_of_the_worker_is_shown(command) -> None:
    command.ok("init")
    (command.home / "config.yaml").write_text(
        'plugins: {entries: {hermes-kanban: {lanes: {loud: {command: ["sh", "-c", "echo no such table; exit 3"]}}}}}\n'
    )
    task_id = command.create("fails", "--assignee", "loud", "--max-retries", "1")
    command.ok("dispatch")
    for _ in range(200):
        answer = command.ok("why", task_id)
        if "blocked" in answer.out.splitlines()[0] and "printed" in answer.out:
            break
    said = " ".join(answer.out.split())
    assert "ended with status 3" in said
    assert "printed no such table" in said


def test_the_list_says_why_each_task_does_not_run(command) -> None:
    lost, parent = command.create("lost", "--assignee", "nobody-known"), command.create("parent", "--assignee", "@me")
    child, nobody = command.create("child", "--parent", parent), command.create("for nobody")
    shown = {line.split()[0]: line for line in command.ok("list", "--why").out.splitlines()}
    assert "'nobody-known' is neither a profile nor a lane" in shown[lost]
    assert "'@me' is neither a profile nor a lane" in shown[parent]
    assert parent in shown[child].split("child")[1]
    assert "no assignee" in shown[nobody]
    found = {task["id"]: task["why"] for task in command.ok("list", "--why", "--json").json}
    assert set(found) == {lost, parent, child, nobody}
    assert "why" not in command.ok("list", "--json").json[0]
