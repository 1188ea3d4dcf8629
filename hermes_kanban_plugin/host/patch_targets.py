"""Which functions of the installed host are not what our replacements of them expect; read from its source.

Each replacement looks at its function itself and leaves it alone if it is not known. Then something that
docs/explanation/guarantees.md promises does not hold, so the doctor says it. The checks of the board file are looked at
word for word instead (file_check.py).
"""

from __future__ import annotations

import ast
import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator


class Target(NamedTuple):
    """A function that we replace: where it is, the parameters that it has to have, and the switch of its replacement.

    With ``exact`` it has to have these and no others, in this order.
    """

    module: str
    name: str
    parameters: tuple[str, ...]
    switch: str
    exact: bool = False

    def fits(self, parameters: list[str]) -> bool:
        """Say whether a function with these parameters is what we know."""
        if not self.exact:
            return set(parameters) >= set(self.parameters)
        known = [given if name == _ANY else name for name, given in zip(self.parameters, parameters, strict=False)]
        return parameters == known and len(known) == len(self.parameters)


_ANY = "*"  # a parameter of whatever name
_ENDS_A_RUN = ("conn", "task_id", "error", "outcome", "release_claim", "end_run", "event_payload_extra")
TARGETS = (
    Target("hermes_cli.kanban_db", "_record_task_failure", _ENDS_A_RUN, "fence_failures"),
    Target("hermes_cli.kanban_db", "block_task", ("conn", "task_id", "expected_run_id"), "fence_blocks"),
    Target("hermes_cli.kanban_db", "store_attachment_bytes", (), "fence_attachments"),
    Target("hermes_cli.kanban", "build_parser", (_ANY,), "extend_kanban_command", exact=True),
    Target("hermes_cli.kanban", "kanban_command", (_ANY,), "extend_kanban_command", exact=True),
    Target("tools.kanban_tools", "heartbeat_current_worker_from_env", (), "bridge_activity", exact=True),
    Target("agent.turn_finalizer", "finalize_turn", ("agent",), "fence_subagents"),
    Target("run_agent", "AIAgent._touch_activity", ("self", "desc"), "bridge_activity", exact=True),
    Target("run_agent", "AIAgent._extract_api_error_context", (_ANY,), "note_limits", exact=True),
)


def unknown(*, missing_too: bool) -> list[Target]:
    """Return the functions of the installed host that are left alone because they are not what we know.

    Args:
        missing_too: those that are not there, too; older hosts have not all of them, and do without.
    """
    bodies = {module: _body_of(module) for module in {target.module for target in TARGETS}}
    found = {target: _parameters_of(target, bodies[target.module]) for target in TARGETS}
    return [
        target
        for target, parameters in found.items()
        if (missing_too if parameters is None else not target.fits(parameters))
    ]


def _parameters_of(target: Target, body: list[ast.stmt]) -> list[str] | None:
    owner, _, name = target.name.rpartition(".")
    for node in _definitions(body, owner):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name == name:
            given = node.args
            return [one.arg for one in (*given.posonlyargs, *given.args, *given.kwonlyargs)]
    return None


def _body_of(module: str) -> list[ast.stmt]:
    path = _source_of(module)
    return ast.parse(path.read_text(encoding="utf-8")).body if path is not None else []


def _definitions(body: list[ast.stmt], owner: str) -> Iterator[ast.stmt]:
    """Return what a module of the host defines at its top, or in one of its classes."""
    if not owner:
        yield from body
    for node in body:
        if isinstance(node, ast.ClassDef) and node.name == owner:
            yield from node.body


def _source_of(module: str) -> Path | None:
    """Return the file of a module; nothing of the host is imported for that."""
    top, *below = module.split(".")
    spec = importlib.util.find_spec(top)
    if spec is None:
        return None
    if not below:
        return Path(spec.origin) if spec.origin else None
    folders = spec.submodule_search_locations or ()
    return next((path for folder in folders if (path := Path(folder, *below).with_suffix(".py")).is_file()), None)
