"""Our words in the host's ``kanban`` command: in chats as ``/kanban …``, in the shell as ``hermes kanban …``.

Two functions of the host are wrapped, if they are what we know: the one that builds the parser and the one that does
what was parsed. A word that the host has itself stays the host's. Both are looked up by the host each time they are
called. Rule source: docs/adr/0011-shell-words.md.
"""

from __future__ import annotations

import argparse
import inspect
import io
import logging
import os
import sys
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hermes_kanban_plugin.host.switches import switch
from hermes_kanban_plugin.imports import after_import
from hermes_kanban_plugin.roles import Role, role_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType

log = logging.getLogger(__name__)

SWITCH = "extend_kanban_command"
_MODULE = "hermes_cli.kanban"
_PLUGIN_ID = "hermes-kanban"
_MARK = "_hermes_kanban_words"
# What our parsers leave in the parsed arguments: the function, and the flags that make a call of a host's word ours.
_RUN = "hermes_kanban_run"
_OURS = "hermes_kanban_ours"
_NEEDS = "hermes_kanban_needs"
_IN_CHATS = "hermes_kanban_in_chats"
# What the host's own words write on a task; ours that have the same name ask by themselves.
_WRITING = frozenset((
    "complete", "block", "schedule", "unblock", "heartbeat", "comment", "attach", "edit", "reclaim", "archive",
    "assign", "reassign", "promote", "claim", "link", "unlink", "specify", "decompose",
))  # fmt: skip

_registered = False


def install(ctx: Any) -> None:
    """Have the words in this process, which has loaded the plugin, as soon as the host's command is there.

    Args:
        ctx: the host's plugin context; nothing is asked of it.
    """
    global _registered
    del ctx
    _registered = True
    after_import(_MODULE, "words", extend)


def extend(module: ModuleType) -> None:
    """Wrap the host's two functions; doing it twice changes nothing, and what is not known is left alone.

    Args:
        module: the host's ``hermes_cli.kanban``.
    """
    build, command = getattr(module, "build_parser", None), getattr(module, "kanban_command", None)
    if build is None or command is None or not (_takes_one(build) and _takes_one(command)):
        log.warning("hermes-kanban does not know the kanban command of this Hermes; use hermes-kanban instead")
        return
    if getattr(command, _MARK, False):
        return
    module.build_parser = _mark(lambda parents: _build(build, parents))  # type: ignore[attr-defined]
    module.kanban_command = _mark(lambda parsed: _perform(command, parsed))  # type: ignore[attr-defined]


def _takes_one(function: Any) -> bool:
    try:
        return callable(function) and len(inspect.signature(function).parameters) == 1
    except (TypeError, ValueError):
        return False


def _mark(function: Callable[[Any], Any]) -> Callable[[Any], Any]:
    setattr(function, _MARK, True)
    return function


# --- are we meant ------------------------------------------------------------------------------------------------


def _build(build: Callable[[Any], Any], parents: Any) -> Any:
    parser = build(parents)
    try:
        if _is_wanted():
            _add_words(parser)
        if not _registered and _is_shell_command() and _is_enabled():
            # No plugin is loaded here, and this process is about to write to a board (contract W1).
            import_module("hermes_kanban_plugin.host.file_check").install(None)
    except Exception as problem:  # noqa: BLE001 - isolation edge: the host's own words must not go away with ours
        log.warning("hermes-kanban added no words to the kanban command: %s", problem)
    return parser


def _is_wanted() -> bool:
    """Say whether the words are to be there: the plugin runs in this process, or is enabled in this shell's home."""
    if not (_registered or (_is_shell_command() and _is_enabled())):
        return False
    return switch(SWITCH)


def _is_shell_command() -> bool:
    """Say whether this process is a ``hermes kanban``; the host has taken ``--profile`` out of its arguments."""
    return next((word for word in sys.argv[1:] if not word.startswith("-")), None) == "kanban"


def _is_enabled() -> bool:
    """Ask the host's configuration of the active home; only if our name stands in one of its files at all."""
    home = Path(import_module("hermes_constants").get_hermes_home())
    managed = os.environ.get("HERMES_MANAGED_DIR", "").strip() or "/etc/hermes"
    if not any(_names_us(folder / "config.yaml") for folder in (home, Path(managed))):
        return False
    config = import_module("hermes_cli.config")
    read = getattr(config, "load_config_readonly", None) or config.load_config
    plugins = read().get("plugins") or {}
    return _PLUGIN_ID in (plugins.get("enabled") or ()) and _PLUGIN_ID not in (plugins.get("disabled") or ())


def _names_us(path: Path) -> bool:
    try:
        return _PLUGIN_ID.encode() in path.read_bytes()
    except OSError:
        return False


# --- the parser ----------------------------------------------------------------------------------------------------


def _add_words(parser: argparse.ArgumentParser) -> None:
    words = import_module("hermes_kanban_plugin.cli.words")
    actions = next(one for one in parser._actions if isinstance(one, argparse._SubParsersAction))
    for word in words.NEW:
        if word.name not in actions.choices:
            ours = actions.add_parser(word.name, help=word.about, description=word.about)
            word.add_flags(ours)
            ours.set_defaults(**{_RUN: word.run})
    for word in words.EXTENDED:
        theirs = actions.choices.get(word.name)
        if theirs is not None and not set(word.ours) & {action.dest for action in theirs._actions}:
            needs = _loosen(theirs, word.optional)
            word.add_flags(theirs)
            theirs.set_defaults(**{_RUN: word.run, _OURS: word.ours, _NEEDS: needs, _IN_CHATS: word.in_chats})


def _loosen(parser: argparse.ArgumentParser, names: tuple[str, ...]) -> tuple[str, ...]:
    """Make arguments of the host's word optional; returns those that were required, which we have to ask for then."""
    loosened = []
    for action in parser._actions:
        if action.dest in names and action.required:
            action.required = False
            if not action.option_strings:
                action.nargs = argparse.OPTIONAL
            loosened.append((action.option_strings or [action.dest])[0])
    return tuple(loosened)


# --- the deed ------------------------------------------------------------------------------------------------------


def _perform(command: Callable[[Any], Any], parsed: argparse.Namespace) -> Any:
    refusal = _refusal(parsed)
    if refusal is not None:
        print(f"kanban {parsed.kanban_action}: {refusal}", file=sys.stderr)
        return _end(2)
    run, ours = getattr(parsed, _RUN, None), getattr(parsed, _OURS, ())
    if run is None:
        return command(parsed)
    always = getattr(parsed, _IN_CHATS, False) and not _is_shell()
    if ours and not always and not any(getattr(parsed, name, False) for name in ours):
        missing = [name for name in getattr(parsed, _NEEDS, ()) if getattr(parsed, _dest(name), None) is None]
        if not missing:
            return command(parsed)
        print(f"kanban {parsed.kanban_action}: the following arguments are required: {missing[0]}", file=sys.stderr)
        return _end(2)
    parsed.run = run
    return _end(import_module("hermes_kanban_plugin.cli.main").perform(parsed))


def _refusal(parsed: argparse.Namespace) -> str | None:
    """Return why this process may not do what was asked for, or None: a worker's terminal does not speak for it.

    Where people type, in a gateway or a dashboard, the environment says nothing, whatever that was started from.
    """
    task_id = os.environ.get("HERMES_KANBAN_TASK", "").strip()
    if not task_id or getattr(parsed, "kanban_action", None) not in _WRITING or task_id not in _tasks_of(parsed):
        return None
    if not _is_wanted() or role_of(os.environ, sys.argv) in (Role.GATEWAY, Role.DASHBOARD):
        return None
    try:
        import_module("hermes_kanban_plugin.worker.assignment").prove(os.environ, os.getpid())
    except Exception as problem:  # noqa: BLE001 - isolation edge: what cannot be found out is refused
        return str(problem)
    return None


def _tasks_of(parsed: argparse.Namespace) -> list[Any]:
    one = [getattr(parsed, name, None) for name in ("task_id", "parent_id", "child_id")]
    return [*one, *(getattr(parsed, "task_ids", None) or ())]


def _dest(name: str) -> str:
    return name.lstrip("-").replace("-", "_")


def _end(status: int) -> int:
    """Return a status; in the shell end with it, because the host ends with 0 whatever its words return (W26).

    Never where the words are typed in a chat: the process is the gateway.
    """
    if status and _is_shell():
        sys.exit(status)
    return status


def _is_shell() -> bool:
    """Say whether the words were typed in a shell; what they print in a chat is captured."""
    return _is_shell_command() and not isinstance(sys.stdout, io.StringIO)
