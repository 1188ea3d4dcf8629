"""setup in a real environment: the real host, a real pip, a start-up file that Python really reads."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.packaging.conftest import host_site, root, source, wheel  # noqa: F401 - fixtures

pytestmark = [pytest.mark.host, pytest.mark.xdist_group("wheel")]

LIMIT = 90
SLASH = """
import json, sys
from hermes_cli.plugins import discover_plugins
discover_plugins()
from hermes_cli.kanban import run_slash
print(json.dumps([run_slash(line) for line in json.loads(sys.argv[1])]))
"""


CHECKS = """
import argparse
from hermes_cli import kanban, kanban_db
kanban.build_parser(argparse.ArgumentParser().add_subparsers())
print(kanban_db._check_file_length_invariant.__module__)
"""


class Machine:
    """A Python environment that sees the installed host, and a Hermes home with one profile."""

    def __init__(self, folder: Path, host: Path) -> None:
        self.folder = folder
        self.venv = folder / "venv"
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(self.venv)], check=True, timeout=LIMIT)
        self.python = self.venv / "bin" / "python"
        self.site = Path(self.ask_python("import sysconfig; print(sysconfig.get_path('purelib'))"))
        (self.site / "zz_host.pth").write_text(f"{host}\n")
        self.home = folder / "hermes"
        self.home.mkdir()

    @property
    def start_file(self) -> Path:
        return self.site / "hermes_kanban.pth"

    def pip(self, *words: str) -> None:
        command = [sys.executable, "-m", "pip", "--python", str(self.python), *words]
        subprocess.run(command, check=True, capture_output=True, timeout=LIMIT)

    def ask_python(self, code: str) -> str:
        done = subprocess.run(
            [self.python, "-I", "-c", code], check=True, capture_output=True, text=True, timeout=LIMIT
        )
        return done.stdout.strip()

    def write_program(self, name: str, text: str) -> None:
        """Put a program where the environment has its own."""
        program = self.venv / "bin" / name
        program.write_text(text)
        program.chmod(0o755)

    def environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("HERMES", "PYTHON"))}
        return kept | {
            "HOME": str(self.folder),
            "PATH": f"{self.venv / 'bin'}:/usr/bin:/bin",
            "HERMES_HOME": str(self.home),
            "HERMES_MANAGED_DIR": str(self.folder / "managed"),
            "HERMES_DISABLE_LAZY_INSTALLS": "1",
            "HERMES_GATEWAY_MAX_STARTS": "0",
        }

    def start(self, *words: str) -> subprocess.Popen[bytes]:
        """Start a process that stays; who asks for it ends it."""
        quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        program = str(self.venv / "bin" / words[0])
        return subprocess.Popen([program, *words[1:]], env=self.environment(), cwd=self.folder, **quiet)

    def run(self, *words: str | Path, cwd: Path | None = None, **more: str) -> subprocess.CompletedProcess[str]:
        """Run a process to its end."""
        return subprocess.run(
            [str(word) for word in words], env=self.environment() | more, cwd=cwd or self.folder, capture_output=True,
            text=True, timeout=LIMIT, check=False,
        )  # fmt: skip

    def hermes(self, *words: str, **more: str) -> subprocess.CompletedProcess[str]:
        return self.run(self.python, "-m", "hermes_cli.main", *words, **more)

    def kanban(self, *words: str) -> str:
        """Run a word of ``hermes kanban`` that must work."""
        done = self.hermes("kanban", *words)
        assert (done.returncode, done.stderr) == (0, ""), done
        return done.stdout

    def ours(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run our own command, as it was installed."""
        return self.run(self.venv / "bin" / "hermes-kanban", *words)

    def slash(self, *lines: str) -> list[str]:
        """What a chat shows for each of these lines behind ``/kanban``, in one process that has loaded the plugins."""
        done = self.run(self.python, "-c", SLASH, json.dumps(lines), FORCE_COLOR="1")
        assert done.returncode == 0, done
        answers: list[str] = json.loads(done.stdout.splitlines()[-1])
        return answers

    def is_enabled(self, *profile: str) -> bool:
        done = self.hermes(*profile, "plugins", "list", "--json")
        (ours,) = [one for one in json.loads(done.stdout) if one["name"] == "hermes-kanban"]
        return bool(ours["status"] == "enabled")

    def files(self) -> dict[str, bytes]:
        """What setup may touch: settings, plugin folders, start-up files and the RECORD of the distribution."""
        found = [path for path in self.home.rglob("config.yaml") if path.is_file()]
        found += [*self.site.glob("*.pth"), *self.site.glob("hermes_kanban_plugin-*/RECORD")]
        return {str(path): path.read_bytes() for path in found}


def configure(machine: Machine) -> None:
    machine.home.joinpath("config.yaml").write_text("# mine\nplugins:\n  enabled: []  # none yet\n")
    made = machine.hermes("profile", "create", "worker", "--no-skills", "--no-alias")
    assert made.returncode == 0, made


@pytest.fixture
def machine(tmp_path: Path, wheel: Path, host_site: Path) -> Machine:  # noqa: F811
    """The wheel, installed by pip beside the host."""
    made = Machine(tmp_path, host_site)
    made.pip("install", "--quiet", "--no-deps", "--no-index", "--no-compile", str(wheel))
    configure(made)
    return made


@pytest.fixture
def clone(tmp_path: Path, source: Path, host_site: Path) -> tuple[Machine, Path]:  # noqa: F811
    """The plugin as a folder of the root home; no distribution anywhere that this Python installs to."""
    made = Machine(tmp_path, host_site)
    configure(made)
    folder = made.home / "plugins" / "hermes-kanban"
    shutil.copytree(source, folder)
    return made, folder


def test_from_setup_to_uninstall(machine: Machine) -> None:
    before = machine.files()
    assert machine.ours("setup", "--check").returncode == 1
    assert machine.files() == before
    done = machine.ours("setup")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.endswith("next: hermes gateway restart, then: hermes-kanban status\n")
    assert machine.ours("setup", "--check").returncode == 0
    assert machine.is_enabled()
    assert machine.is_enabled("-p", "worker")
    assert machine.is_enabled("-p", "worker")

    # The words are there, with help, and end with a status that counts.
    for word in ("doctor", "status", "stop"):
        assert word in machine.kanban("--help")
        assert machine.kanban(word, "--help").startswith(f"usage: hermes kanban {word}")
    task_id = json.loads(machine.kanban("create", "x", "--json"))["id"]
    assert machine.kanban("reclaim", "--stale") == "nothing is proven stale\n"
    assert machine.kanban("stop", task_id).startswith(f"stopped {task_id} blocked")
    assert machine.kanban("edit", task_id, "--reset-failures").startswith("failures reset")
    status = machine.hermes("kanban", "status")
    assert (status.returncode, status.stderr) == (1, "")
    assert "board      default: 1 blocked" in status.stdout
    assert machine.hermes("-p", "worker", "kanban", "status", "--json").returncode == 1
    refused = machine.hermes("kanban", "stop", "t_nosuch")
    assert (refused.returncode, refused.stderr.count("\n")) == (2, 1)

    # What the host has goes on as before.
    assert "Completed" in machine.kanban("complete", task_id, "--result", "r")
    assert "Edited" in machine.kanban("edit", task_id, "--result", "better")
    assert "required: --result" in machine.hermes("kanban", "edit", task_id).stderr
    assert machine.hermes("kanban", "edit", task_id).returncode == 2
    assert "required: task_id" in machine.hermes("kanban", "reclaim").stderr
    assert "cannot reclaim" in machine.hermes("kanban", "reclaim", task_id).stderr

    # And taken back: every byte, and the words.
    assert machine.ours("setup", "--undo").returncode == 0
    assert machine.files() == before
    again = machine.ours("setup", "--undo")
    assert (again.returncode, again.stdout) == (0, "nothing to take back\n")
    assert not machine.is_enabled()
    assert machine.hermes("kanban", "status").returncode == 2

    # pip removes the start-up file with the package.
    machine.ours("setup")
    assert machine.start_file.exists()
    machine.pip("uninstall", "--quiet", "--yes", "hermes-kanban-plugin")
    assert sorted(path.name for path in machine.site.iterdir()) == ["zz_host.pth"]
    assert machine.hermes("kanban", "status").returncode == 2
    assert task_id in machine.kanban("list", "--json")


def lines_of(heading: str) -> list[str]:
    """The commands that the README gives below a heading."""
    readme = (Path(__file__).parents[2] / "README.md").read_text()
    block = re.search(rf"^## {heading}$.*?^```sh\n(.*?)^```$", readme, re.MULTILINE | re.DOTALL)
    assert block is not None
    return block[1].splitlines()


def test_the_readmes_path_there_and_back(machine: Machine, wheel: Path) -> None:  # noqa: F811
    """Line by line as it stands there; ``hermes gateway restart`` becomes the gateway, so it is not waited for."""
    machine.pip("uninstall", "--quiet", "--yes", "hermes-kanban-plugin")
    machine.write_program("hermes", f"#!{machine.python}\nfrom hermes_cli.main import main\nmain()\n")
    machine.write_program("pip", f'#!/bin/sh\nexec {sys.executable} -m pip --python {machine.python} "$@"\n')
    before = machine.files()
    index = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(wheel.parent), "PIP_DISABLE_PIP_VERSION_CHECK": "1"}

    def follow(lines: list[str], **more: str) -> list[subprocess.Popen[bytes]]:
        gateways = []
        for line in lines:
            if line == "hermes gateway restart":
                gateways.append(machine.start("hermes", "gateway", "restart"))
                continue
            done = machine.run("sh", "-c", f"yes | {line}" if "uninstall" in line else line, **more)
            for _ in range(120):  # the gateway is on its way
                if "status" not in line or done.returncode == 0:
                    break
                time.sleep(0.25)
                done = machine.run("sh", "-c", line, **more)
            assert done.returncode == 0, (line, done)
        return gateways

    there, back = lines_of("Use it with Hermes"), lines_of("Undo it")
    assert len(there) <= 6
    gateways = follow(there, **index)
    try:
        assert "started by the gateway" in machine.ours("status").stdout
        assert machine.run(machine.venv / "bin" / "hermes", "kanban", "status").returncode == 0
        gateways += follow(back, **index)
        assert machine.files() == before
        assert machine.run(machine.venv / "bin" / "hermes", "kanban", "status").returncode == 2
    finally:
        for gateway in gateways:
            gateway.terminate()
        for gateway in gateways:
            gateway.wait(LIMIT)


def test_the_words_are_there_only_where_the_plugin_is_enabled(machine: Machine) -> None:
    machine.ours("setup", "--profile", "worker")
    assert machine.start_file.exists()
    assert machine.hermes("-p", "worker", "kanban", "status").returncode == 1
    plain = machine.hermes("kanban", "status")
    assert plain.returncode == 2
    assert "invalid choice: 'status'" in plain.stderr
    off = machine.hermes("-p", "worker", "kanban", "status", HERMES_KANBAN_PLUGIN_EXTEND_KANBAN_COMMAND="off")
    assert off.returncode == 2
    # A name in a comment or in the list of the disabled ones enables nothing.
    (machine.home / "config.yaml").write_text("plugins: {enabled: [hermes-kanban], disabled: [hermes-kanban]}\n")
    assert machine.hermes("kanban", "status").returncode == 2
    (machine.home / "config.yaml").write_text("# hermes-kanban\nplugins: {enabled: []}\n")
    assert machine.hermes("kanban", "status").returncode == 2


def test_in_the_shell_the_file_check_of_hermes_is_replaced_too(machine: Machine) -> None:
    """A ``hermes kanban`` writes to the board and loads no plugin (contract W1)."""
    program = machine.folder / "bin" / "hermes"
    program.parent.mkdir()
    program.write_text(CHECKS)
    assert machine.run(machine.python, program, "kanban").stdout == "hermes_cli.kanban_db\n"
    machine.ours("setup")
    assert machine.run(machine.python, program, "kanban").stdout == "hermes_kanban_plugin.host.board_file\n"
    assert machine.run(machine.python, program, "chat").stdout == "hermes_cli.kanban_db\n"


def test_in_a_chat_the_words_answer_in_plain_text(machine: Machine) -> None:
    machine.ours("setup")
    machine.kanban("create", "a card")
    lines = ("status", "status --json", "doctor", "reclaim --stale --dry-run", "stop t_nosuch", "doctor --help", "stop",
             "--board nosuch status", "list", "watch")  # fmt: skip
    said = dict(zip(lines, machine.slash(*lines), strict=True))
    assert "\x1b" not in "".join(said.values())
    assert said["status"].startswith("dispatcher never ran here")
    assert json.loads(said["status --json"])["boards"][0]["counts"] == {"ready": 1}
    assert "no dispatcher of ours serves" in said["doctor"]
    assert said["reclaim --stale --dry-run"] == "nothing is proven stale"
    assert said["stop t_nosuch"].startswith("hermes-kanban: unknown task 't_nosuch'")
    assert said["doctor --help"].startswith("usage: /kanban doctor")
    assert "required: task_id" in said["stop"]
    assert "board 'nosuch' does not exist" in said["--board nosuch status"]
    assert "a card" in said["list"]
    assert "a card" in said["watch"], "one picture, and an end"


def test_a_home_that_hermes_wrote_itself(machine: Machine) -> None:
    """``hermes plugins`` writes the whole file anew; setup and undo work on what it wrote."""
    assert machine.hermes("plugins", "enable", "hermes-kanban", "--no-allow-tool-override").returncode == 0
    machine.ours("setup")
    assert "allow_tool_override: true" in (machine.home / "config.yaml").read_text()
    assert machine.hermes("plugins", "disable", "hermes-kanban").returncode == 0
    assert not machine.is_enabled()
    machine.ours("setup")
    assert machine.is_enabled()
    machine.ours("setup", "--undo")
    assert not machine.is_enabled(), "a person's last word was no"
    assert "allow_tool_override: false" in (machine.home / "config.yaml").read_text()


def test_an_upgrade_keeps_the_settings_and_check_says_what_it_lost(machine: Machine, wheel: Path) -> None:  # noqa: F811
    machine.ours("setup")
    machine.pip("install", "--quiet", "--no-deps", "--no-index", "--no-compile", "--force-reinstall", str(wheel))
    assert not machine.start_file.exists(), "pip removes what the old RECORD named"
    check = machine.ours("setup", "--check")
    assert check.returncode == 1
    assert check.stdout.splitlines()[0:2] == ["missing:", "add our words to hermes kanban"]
    assert "config.yaml" not in check.stdout
    doctor = json.loads(machine.ours("doctor", "--fix", "--json").stdout)
    assert "shell_words_missing" not in [one["kind"] for one in doctor["findings"]]
    assert machine.hermes("kanban", "status").returncode == 1


def test_a_new_profile_is_noticed_and_mended(machine: Machine) -> None:
    machine.ours("setup")
    machine.hermes("profile", "create", "later", "--no-skills", "--no-alias")
    assert machine.ours("setup", "--check").returncode == 1
    found = json.loads(machine.ours("doctor", "--json").stdout)["findings"]
    assert [one["evidence"]["profile"] for one in found if one["kind"] == "plugin_not_enabled"] == ["later"]
    machine.ours("doctor", "--fix")
    assert machine.is_enabled("-p", "later")


def test_a_clone_without_a_distribution(clone: tuple[Machine, Path]) -> None:
    machine, folder = clone
    command = [machine.python, "-m", "hermes_kanban_plugin.cli.main"]
    before = machine.files()
    done = machine.run(*command, "setup", cwd=folder)
    assert (done.returncode, done.stderr) == (0, "")
    link = machine.home / "profiles" / "worker" / "plugins" / "hermes-kanban"
    assert link.resolve() == folder
    assert machine.is_enabled()
    assert machine.is_enabled("-p", "worker")
    assert str(folder) in machine.start_file.read_text()
    assert machine.hermes("kanban", "status").returncode == 1
    assert machine.hermes("-p", "worker", "kanban", "status").returncode == 1
    assert "dispatcher never ran here" in machine.slash("status")[0]
    assert machine.ours("status").stdout.startswith("dispatcher never ran here")
    away = folder.with_name("away")
    folder.rename(away)
    assert machine.kanban("list") == "(no matching tasks)\n"
    away.rename(folder)
    machine.run(*command, "setup", "--undo", cwd=folder)
    assert not link.is_symlink()
    assert machine.files() == before
    assert not (machine.venv / "bin" / "hermes-kanban").exists()
