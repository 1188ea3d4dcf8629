"""The door of a directory install: Hermes imports this file from the clone and calls ``register(ctx)``.

It holds definitions only, because pytest imports it too. An installed distribution never passes here: its entry
point names the package itself.
"""

from __future__ import annotations

import importlib.util
import sys
from importlib.machinery import PathFinder
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from types import ModuleType

_PACKAGE = "hermes_kanban_plugin"


def register(ctx: Any) -> None:
    """Hand the host's plugin context to the package, which sees to it that nothing is raised.

    Raises:
        ImportError: the clone is incomplete; the message has the remedy.
    """
    _package().register(ctx)


def _package() -> ModuleType:
    """Load the package beside this file under its real name, so that third-party plugins meet the same ``hookimpl``.

    Always the one beside this file: a search would also find a checkout in the current folder, such as a worker's
    workspace, and run its code.
    """
    if _PACKAGE not in sys.modules:
        spec = PathFinder.find_spec(_PACKAGE, [str(Path(__file__).resolve().parent)])
        if spec is None or spec.loader is None:
            raise ImportError("this clone of hermes-kanban is incomplete, run: hermes plugins update hermes-kanban")
        module = sys.modules[_PACKAGE] = importlib.util.module_from_spec(spec)
        try:
            spec.loader.exec_module(module)
        except BaseException:
            del sys.modules[_PACKAGE]  # a half-loaded package would be taken for a whole one the next time
            raise
    return sys.modules[_PACKAGE]
