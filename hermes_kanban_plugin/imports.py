"""Doing something to a module of somebody else once it is there: now, or right after its first import.

So a Hermes process pays for what it uses, and nothing of the host is imported on our account. Imports nothing but
``sys``, because the start-up file loads this module in every ``hermes`` process (docs/adr/0008-late-hooks.md).
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from importlib.machinery import ModuleSpec
    from types import ModuleType

    Action = Callable[[ModuleType], None]

_waiting: dict[str, dict[str, Action]] = {}


def after_import(name: str, key: str, action: Action) -> None:
    """Run an action on a module: at once if it is loaded, else right after it was imported for the first time.

    Args:
        name: the module's full name.
        key: names the action; one that waits already under the same key is replaced, so that asking twice is harmless.
        action: gets the module. What it raises is written to the log and goes no further: the import succeeds.
    """
    module = sys.modules.get(name)
    if module is not None:
        _run(action, module)
        return
    _waiting.setdefault(name, {})[key] = action
    if _Finder not in sys.meta_path:
        sys.meta_path.insert(0, _Finder)


def _run(action: Action, module: ModuleType) -> None:
    try:
        action(module)
    except Exception as problem:  # noqa: BLE001 - isolation edge: an import of the host must not fail on our account
        import logging

        logging.getLogger(__name__).warning("hermes-kanban left %s as it is: %s", module.__name__, problem)


class _Finder:
    """Finds nothing itself: lets the other finders find a module that is waited for, and wraps its loading."""

    @staticmethod
    def find_spec(name: str, path: Sequence[str] | None = None, target: ModuleType | None = None) -> ModuleSpec | None:
        """Return the spec that the other finders have, with our actions after the module's own code."""
        if name not in _waiting:
            return None
        for finder in sys.meta_path:
            if finder is _Finder:
                continue
            find = getattr(finder, "find_spec", None)
            spec: ModuleSpec | None = find(name, path, target) if find is not None else None
            if spec is not None:
                _wrap(spec)
                return spec
        return None


def _wrap(spec: ModuleSpec) -> None:
    loader = spec.loader
    execute = getattr(loader, "exec_module", None)
    if execute is None:
        return

    def exec_module(module: ModuleType) -> None:
        execute(module)
        for action in _waiting.pop(spec.name, {}).values():
            _run(action, module)

    loader.exec_module = exec_module  # type: ignore[union-attr,method-assign]
