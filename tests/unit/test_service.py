"""The service files: what they say, and what the service manager is told; the managers here are small scripts."""

from __future__ import annotations

import plistlib
import shlex
import sys
from pathlib import Path

import pytest

from hermes_kanban_plugin import service
from hermes_kanban_plugin.service import ServiceFailed

COMMAND = ["-m", "hermes_kanban_plugin.cli.main", "dispatcher"]
ENABLE = f"--user enable --now {service.UNIT_NAME}"
DISABLE = f"--user disable --now {service.UNIT_NAME}"


class Manager:
    """A folder that is the whole PATH, and what the program in it was told."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.log = folder / "log"

    def put(self, name: str, *, status: int = 0, out: str = "", complaint: str = "") -> None:
        script = f"#!/bin/sh\necho \"$*\" >> '{self.log}'\n"
        script += f"printf '%s' '{out}'\nprintf '%s' '{complaint}' >&2\nexit {status}\n"
        program = self.folder / name
        program.write_text(script)
        program.chmod(0o755)

    def told(self) -> list[str]:
        return self.log.read_text().splitlines() if self.log.exists() else []


@pytest.fixture
def manager(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Manager:
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    return Manager(folder)


def sections(text: str) -> dict[str, list[tuple[str, str]]]:
    found: dict[str, list[tuple[str, str]]] = {}
    for line in text.splitlines():
        if line.startswith("["):
            found[line.strip("[]")] = current = []
        elif line and not line.startswith("#"):
            name, _, value = line.partition("=")
            current.append((name, value))
    return found


def words(value: str) -> list[str]:
    """Read a value as systemd does: quotes, backslashes, and a doubled percent sign for one."""
    return [word.replace("%%", "%") for word in shlex.split(value)]


def environment_of(text: str) -> dict[str, str]:
    values = [value for name, value in sections(text)["Service"] if name == "Environment"]
    assignments = [words(value) for value in values]
    assert all(len(found) == 1 for found in assignments)
    return dict(found[0].split("=", 1) for found in assignments)


def test_a_restart_of_the_unit_leaves_supervisors_and_workers_alone(manager: Manager) -> None:
    unit = service.describe("linux")
    said = sections(unit.text)
    settings = dict(said["Service"])
    assert settings["KillMode"] == "process"
    assert (settings["Restart"], settings["OOMPolicy"]) == ("always", "continue")
    assert said["Install"] == [("WantedBy", "default.target")]
    assert words(settings["ExecStart"]) == [sys.executable, *COMMAND]


@pytest.mark.parametrize("name", ["with space", "100%", "%h", 'quo"te', "it's", "back\\slash", "a % \"b\" \\ 'c'"])
def test_paths_arrive_as_they_are(manager, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv("HERMES_HOME", str(tmp_path / name))
    monkeypatch.setattr(sys, "executable", f"/opt/{name}/python")
    text = service.describe("linux").text
    (line,) = [value for key, value in sections(text)["Service"] if key == "ExecStart"]
    assert words(line) == [f"/opt/{name}/python", *COMMAND]
    assert environment_of(text)["HERMES_HOME"] == str(tmp_path / name)


def test_a_dollar_in_the_environment_arrives_as_it_is(manager: Manager, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HERMES_HOME", "/srv/a$b")
    assert environment_of(service.describe("linux").text)["HERMES_HOME"] == "/srv/a$b"


def test_the_service_gets_what_finds_the_boards_and_the_programs_and_no_secret(manager, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("HERMES_BIN", "/opt/hermes")
    monkeypatch.setenv("HERMES_KANBAN_HOME", "")
    monkeypatch.setenv("SOME_API_KEY", "secret")
    expected = {"HERMES_HOME": str(tmp_path / "home"), "HERMES_BIN": "/opt/hermes", "PATH": str(manager.folder)}
    assert environment_of(service.describe("linux").text) == expected
    assert plistlib.loads(service.describe("darwin").text.encode())["EnvironmentVariables"] == expected


def test_a_home_that_nobody_named_is_named_for_the_service(manager: Manager, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.delenv("HERMES_HOME")
    assert environment_of(service.describe("linux").text)["HERMES_HOME"] == str(tmp_path / ".hermes")


def test_the_launchd_agent_leaves_supervisors_and_workers_alone(manager: Manager, tmp_path: Path) -> None:
    agent = service.describe("darwin")
    said = plistlib.loads(agent.text.encode())
    assert said["AbandonProcessGroup"] is True
    assert (said["RunAtLoad"], said["KeepAlive"]) == (True, True)
    assert said["ProgramArguments"] == [sys.executable, *COMMAND]
    assert said["Label"] == service.AGENT_NAME
    assert agent.path == tmp_path / "Library" / "LaunchAgents" / f"{service.AGENT_NAME}.plist"
    assert agent.install == [["launchctl", "load", "-w", str(agent.path)]]


def test_describing_writes_nothing_and_tells_nobody(manager: Manager) -> None:
    manager.put("systemctl")
    assert not service.describe("linux").path.exists()
    assert manager.told() == []


def test_install_writes_the_file_and_tells_the_manager(manager: Manager, tmp_path: Path) -> None:
    manager.put("systemctl")
    unit = service.describe("linux")
    assert service.install(unit) is True
    assert unit.path == tmp_path / "config" / "systemd" / "user" / service.UNIT_NAME
    assert unit.path.read_text() == unit.text
    assert manager.told() == ["--user daemon-reload", ENABLE]


def test_without_a_manager_the_file_is_written_and_the_answer_says_so(manager: Manager) -> None:
    unit = service.describe("linux")
    assert service.install(unit) is False
    assert unit.path.read_text() == unit.text


def test_a_manager_that_refuses_is_quoted_and_the_file_stays(manager: Manager) -> None:
    manager.put("systemctl", status=1, complaint="Failed to connect\n to bus")
    unit = service.describe("linux")
    with pytest.raises(ServiceFailed, match="systemctl --user daemon-reload failed: Failed to connect to bus") as said:
        service.install(unit)
    assert said.value.exit_code == 1
    assert unit.path.exists()
    assert manager.told() == ["--user daemon-reload"]  # the first refusal ends it


def test_uninstall_stops_the_service_and_removes_the_file_once(manager: Manager) -> None:
    manager.put("systemctl")
    unit = service.describe("linux")
    service.install(unit)
    manager.log.unlink()
    assert service.uninstall(unit) is True
    assert not unit.path.exists()
    assert DISABLE in manager.told()
    manager.log.unlink()
    assert service.uninstall(unit) is False
    assert manager.told() == []


@pytest.mark.parametrize("there", [True, False])
def test_a_manager_that_refuses_or_is_gone_does_not_keep_the_file(manager: Manager, there: bool) -> None:
    unit = service.describe("linux")
    service.install(unit)
    if there:
        manager.put("systemctl", status=1, complaint="no such unit")
    assert service.uninstall(unit) is True
    assert not unit.path.exists()


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ({"out": "active\n"}, "active"),
        ({"out": "inactive\n", "status": 3}, "inactive"),
        ({"complaint": "Failed to connect to bus\nmore", "status": 1}, "Failed to connect to bus"),
        ({}, "active"),  # launchd answers yes by its exit status alone
        ({"status": 1}, "unknown"),
    ],
)
def test_status_is_one_line_of_what_the_manager_says(manager: Manager, how: dict[str, object], said: str) -> None:
    unit = service.describe("linux")
    assert service.status(unit).startswith(f"not installed (no file {unit.path})")
    service.install(unit)
    assert service.status(unit) == f"installed at {unit.path}, but systemctl is not there to run it"
    manager.put("systemctl", **how)
    assert service.status(unit) == said
    assert manager.told() == [f"--user is-active {service.UNIT_NAME}"]


def test_a_system_without_either_is_refused_with_the_way_out() -> None:
    with pytest.raises(ServiceFailed, match=r"no service for win32.*hermes-kanban dispatcher"):
        service.describe("win32")
