"""doctor: what is wrong with the installation, each with its level and the command that mends it."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path
from typing import NamedTuple

import psutil
import pytest

import hermes_kanban_plugin
from hermes_kanban_plugin import locations
from hermes_kanban_plugin.diagnosis.finding import Finding, Level
from hermes_kanban_plugin.host import file_check, patch_targets
from hermes_kanban_plugin.installation import checks, start_file
from hermes_kanban_plugin.locks import FileLock

ENABLED = "plugins: {enabled: [hermes-kanban], entries: {hermes-kanban: {allow_tool_override: true}}}\n"


def found(kind: str) -> list[Finding]:
    return [one for one in checks.run(None) if one.kind == kind]


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_the_command_says_it_and_its_status_counts_problems_only(command) -> None:
    answer = command("doctor", "--json")
    assert (answer.status, answer.err) == (1, "")
    by_kind = {one["kind"]: one for one in answer.json["findings"]}
    assert by_kind["plugin_not_enabled"]["fix"] == "hermes-kanban setup"
    assert by_kind["dispatcher_silent"]["level"] == "error"
    levels = [one["level"] for one in answer.json["findings"]]
    assert levels == sorted(levels, key=["critical", "error", "warning", "info"].index)
    text = command("doctor").out
    assert "error    the root home does not load the plugin" in text
    assert "         hermes-kanban setup" in text
    assert list(command.home.iterdir()) == [], "looking changes nothing"


def test_a_gateway_without_us_is_named_and_not_only_ours_restarted(home: Path) -> None:
    """It may be the gateway of a profile that was made after setup; restarting another one changes nothing."""
    (one,) = found("dispatcher_silent")
    assert one.fix == "hermes gateway restart"
    lock = FileLock(locations.dispatcher_lock(home))
    assert lock.acquire()
    try:
        (one,) = found("dispatcher_silent")
    finally:
        lock.release()
    assert f"pid {os.getpid()}, a Hermes without us" in one.sentence
    assert one.fix is not None
    assert one.fix.startswith("hermes-kanban setup, then restart that gateway")


def test_every_home_is_looked_at(home: Path) -> None:
    write(home / "config.yaml", ENABLED)
    write(home / "profiles/new/config.yaml", "a: 1\n")
    write(home / "profiles/off/config.yaml", ENABLED.replace("enabled:", "disabled: [hermes-kanban], enabled:"))
    (home / "profiles/bare").mkdir()
    assert [one.evidence["profile"] for one in found("plugin_not_enabled")] == ["bare", "new", "off"]
    write(home / "profiles/no/config.yaml", ENABLED.replace("true", "false"))
    (one,) = found("tool_override_missing")
    assert (one.evidence["profile"], one.level) == ("no", Level.ERROR)
    write(home / "profiles/no/config.yaml", "a: [")
    (one,) = found("config_unreadable")
    assert "not valid YAML" in one.sentence
    (home / "profiles/no/config.yaml").unlink()
    (home / "profiles/no/config.yaml").mkdir()
    (one,) = found("config_unreadable")
    assert one.sentence.count("config.yaml") == 1


def test_settings_that_cannot_be(home: Path) -> None:
    write(home / "config.yaml", ENABLED.replace("allow_tool", "leese_seconds: 1, allow_tool"))
    (one,) = found("settings_invalid")
    assert "did you mean 'lease_seconds'" in one.sentence
    write(
        home / "config.yaml",
        ENABLED.replace("allow_tool", "guard_file_check: off, allow_tool") + "kanban: {max_spawn: x}\n",
    )
    assert [one.evidence for one in found("switched_off")] == [{"key": "guard_file_check"}]
    (one,) = found("settings_ignored")
    assert "max_spawn: 'x'" in one.sentence


def test_shell_words_and_the_host(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    environment = start_file.Environment(tmp_path, None, None)
    monkeypatch.setattr(start_file, "find", lambda: environment)
    (one,) = found("shell_words_missing")
    assert (one.level, one.fix) == (Level.WARNING, "hermes-kanban setup")
    (tmp_path / start_file.NAME).write_text(start_file.line_for(environment))
    assert found("shell_words_missing") == []
    monkeypatch.setattr(start_file, "runs_the_host", lambda: False)
    assert [one.level for one in found("host_missing")] == [Level.INFO]


def test_a_home_that_does_not_find_the_folder(home: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    clone = tmp_path / "clone"
    clone.mkdir()
    monkeypatch.setattr(start_file, "find", lambda: start_file.Environment(tmp_path, None, clone))
    place = home / "plugins" / "hermes-kanban"
    place.parent.mkdir(parents=True)
    place.symlink_to(tmp_path / "moved")
    (one,) = found("plugin_folder_missing")
    assert (one.level, one.fix, one.evidence["link"]) == (Level.ERROR, "hermes-kanban setup", str(tmp_path / "moved"))
    place.unlink()
    assert len(found("plugin_folder_missing")) == 1
    place.symlink_to(clone)
    assert found("plugin_folder_missing") == []


def test_parts_of_different_versions(home: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert found("version_mismatch") == []
    write(home / "plugins/hermes-kanban/plugin.yaml", 'name: hermes-kanban\nversion: "0.0.9"\n')
    (one,) = found("version_mismatch")
    assert (one.evidence["found"], one.fix) == ("0.0.9", "hermes plugins update hermes-kanban")
    write(home / "plugins/hermes-kanban/plugin.yaml", f"version: {hermes_kanban_plugin.__version__}\n")
    assert found("version_mismatch") == []
    script = tmp_path / "bin" / "hermes-kanban"
    write(script, "#!/bin/sh\necho hermes-kanban 0.0.1\n")
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{script.parent}:/usr/bin:/bin")
    (one,) = found("version_mismatch")
    assert one.evidence == {"part": str(script), "found": "0.0.1"}
    script.write_text("#!/bin/sh\nexit 3\n")
    assert "does not run" in found("version_mismatch")[0].sentence


@pytest.mark.parametrize(
    ("version", "known"),
    [("0.12.9", False), ("0.13.0", True), ("0.19.0", True), ("0.19.7", True), ("0.20.0", False), ("1.0", False)],
)
def test_versions_of_the_host(monkeypatch: pytest.MonkeyPatch, version: str, known: bool) -> None:
    monkeypatch.setattr(checks, "version", lambda _: version)
    assert (found("host_version_unknown") == []) is known


def test_a_patch_that_was_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    assert found("file_check_unknown") == []
    unknown = file_check.FileChecks(file_check.State.UNKNOWN, ("_backup_corrupt_db",))
    monkeypatch.setattr(file_check, "state_of_installed_host", lambda: unknown)
    (one,) = found("file_check_unknown")
    assert "_backup_corrupt_db" in one.sentence


def test_a_function_that_no_replacement_of_ours_knows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the host that is installed here every one is known; nothing is said of what an older one never had."""
    assert found("patch_target_unknown") == []
    assert patch_targets.unknown(missing_too=True) == []
    other = patch_targets.Target("hermes_cli.kanban_db", "block_task", ("conn", "reason", "colour"), "fence_blocks")
    gone = patch_targets.Target("run_agent", "AIAgent._never_there", (), "note_limits")
    monkeypatch.setattr(patch_targets, "TARGETS", (other, gone))
    (one,) = found("patch_target_unknown")
    assert one.evidence == {"module": "hermes_cli.kanban_db", "function": "block_task", "switch": "fence_blocks"}
    monkeypatch.setattr(checks, "version", lambda _: "0.99.0")
    assert len(found("patch_target_unknown")) == 2, "of a host that is newer than we know, what is gone is told"


@pytest.mark.parametrize(
    ("given", "known"),
    [(["self", "desc"], True), (["self", "x"], False), (["self"], False), (["self", "desc", "kind"], False)],
)
def test_parameters_that_a_replacement_needs_exactly(given: list[str], known: bool) -> None:
    assert patch_targets.Target("m", "f", ("self", "desc"), "s", exact=True).fits(given) is known


@pytest.mark.parametrize(("given", "known"), [(["args"], True), (["x"], True), ([], False), (["x", "y"], False)])
def test_one_parameter_of_any_name(given: list[str], known: bool) -> None:
    assert patch_targets.Target("m", "f", ("*",), "s", exact=True).fits(given) is known


@pytest.mark.parametrize(
    ("version", "defect"),
    [
        ((3, 6, 23), False), ((3, 7, 0), True), ((3, 40, 1), True), ((3, 44, 5), True), ((3, 44, 6), False),
        ((3, 50, 6), True), ((3, 50, 7), False), ((3, 51, 2), True), ((3, 51, 3), False), ((3, 52, 0), False),
    ],
)  # fmt: skip
def test_sqlite_with_the_defect(monkeypatch: pytest.MonkeyPatch, version: tuple[int, ...], defect: bool) -> None:
    monkeypatch.setattr(sqlite3, "sqlite_version_info", version)
    assert (found("sqlite_version_risk") != []) is defect
    assert not any(checks.is_problem(one) for one in found("sqlite_version_risk"))


class Mount(NamedTuple):
    fstype: str
    mountpoint: str


@pytest.mark.parametrize(("system", "bad"), [("nfs4", True), ("cifs", True), ("9p", True), ("fuse.sshfs", True),
                                             ("ext4", False), ("btrfs", False), ("overlay", False)])  # fmt: skip
def test_a_board_on_a_network(command, monkeypatch: pytest.MonkeyPatch, system: str, bad: bool) -> None:
    command.ok("init")
    mounts = [Mount("ext4", "/"), Mount(system, str(command.home)), Mount("nfs", str(command.home / "elsewhere"))]
    monkeypatch.setattr(psutil, "disk_partitions", lambda all: mounts)  # noqa: A006
    assert (found("database_on_network_file_system") != []) is bad


def test_boards_that_cannot_be_used(command) -> None:
    command.ok("init")
    assert found("board_unusable") == found("board_damaged") == []
    for number in range(30):
        command.add(f"{number} {'x' * 3000}")
    with sqlite3.connect(command.board) as writer:
        writer.execute("PRAGMA journal_mode = DELETE")
    writer.close()
    content = bytearray(command.board.read_bytes())
    pages = len(content) // 4096
    content[4096 * (pages - 3) : 4096 * (pages - 2)] = b"\xff" * 4096
    command.board.write_bytes(content)
    damaged = found("board_damaged") + found("board_unusable")
    assert [one.level for one in damaged] == [Level.CRITICAL]
    command.board.write_bytes(b"no database" * 100)
    (one,) = found("board_unusable")
    assert "not an SQLite database" in one.sentence
    assert command("doctor").status == 1


def test_one_board_that_does_not_exist(command) -> None:
    command("--board", "nosuch", "doctor").refused(2, "board 'nosuch' does not exist")


def test_setup_and_fix_refuse_what_they_cannot_edit(command) -> None:
    (command.home / "config.yaml").write_text("a: [")
    for words in (("setup",), ("setup", "--check"), ("setup", "--dry-run")):
        command(*words).refused(1, str(command.home / "config.yaml"), "not valid YAML", "Nothing was changed anywhere")
    command("setup", "--check", "--undo").refused(2, "--undo --dry-run")
    command("setup", "--profile", "nosuch").refused(2, "there is no profile 'nosuch'")


def test_check_and_dry_run_change_nothing(command) -> None:
    (command.home / "config.yaml").write_text("a: 1\n")
    for words, status in ((("--check",), 1), (("--dry-run",), 0), (("--undo", "--dry-run"), 0)):
        answer = command("setup", *words)
        assert (answer.status, answer.err) == (status, "")
    assert "missing:\nenable hermes-kanban, allow it to replace tools\n  " in command("setup", "--check").out
    said = command("setup", "--check", "--json").json
    assert said["complete"] is False
    assert said["changes"][0] == {
        "path": str(command.home / "config.yaml"), "done": False,
        "what": "enable hermes-kanban, allow it to replace tools",
    }  # fmt: skip
    assert [path.name for path in command.home.iterdir()] == ["config.yaml"]
    assert (command.home / "config.yaml").read_text() == "a: 1\n"
