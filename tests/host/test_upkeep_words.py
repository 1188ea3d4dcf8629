"""pause, resume, cancel, backup, restore, export in the real host's ``/kanban``; its own watch, stats and gc stay."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from hermes_kanban_plugin import open_board

pytestmark = [pytest.mark.host, pytest.mark.xdist_group("upkeep words")]

# The words are wrapped around the host's parser as register() does it in a chat.
SLASH = """
import json, sys
from hermes_cli import kanban
from hermes_kanban_plugin.host import kanban_words
kanban_words._registered = True
kanban_words.extend(kanban)
print(json.dumps([kanban.run_slash(line) for line in json.loads(sys.argv[1])]))
"""


def slash(home: Path, *lines: str) -> list[str]:
    return ask(SLASH, home, *lines)


def chat(home: Path, *lines: str) -> list[str]:
    return ask(CHAT, home, *lines)


def ask(program: str, home: Path, *lines: str) -> list[str]:
    (home / "managed").mkdir(exist_ok=True)
    environment = {**os.environ, "HERMES_DISABLE_LAZY_INSTALLS": "1", "HERMES_MANAGED_DIR": str(home / "managed")}
    done = subprocess.run([sys.executable, "-c", program, json.dumps(lines)], capture_output=True, text=True, cwd=home,
                          env=environment, timeout=120, check=False)  # fmt: skip
    assert done.returncode == 0, done.stderr
    answers: list[str] = json.loads(done.stdout.splitlines()[-1])
    return answers


def test_a_board_is_kept_from_a_chat(home: Path) -> None:
    with open_board(create=True) as board:
        kept, gone = board.create_task(title="kept", assignee="coder"), board.create_task(title="gone")
    snapshot, lines = home / "kept.db", home / "board.jsonl"

    paused, status, cancelled, backup, export, refused, resumed = slash(
        home, "pause --reason deploy", "status", f"cancel {gone}", f"backup {snapshot}", f"export {lines}", "export",
        "resume",
    )  # fmt: skip

    assert "board default: paused" in paused
    assert "paused by" in status
    assert f"cancelled {gone}" in cancelled
    assert "checked" in backup
    assert "exported" in export
    assert "name a file" in refused
    assert "board default: resumed" in resumed
    assert json.loads(lines.read_text().splitlines()[0])["record"] == "board"
    with open_board() as board:
        board.create_task(title="later")

    (restored,) = slash(home, f"restore {snapshot}")

    assert "restored board default" in restored
    with open_board() as board:
        assert {task.id: task.status for task in board.tasks(archived=True)} == {kept: "ready", gone: "archived"}


CHAT = """
import json, sys
from hermes_cli import plugins
manager = plugins.PluginManager()
context = plugins.PluginContext(plugins.PluginManifest(name="hermes-kanban"), manager)
from hermes_kanban_plugin.host import chat_command
chat_command.install(context)
import hermes_cli.commands
plugins._plugin_manager = manager
handler = manager._plugin_commands["hermes-kanban"]["handler"]
print(json.dumps([plugins.resolve_plugin_command_result(handler(line)) for line in json.loads(sys.argv[1])]))
"""


def test_a_chat_has_every_verb_that_ends_by_itself(home: Path) -> None:
    with open_board(create=True) as board:
        task_id = board.create_task(title="a task", assignee="nobody-known")

    status, bare, why, found, stats, gc, watch, refused, endless, torn, wrong = chat(
        home, "status", "", f"why {task_id}", "diagnostics", "stats", "gc --dry-run", "watch",
        "--board default dispatcher",
        "events --follow", "why 'x", "why t_00000000",
    )  # fmt: skip

    assert status.splitlines()[1:] == bare.splitlines()[1:]
    assert "never ran here" in status
    assert "nobody-known" in why
    assert "assignee_profile" in found or "nobody-known" in found
    assert "tasks created" in stats
    assert "would remove 0 items" in gc
    assert "a task" in watch
    assert "write in a shell: hermes-kanban --board default dispatcher" in refused
    assert "write in a shell" in endless
    assert "write it as in a shell" in torn
    assert "unknown task" in wrong
    assert "Traceback" not in "".join((status, why, found, stats, gc, watch, torn, wrong))


def test_a_chat_that_a_worker_started_does_not_speak_for_a_person(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with open_board(create=True) as board:
        own, other = (board.create_task(title=title, assignee="coder") for title in ("own", "other"))
    monkeypatch.setenv("HERMES_KANBAN_TASK", own)
    monkeypatch.setenv("HERMES_KANBAN_RUN_ID", "7")
    monkeypatch.setenv("HERMES_KANBAN_CLAIM_LOCK", "host:1:n0")

    for answer in chat(home, f"complete {own}", f"complete {other}"):
        assert answer.startswith("hermes-kanban: ")

    with open_board() as board:
        assert {task.status for task in board.tasks()} == {"ready"}


def test_the_hosts_own_words_stay_its_own(home: Path) -> None:
    with open_board(create=True) as board:
        board.create_task(title="x")

    stats, gc, watch = slash(home, "stats", "gc --event-retention-days 3000", "watch --help")

    assert "By status:" in stats
    assert "GC complete" in gc
    assert "--kinds" in watch
