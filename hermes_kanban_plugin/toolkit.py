"""The shared front of the agent tools: arguments in, ownership checked, JSON out, never an exception.

Bad input of any kind answers ``{"error": …}`` with a remedy and changes nothing. Rule source: contract section 6.
"""

from __future__ import annotations

import json
import logging
import os
import sqlite3
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from hermes_kanban_plugin import configuration, host, locations
from hermes_kanban_plugin.board import Board, open_board
from hermes_kanban_plugin.dispatch.ownership import Caller, caller_of
from hermes_kanban_plugin.errors import InvalidArgument, KanbanError, NotTheOwner
from hermes_kanban_plugin.models import MAX_TEXT
from hermes_kanban_plugin.store.connection import translating

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from hermes_kanban_plugin.manager import Manager
    from hermes_kanban_plugin.models import Task
    from hermes_kanban_plugin.settings import PluginSettings
    from hermes_kanban_plugin.store.leases import Lease

log = logging.getLogger(__name__)

TOOLSET = "kanban"
# More than anybody lists, and few enough to check one by one.
MAX_ITEMS = 1000
Text = Annotated[str, Field(max_length=MAX_TEXT)]
# Ids and names are echoed in refusals, which a model has to read.
Name = Annotated[str, Field(max_length=200)]
# A single string where a list is asked for is taken as a list of one, as the host does.
TextList = Annotated[
    list[Text],
    Field(max_length=MAX_ITEMS),
    BeforeValidator(lambda value: [value] if isinstance(value, str) else value),
]


class ToolArguments(BaseModel):
    """What every tool takes: which task (default: the worker's own) and which board (default: the current one)."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    task_id: Name | None = Field(None, description="Id of the task; by default the task this worker was started for.")
    board: Name | None = Field(None, description="Name of the board; by default the board this process is pinned to.")


class Call(NamedTuple):
    """One checked call: the open board, the task as it is, who calls, and the lease if the caller is a worker."""

    board: Board
    task: Task
    caller: Caller
    lease: Lease | None

    def fire(self, event: str, **fields: Any) -> None:
        """Tell the host's plugins about a change that is committed; what was only tried on a copy is none."""
        if not self.board.is_rehearsal:
            host.fire_lifecycle_hook(event, **fields)

    def settings(self) -> PluginSettings:
        """Return our settings; one that cannot be read now must not cost a worker its tools: defaults count then."""
        return configuration.load_or_default(self.board.location.root).plugin


class Tool(NamedTuple):
    """An agent tool: its name, what the model is told, its arguments, and what it does with a checked call."""

    name: str
    description: str
    arguments: type[ToolArguments]
    handler: Callable[[Call, Any], dict[str, Any]]
    emoji: str = ""

    def schema(self) -> dict[str, Any]:
        """Return the tool's JSON schema in the form the host hands to models."""
        full = self.arguments.model_json_schema()
        properties = {name: _plain(prop) for name, prop in full["properties"].items()}
        order = [*[name for name in properties if name != "board"], "board"]
        parameters = {
            "type": "object",
            "properties": {name: properties[name] for name in order},
            "required": full.get("required", []),
        }
        return {"name": self.name, "description": self.description, "parameters": parameters}


def _plain(prop: Mapping[str, Any]) -> dict[str, Any]:
    """Return a property without what pydantic adds for optional values and limits, which models need not see."""
    chosen: Mapping[str, Any] = next((one for one in prop.get("anyOf", []) if one.get("type") != "null"), prop)
    plain = {name: chosen[name] for name in ("type", "enum") if name in chosen}
    if "items" in chosen:
        plain["items"] = {"type": chosen["items"]["type"]}
    return {**plain, "description": prop.get("description", "")}


def call(tool: Tool, manager: Manager, arguments: Any) -> str:
    """Run a tool for an agent; returns its JSON answer, ``{"ok": true, …}`` or ``{"error": "…"}``, and never raises."""
    try:
        answer = perform(tool, manager, arguments, caller_of(os.environ, os.getpid()))
        return json.dumps({"ok": True, **answer}, ensure_ascii=False)
    except KanbanError as refusal:
        return _error(f"{tool.name}: {refusal}")
    except (sqlite3.Error, OSError) as problem:
        log.warning("%s failed: %s", tool.name, problem)
        return _error(f"{tool.name}: {problem}. Nothing was changed; call it again")
    except Exception as problem:  # the model gets a sentence, the log the trace
        log.exception("%s failed", tool.name)
        return _error(f"{tool.name} failed unexpectedly ({type(problem).__name__}: {problem}); nothing was changed")


def perform(tool: Tool, manager: Manager, arguments: Any, caller: Caller) -> dict[str, Any]:
    """Run a tool for a caller and return its answer.

    Raises:
        KanbanError: it was refused or failed; nothing was changed.
    """
    parsed = _parse(tool, arguments)
    with open_board((parsed.board or "").strip() or None) as board:
        return _perform_on(board, tool, manager, parsed, caller)


def rehearse(board: Board, tool: Tool, manager: Manager, arguments: Any, caller: Caller) -> dict[str, Any]:
    """Run a tool on a copy of a board, which it then is changed on; returns its answer.

    Raises:
        KanbanError: it would be refused.
    """
    return _perform_on(board, tool, manager, _parse(tool, arguments), caller)


def _perform_on(board: Board, tool: Tool, manager: Manager, parsed: Any, caller: Caller) -> dict[str, Any]:
    task_id = _task_id(parsed, caller)
    with translating(board.path):
        _check_ownership(manager, caller, task_id, tool.name, board)
        checked = Call(board, board.task(task_id), caller, caller.lease if caller.is_worker else None)
        return tool.handler(checked, parsed)


def answer(name: str, arguments: Any) -> str:
    """Run a tool by its name for an agent of this process; returns its JSON answer.

    Raises:
        KeyError: no plugin brings such a tool.
    """
    return call(process_tools()[name], process_manager(), arguments)


@cache
def process_manager() -> Manager:
    """Return this process's plugins; made once, when a tool is first called.

    The settings are read only for third-party plugins: which of them are blocked, and ``kanban_configure``.
    """
    from hermes_kanban_plugin.manager import Manager, third_parties

    if not third_parties():
        return Manager(discover=False)
    found = configuration.load_or_default(locations.kanban_root())
    manager = Manager(found.plugin.block_plugins)
    manager.configure(found)
    return manager


@cache
def process_tools() -> dict[str, Tool]:
    """Return the tools of this process by name; looked up once."""
    return tools_of(process_manager())


def built_in(name: str) -> Tool:
    """Return our own tool of a name."""
    tool: Tool = import_module(f"hermes_kanban_plugin.tools.{name}").TOOL
    return tool


def tools_of(manager: Manager) -> dict[str, Tool]:
    """Return the tools that the plugins bring, by name.

    The first one of a name stays, so that a plugin can replace a built-in tool. A second one is refused and reported,
    without an error for its plugin, which would keep that from registering its other tools.
    """
    found: dict[str, Tool] = {}

    def register(tool: Tool) -> None:
        if tool.name in found:
            taken = ValueError(f"a tool named {tool.name!r} is registered already; the second one is left out")
            manager.report("kanban_register_tools", taken)
            return
        found[tool.name] = tool

    manager.tell("kanban_register_tools", register=register)
    return found


def _error(message: str) -> str:
    return json.dumps({"error": message}, ensure_ascii=False)


def _parse(tool: Tool, arguments: Any) -> Any:
    if not isinstance(arguments, dict):
        raise InvalidArgument(f"arguments must be an object, got {type(arguments).__name__}")
    given = {name: value for name, value in arguments.items() if value is not None}
    try:
        return tool.arguments.model_validate(given)
    except ValidationError as problem:
        first = problem.errors()[0]
        field = ".".join(str(part) for part in first["loc"]) or "arguments"
        raise InvalidArgument(f"{field}: {first['msg']}. Correct it and call {tool.name} again") from problem


def _task_id(parsed: ToolArguments, caller: Caller) -> str:
    task_id = (parsed.task_id or "").strip() or caller.task_id
    if not task_id:
        raise InvalidArgument("task_id is required here, because this process was not started for a task")
    return task_id


def _check_ownership(manager: Manager, caller: Caller, task_id: str, action: str, board: Board) -> None:
    """Ask every plugin; one DENY is enough, an error is a DENY, and without an ALLOW nothing is allowed."""
    allowed = False
    question: dict[str, Any] = {"caller": caller, "task_id": task_id, "action": action, "board": board}
    # A plugin that failed too often elsewhere still has its vote: leaving it out would open the door.
    for name, vote, problem in manager.poll("kanban_check_ownership", skip_broken=False, **question):
        if problem is not None:
            raise NotTheOwner(f"{action} was refused because the ownership check of plugin {name} failed: {problem}")
        if vote is not None and not vote.allowed:
            raise NotTheOwner(vote.reason or f"{action} was refused by plugin {name}")
        allowed = allowed or (vote is not None and vote.allowed)
    if not allowed:
        raise NotTheOwner(
            f"{action} was refused: no plugin's kanban_check_ownership allows it (docs/reference/hooks.md)"
        )


def clean(text: str | None) -> str | None:
    """Return a text without secrets, or None when there is nothing in it."""
    return host.redact(text) if text and text.strip() else None
