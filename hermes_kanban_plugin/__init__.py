"""Kanban work for Hermes Agent that cannot get lost: fenced leases, supervised workers, instant recovery.

Importing this package costs next to nothing: it loads no dependency, because
the host imports it in every process and the supervisor imports it in one process per worker. Public names are
resolved on first use.
"""

from __future__ import annotations

import os

# Not imported from typing: that alone would cost more than all the rest, in every Hermes process.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from hermes_kanban_plugin.board import Board as Board
    from hermes_kanban_plugin.board import open_board as open_board
    from hermes_kanban_plugin.hookspecs import hookimpl as hookimpl
    from hermes_kanban_plugin.identity import Verdict as Verdict
    from hermes_kanban_plugin.registration import register as register

__version__ = "0.1.0"

__all__ = ["Board", "Verdict", "__version__", "hookimpl", "open_board", "register"]

_PUBLIC = {
    "Board": "hermes_kanban_plugin.board",
    "Verdict": "hermes_kanban_plugin.identity",
    "hookimpl": "hermes_kanban_plugin.hookspecs",
    "open_board": "hermes_kanban_plugin.board",
    "register": "hermes_kanban_plugin.registration",
}

# A checkout keeps tools/ and hooks/ beside this folder, a wheel inside it (see docs/adr/0001-layout.md).
_checkout = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))
if os.path.isfile(os.path.join(_checkout, "plugin.toml")):
    __path__.append(_checkout)


def __getattr__(name: str) -> Any:
    """Load a public name from the module that defines it.

    Raises:
        AttributeError: the package has no such public name.
    """
    module = _PUBLIC.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(module), name)
