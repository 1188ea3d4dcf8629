"""What the start-up file runs in a ``hermes kanban`` process, which loads no plugin: it waits for the host's module.

Imports nothing that costs anything: see docs/adr/0011-shell-words.md.
"""

from __future__ import annotations

from hermes_kanban_plugin.imports import after_import

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType


def install() -> None:
    """Have our words added to ``hermes kanban`` once that is loaded; does nothing else."""
    after_import("hermes_cli.kanban", "words", _extend)


def _extend(module: ModuleType) -> None:
    from importlib import import_module

    import_module("hermes_kanban_plugin.host.kanban_words").extend(module)
