"""The door of a directory install: Hermes imports this file from the clone and calls ``register(ctx)``.

It holds definitions only, because pytest imports it too. An installed distribution never passes here: its entry
point names the package itself.
"""

from __future__ import annotations

import importlib.util
import shlex
import sys
from importlib.machinery import PathFinder
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from types import ModuleType

_PACKAGE = "hermes_kanban_plugin"

# Module to import -> requirement to install: the dependencies of pyproject.toml, which a clone does not install.
_NEEDS = {
    "pluggy": "pluggy>=1.5,<2",
    "psutil": "psutil>=5.9,<8",
    "pydantic": "pydantic>=2.7,<3",
    "rich": "rich>=13,<16",
    "ruamel.yaml": "ruamel.yaml>=0.18,<0.20",
    "shtab": "shtab>=1.9,<2",
    "sqlite_utils": "sqlite-utils>=4.1,<5",
}


def register(ctx: Any) -> None:
    """Hand the host's plugin context to the package.

    Raises:
        ImportError: the host's environment lacks a dependency, or the clone is incomplete; the message has the remedy.
    """
    missing = [requirement for module, requirement in _NEEDS.items() if _is_missing(module)]
    if missing:
        command = shlex.join([sys.executable, "-m", "pip", "install", *missing])
        raise ImportError(f"hermes-kanban lacks packages in the environment that runs Hermes, add them with: {command}")
    _package().register(ctx)


def _is_missing(module: str) -> bool:
    """Tell whether a module cannot be found, without importing it."""
    try:
        return importlib.util.find_spec(module) is None
    except ModuleNotFoundError:  # the parent of a dotted name is not there either
        return True


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
