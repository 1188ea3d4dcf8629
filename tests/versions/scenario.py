"""What is tried on a version of the host, step by step, in one home: from setting up to removing.

Each step returns what the table in docs/reference/hosts.md says about this version, or raises. Later steps stand on
earlier ones, so their order counts.
"""

from __future__ import annotations

import json
import os
import sys
from typing import TYPE_CHECKING, Any, NamedTuple

from tests.live.house import WORKER, LiveHouse
from tests.versions.environments import copy_tree

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable
    from pathlib import Path

    from tests.live.model_server import ModelServer
    from tests.versions.environments import Environment

YES = "yes"
CHECKS = ("_check_file_length_invariant", "_validate_sqlite_header", "_backup_corrupt_db")
SKILL = "---\nname: kanban-worker\ndescription: how to work on a board\n---\nWork.\n"
LOAD = """
import json, logging
from hermes_cli.plugins import get_plugin_manager
manager = get_plugin_manager()
manager.discover_and_load()
(plugin,) = [one for one in manager.list_plugins() if one["name"] == "hermes-kanban"]
"""
USE = """
import functools, sys
import model_tools
from tools.registry import registry
def module_of(handler):
    while isinstance(handler, functools.partial):
        handler = handler.func
    return handler.__module__
calls = json.loads(sys.argv[1])
entries = {name: getattr(registry, "get_entry", registry._tools.get)(name) for name, _ in calls}
print(json.dumps([
    [module_of(entries[name].handler), json.loads(model_tools.handle_function_call(name, arguments))]
    for name, arguments in calls
]))
"""


class VersionHouse(LiveHouse):
    """A home whose host, workers and gateway are of one version.

    Args:
        folder: an empty or new folder.
        server: the model of its workers.
        environment: where the version is installed.
    """

    def __init__(self, folder: Path, server: ModelServer, environment: Environment) -> None:
        super().__init__(folder, server, plugin=False)
        self.installed = environment
        self.gateway: subprocess.Popen[bytes] | None = None
        self.before: list[str] = []
        # Hosts before 0.15 start every worker with this skill, which a profile made by the host has.
        skill = self.home / "profiles" / WORKER / "skills" / "kanban-worker"
        skill.mkdir(parents=True)
        (skill / "SKILL.md").write_text(SKILL, encoding="utf-8")
        lanes = {"counter": {"command": [sys.executable, "-c", "print('counted')"]}}
        self.environment |= {
            "PATH": f"{environment.scripts}{os.pathsep}{os.environ.get('PATH', '')}",
            "HERMES_KANBAN_PLUGIN_LANES": json.dumps(lanes),
        }

    def run(self, command: list[str], **environment: str) -> str:
        """Run a command with the Python of this version."""
        return super().run(self._translate(command), **environment)

    def start(self, command: list[str], log: str, **environment: str) -> subprocess.Popen[bytes]:
        """Start a process with the Python of this version."""
        return super().start(self._translate(command), log, **environment)

    def _translate(self, command: list[str]) -> list[str]:
        return [str(self.installed.python), *command[1:]] if command[0] == sys.executable else command

    def evaluate(self, code: str, *arguments: str, **environment: str) -> Any:
        """Run code in a process of the host; returns the JSON of its last line."""
        said = self.run([sys.executable, "-c", code, *arguments], **environment)
        return json.loads(said.splitlines()[-1])

    def claim(self, task_id: str) -> dict[str, str]:
        """Claim a task; returns what its worker has in its environment."""
        task = json.loads(self.hermes_kanban("claim", task_id, "--ttl", "600", "--json"))
        return {
            "HERMES_KANBAN_TASK": task_id,
            "HERMES_KANBAN_RUN_ID": str(task["current_run_id"]),
            "HERMES_KANBAN_CLAIM_LOCK": task["claim_lock"],
        }

    def use(self, worker: dict[str, str], **calls: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
        """Call tools as a worker's model does; returns for each the module it is from and its answer."""
        answers = self.evaluate(LOAD + USE, json.dumps(list(calls.items())), **worker)
        return [(module, answer) for module, answer in answers]


# --- the steps --------------------------------------------------------------------------------------------------------


def configurations(house: VersionHouse) -> list[str]:
    return [(home / "config.yaml").read_text(encoding="utf-8") for home in (house.home, *house.profiles())]


def set_up(house: VersionHouse) -> str:
    house.before = configurations(house)
    house.hermes_kanban("setup")
    house.hermes_kanban("setup", "--check")
    return YES


def load(house: VersionHouse) -> str:
    for home in (house.home, *house.profiles()):
        plugin = house.evaluate(LOAD + "print(json.dumps(plugin))", HERMES_HOME=str(home))
        assert (plugin["enabled"], plugin["error"]) == (True, None), f"{home}: {plugin}"
    return YES


def replace_tools(house: VersionHouse) -> str:
    done, blocked = house.create("to be done", assignee="hand"), house.create("to be blocked", assignee="hand")
    answers = house.use(house.claim(done), kanban_heartbeat={"note": "half"}, kanban_complete={"summary": "made it"})
    answers += house.use(house.claim(blocked), kanban_block={"reason": "which one?"})
    assert [answer.get("ok") for _, answer in answers] == [True] * 3, answers
    assert [house.task(task)["status"] for task in (done, blocked)] == ["done", "blocked"]
    ours = [module.startswith("hermes_kanban_plugin.") for module, _ in answers]
    assert ours == [True] * 3, answers
    return YES


def fence_other_tools(house: VersionHouse) -> str:
    task = house.create("fenced", assignee="hand")
    old = house.claim(task)
    house.hermes_kanban("reclaim", task)
    late = {"task_id": task, "body": "too late"}
    ((_, answer),) = house.use(old, kanban_comment=late)
    assert "error" in answer, answer
    ((_, answer),) = house.use(house.claim(task), kanban_comment={**late, "body": "in time"})
    assert "error" not in answer, answer
    assert [row["body"] for row in house.rows("SELECT body FROM task_comments")] == ["in time"]
    return YES


def guard_start(house: VersionHouse) -> str:
    task = house.create("guarded", assignee=WORKER)
    old = house.claim(task)
    house.hermes_kanban("reclaim", task)
    before = len(house.server.log)
    house.hermes("-p", WORKER, "chat", "-q", f"work kanban task {task}", **old)
    assert house.server.log[before:] == [], "a worker without a run asked the model"
    house.hermes("kanban", "archive", task)
    return YES


def replace_file_checks(house: VersionHouse) -> str:
    code = "from hermes_cli import kanban_db as kb\n"
    code += f"found = {{name: getattr(kb, name).__module__ for name in {CHECKS!r} if hasattr(kb, name)}}\n"
    found = house.evaluate(LOAD + code + "print(json.dumps(found))")
    if not found:
        return "not needed"
    assert len(found) == len(CHECKS), found
    assert {*found.values()} == {"hermes_kanban_plugin.host.board_file"}, found
    return YES


def dispatch_in_gateway(house: VersionHouse) -> str:
    task = house.create("counted", assignee="counter")
    house.gateway = house.start_gateway()
    house.settle(task)
    assert house.rows("SELECT 1 FROM kp_runs WHERE task_id = ?", [task]), "it was not our dispatcher"
    assert json.loads(house.hermes("kanban", "show", task, "--json"))["task"]["status"] == "done"
    return "by the lock" if "this Hermes is not known" in house.said_by("gateway") + house.host_log() else YES


def run_hermes_worker(house: VersionHouse) -> str:
    task = house.create("say hello", "BEATS=2", WORKER)
    assert house.settle(task, "done", "blocked") == "done", house.describe()
    assert [run["outcome"] for run in house.runs(task)] == ["completed"]
    assert house.rows("SELECT supervisor_pid FROM kp_runs WHERE task_id = ?", [task])[0]["supervisor_pid"]
    said = [entry["said"] for entry in house.server.requests(task) if entry["works"]]
    assert said[:4] == ["kanban_show", "kanban_heartbeat", "kanban_heartbeat", "kanban_complete"]
    return YES


def answer_in_chat(house: VersionHouse) -> str:
    code = "from hermes_cli.kanban import run_slash\nprint(json.dumps(run_slash('status --json')))"
    answer = house.evaluate(LOAD + code)
    assert isinstance(json.loads(answer), dict), answer
    return YES


def answer_in_shell(house: VersionHouse) -> str:
    assert isinstance(json.loads(house.hermes("kanban", "status", "--json")), dict)
    assert "doctor" in house.hermes("kanban", "--help")
    return YES


def stop_gateway(house: VersionHouse) -> str:
    assert house.gateway is not None
    house.end(house.gateway)
    house.wait_until(lambda: not house.processes(), "our dispatcher to end with the gateway")
    return YES


def remove(house: VersionHouse) -> str:
    left, waiting = house.create("left over", "BEATS=1", WORKER), house.create("waiting", "BEATS=1", WORKER)
    house.claim(waiting)
    house.hermes_kanban("block", waiting, "not now")
    house.hermes_kanban("setup", "--undo")
    assert configurations(house) == house.before
    house.installed.pip("uninstall", "--yes", "hermes-kanban-plugin")
    assert "doctor" not in house.hermes("kanban", "--help").split()
    house.hermes("kanban", "dispatch")
    house.settle(left)
    house.hermes("kanban", "unblock", waiting)
    house.hermes("kanban", "complete", waiting, "--summary", "by hand")
    assert house.task(waiting)["status"] == "done"
    assert house.rows("PRAGMA integrity_check") == [{"integrity_check": "ok"}]
    return YES


def load_from_folder(house: VersionHouse) -> str:
    home = house.folder / "other home"
    copy_tree(home / "plugins" / "hermes-kanban")
    (home / "config.yaml").write_text(json.dumps({"plugins": {"enabled": ["hermes-kanban"]}}), encoding="utf-8")
    code = "import hermes_kanban_plugin\nprint(json.dumps([plugin, hermes_kanban_plugin.__file__]))"
    plugin, file = house.evaluate(LOAD + code, HERMES_HOME=str(home))
    assert (plugin["enabled"], plugin["error"]) == (True, None), plugin
    assert file.startswith(str(home)), file
    return YES


class Step(NamedTuple):
    """One step: the head of its column, what it tries in words, and what does it."""

    column: str
    about: str
    run: Callable[[VersionHouse], str]


STEPS = (
    Step("setup", "`hermes-kanban setup` after `pip install`, and `setup --check` agrees.", set_up),
    Step("loads", "The host loads the plugin in the root home and in a profile, without an error.", load),
    Step("tools", "A worker's heartbeat, complete and block are ours, on a task that the host made.", replace_tools),
    Step("fence", "A worker of an old run cannot comment; one of the current run can.", fence_other_tools),
    Step("guard", "A worker that was started for an old run ends without asking the model.", guard_start),
    Step("file check", "The checks that drop locks are replaced. Hosts that have none need none.", replace_file_checks),
    Step("gateway", "`hermes gateway run` starts our dispatcher, which does a task of a lane.", dispatch_in_gateway),
    Step("worker", "Our dispatcher starts a Hermes worker, which completes its task.", run_hermes_worker),
    Step("chat", "`/kanban status` answers in a chat.", answer_in_chat),
    Step("shell", "`hermes kanban status` answers in the shell, and `--help` names our words.", answer_in_shell),
    Step("stop", "After SIGTERM to the gateway nothing of us is left running.", stop_gateway),
    Step(
        "removal",
        "After `hermes-kanban setup --undo` and `pip uninstall` the host finishes what is left on the board.",
        remove,
    ),
    Step("folder", "Without the package: the host loads a clone from its plugins folder.", load_from_folder),
)
