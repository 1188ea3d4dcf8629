"""``register(ctx)`` in a real host process: with and without the operator's leave to replace tools."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from hermes_kanban_plugin.clock import Clock
from hermes_kanban_plugin.testing import make_board, violations

if TYPE_CHECKING:
    from tests.host.conftest import Actor, House

pytestmark = [pytest.mark.host, pytest.mark.xdist_group("register")]

OURS = ["kanban_block", "kanban_complete", "kanban_heartbeat"]
LOAD = """
import importlib, logging, sys, threading
from hermes_kanban_plugin.imports import after_import
loaded = []
def watch(registration):
    register = registration.register
    def watched(ctx):
        before = set(sys.modules)
        register(ctx)
        loaded.append(sorted({name.partition(".")[0] for name in set(sys.modules) - before}))
    registration.register = watched
after_import("hermes_kanban_plugin.registration", "watch", watch)
warnings = []
class Warnings(logging.Handler):
    def emit(self, record):
        warnings.append(record.getMessage())
logging.getLogger().addHandler(Warnings(logging.WARNING))
from hermes_cli.plugins import get_plugin_manager
threads = threading.active_count()

def load(force):
    manager = get_plugin_manager()
    manager.discover_and_load(force=force)
    (plugin,) = [one for one in manager.list_plugins() if one["name"] == "hermes-kanban"]
    return plugin

def owners():
    importlib.import_module("tools.kanban_tools")  # as the host does when it puts an agent's tools together
    from tools.registry import registry
    names = registry.get_tool_names_for_toolset("kanban")
    entries = {name: registry.get_entry(name) for name in names}
    def home(handler):
        while hasattr(handler, "func"):
            handler = handler.func
        return handler.__module__.partition(".")[0]
    return {name: [home(entry.handler), entry.toolset, bool(entry.check_fn())] for name, entry in entries.items()}

def facts(force):
    early = "tools.kanban_tools" in sys.modules
    plugin = load(force)
    early = not early and "tools.kanban_tools" in sys.modules
    return {"early": early, "error": plugin["error"], "enabled": plugin["enabled"], "owners": owners(), "hooks": sum(
        len(callbacks)
        for registry in (get_plugin_manager()._hooks, get_plugin_manager()._middleware)
        for callbacks in registry.values()
    ), "threads": threading.active_count() - threads}
"""


def start(house: House, **allowed: bool) -> Actor:
    plugins = {
        "enabled": ["hermes-kanban"],
        "entries": {"hermes-kanban": {f"allow_{k}": v for k, v in allowed.items()}},
    }
    (house.home / "config.yaml").write_text(json.dumps({"plugins": plugins}), encoding="utf-8")
    return house.host(LOAD)


@pytest.fixture(scope="module")
def worker(shared_house: House) -> Actor:
    """A worker process of the host on a task of ours, with our tools in the place of the host's."""
    with make_board(shared_house.database, Clock()) as board:
        board.create_task(title="task", assignee="worker")
    shared_house.environment["HERMES_KANBAN_TASK"] = shared_house.rows("SELECT id FROM tasks")[0]["id"]
    return start(shared_house, tool_override=True)


def test_with_leave_our_tools_replace_the_hosts(worker: Actor) -> None:
    seen = worker.ask("facts(False)")
    assert (seen["error"], seen["enabled"], seen["threads"]) == (None, True, 0)
    mine = [name for name, (home, _, _) in seen["owners"].items() if home == "hermes_kanban_plugin"]
    assert sorted(mine) == OURS
    assert len(seen["owners"]) > len(OURS), "the host's other kanban tools are still there"
    assert {tuple(seen["owners"][name][1:]) for name in OURS} == {("kanban", True)}
    assert worker.ask("[warning for warning in warnings if 'kanban' in warning]") == []


def test_registering_loads_no_tool_of_the_host_and_none_of_our_dependencies(house: House) -> None:
    chat = start(house, tool_override=True)
    assert chat.ask("facts(False)")["early"] is False
    (loaded,) = chat.ask("loaded")
    assert "hermes_kanban_plugin" in loaded
    assert not {"pydantic", "pluggy", "sqlite_utils", "ruamel", "psutil", "rich", "tools", "agent"} & set(loaded)


def test_registering_again_changes_nothing(worker: Actor) -> None:
    before = worker.ask("facts(False)")
    assert worker.ask("facts(True)") == before
    assert worker.ask("facts(True)") == before


def test_model_sees_the_same_fields_as_without_us(worker: Actor) -> None:
    """The host's own schema of the same tools, taken from its source, names the same parameters."""
    worker.ask("facts(False)")
    worker.ask("from tools.registry import registry; from tools import kanban_tools")
    for name in OURS:
        ours = worker.ask(f"registry.get_schema({name!r})")
        theirs = worker.ask(f"kanban_tools.{name.upper()}_SCHEMA")
        assert ours["name"] == theirs["name"] == name
        assert parameters(ours) == parameters(theirs)


def parameters(schema: dict[str, Any]) -> dict[str, Any]:
    described = schema["parameters"]
    types = {name: (field["type"], sorted(field.get("enum", []))) for name, field in described["properties"].items()}
    return {"fields": types, "required": sorted(described["required"])}


def test_host_calls_our_tools(house: House) -> None:
    """Through the host's registry, as a worker's model would, from claim to done."""
    with make_board(house.database, Clock()) as board:
        task_id = board.create_task(title="task", assignee="worker")
    before = json.loads(house.hermes_kanban("claim", task_id, "--ttl", "60", "--json"))
    house.environment |= {
        "HERMES_KANBAN_TASK": task_id,
        "HERMES_KANBAN_RUN_ID": str(before["current_run_id"]),
        "HERMES_KANBAN_CLAIM_LOCK": before["claim_lock"],
        "HERMES_KANBAN_CLAIM_TTL_SECONDS": "900",
    }
    worker = start(house, tool_override=True)
    worker.ask("load(False)")
    worker.ask("import json; import tools.kanban_tools; from tools.registry import registry")

    def use(name: str, **arguments: Any) -> dict[str, Any]:
        answer: dict[str, Any] = worker.ask(f"json.loads(registry.dispatch({name!r}, {arguments!r}))")
        return answer

    assert use("kanban_heartbeat", note="half")["ok"] is True
    with make_board(house.database, Clock()) as board:
        after = board.task(task_id)
    assert after.claim_expires is not None
    assert after.claim_expires > before["claim_expires"], "the host's own tool would not have extended the lease"
    assert "error" in use("kanban_heartbeat", task_id="t_00000000")
    assert use("kanban_complete", summary="made")["ok"] is True
    assert "no longer current" in use("kanban_heartbeat")["error"]
    with make_board(house.database, Clock()) as board:
        assert board.task(task_id).status == "done"
    assert violations(house.database) == []


@pytest.mark.parametrize("allowed", [{"tool_override": False}, {}], ids=["refused", "not asked"])
def test_without_leave_the_hosts_tools_stay(house: House, allowed: dict[str, bool]) -> None:
    house.environment["HERMES_KANBAN_TASK"] = "t_00000000"
    seen = start(house, **allowed).ask("[facts(False), facts(True), warnings]")
    assert seen[0] == seen[1]
    assert (seen[0]["error"], seen[0]["enabled"], seen[0]["threads"]) == (None, True, 0)
    assert {home for home, _, _ in seen[0]["owners"].values()} == {"tools"}
    assert set(OURS) < set(seen[0]["owners"])
    told = [warning for warning in seen[2] if "allow_tool_override" in warning]
    assert told, "the operator is told what to set"
