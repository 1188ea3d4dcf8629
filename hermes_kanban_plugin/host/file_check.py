"""The host's functions that open and close a board's file, replaced by ours that do not (contract W1).

From 0.15.0 on the host looks at the file after every write, before every first connection, and when a board is
damaged. Each time it drops all of SQLite's locks in its process, and then rows get lost. One function is replaced at
a time, and only one whose source is known word for word: what another version does is not ours to guess.
"""

from __future__ import annotations

import importlib.util
import logging
import os
from enum import StrEnum
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from hermes_kanban_plugin.host.switches import switch
from hermes_kanban_plugin.imports import after_import

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import FunctionType, ModuleType

log = logging.getLogger(__name__)

SWITCH = "guard_file_check"
_MODULE = "hermes_cli.kanban_db"
# The host's functions, each with the fingerprint of its source (the same one from 0.15.0 to 0.19.0) and with the
# function of board_file that takes its place.
_SOURCES = {
    "_check_file_length_invariant": "e37d7e3c406d80d87380d03b3e584c272a02d96adf6a6eb9e05bfdc6134149fc",
    "_validate_sqlite_header": "3c14aacede90038be30b37175a8a9a13edbdf705e655ae670863b51c2178c70f",
    "_backup_corrupt_db": "0a298101766f40135b0429e54e77975a188fd6fba6be1fdead62b3e3fe0df0dc",
}
_REPLACEMENTS = {
    "_check_file_length_invariant": "check_length",
    "_validate_sqlite_header": "check_header",
    "_backup_corrupt_db": "back_up",
}


class State(StrEnum):
    """What is done about the checks of a host, as long as the switch is on."""

    NO_HOST = "no host"
    HARMLESS = "harmless"
    REPLACED = "replaced"
    UNKNOWN = "unknown"


class FileChecks(NamedTuple):
    """What is known about the checks of a host: ``functions`` are those that are replaced, or those not known."""

    state: State
    functions: tuple[str, ...] = ()


def install(ctx: Any) -> None:
    """Replace the checks as soon as this process has loaded the host's board module.

    Args:
        ctx: the host's plugin context; nothing is asked of it.
    """
    if os.name == "posix":  # elsewhere closing a descriptor drops no locks
        after_import(_MODULE, __name__, neutralise)


def neutralise(module: ModuleType) -> None:
    """Replace what is known among the checks of a loaded board module; doing it twice changes nothing.

    What is not known is left alone, and one line in the log says so.

    Args:
        module: the host's ``hermes_cli.kanban_db``.
    """
    if not switch(SWITCH):
        log.info("hermes-kanban leaves the host's file checks as they are: %s is off", SWITCH)
        return
    left = []
    for name in _SOURCES:
        function = getattr(module, name, None)
        if function is None or _is_ours(function):
            continue
        if _is_known(name, function):
            setattr(module, name, _replacement(name))
        else:
            left.append(name)
    if left:
        log.warning(
            "hermes-kanban does not know %s of this Hermes and leaves it: while no dispatcher of ours runs, rows that "
            "processes of Hermes write can get lost; see hermes-kanban doctor",
            " and ".join(left),
        )


def state_of_installed_host() -> FileChecks:
    """Say what is replaced in the host that this interpreter can import; reads its source instead of importing it."""
    import ast  # late: only the doctor reads source

    spec = importlib.util.find_spec(_MODULE.partition(".")[0])
    folders = list(spec.submodule_search_locations or ()) if spec is not None else []
    path = next((path for folder in folders if (path := Path(folder, "kanban_db.py")).is_file()), None)
    if path is None:
        return FileChecks(State.NO_HOST)
    text = path.read_text(encoding="utf-8")
    lines = text.splitlines()
    sources = {}
    for node in ast.parse(text).body:
        if isinstance(node, ast.FunctionDef) and node.name in _SOURCES:
            sources[node.name] = "\n".join(lines[node.lineno - 1 : node.end_lineno])
        elif isinstance(node, ast.ImportFrom):  # it has moved to another file of the host
            sources |= {alias.name: "" for alias in node.names if alias.name in _SOURCES}
    unknown = tuple(name for name, source in sources.items() if fingerprint(source) != _SOURCES[name])
    if unknown:
        return FileChecks(State.UNKNOWN, unknown)
    return FileChecks(State.REPLACED, tuple(sources)) if sources else FileChecks(State.HARMLESS)


def fingerprint(source: str) -> str:
    """Return what tells one function's source from another's, whatever the white space at the ends of its lines."""
    import hashlib

    lines = [line.rstrip() for line in source.splitlines()]
    return hashlib.sha256("\n".join(line for line in lines if line).encode()).hexdigest()


def _is_ours(function: Any) -> bool:
    return str(getattr(function, "__module__", "")).startswith(__package__ or __name__)


def _is_known(name: str, function: FunctionType) -> bool:
    import linecache  # late: it is there in every process that gets as far as this

    try:
        # Of the code: a function that wraps the host's own would be taken for what it wraps. Not by inspect.getsource,
        # which looks through every loaded module for the one that the code is from, and reads it word by word.
        code = function.__code__
        return fingerprint(_block(linecache.getlines(code.co_filename), code.co_firstlineno - 1)) == _SOURCES[name]
    except (OSError, TypeError, AttributeError):
        return False  # no source, or not a function


def _block(lines: Sequence[str], first: int) -> str:
    """Return a function's source: its first line, and all that follows it and is indented, or empty."""
    rest = takewhile(lambda line: line[:1] in " \t\n\r)", lines[first + 1 :])
    return "".join([*lines[first : first + 1], *rest])


def _replacement(name: str) -> Callable[..., Any]:
    from hermes_kanban_plugin.host import board_file

    replacement: Callable[..., Any] = getattr(board_file, _REPLACEMENTS[name])
    return replacement
