"""The built-in diagnosis: every rule of the rule book."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hermes_kanban_plugin.hookspecs import hookimpl

if TYPE_CHECKING:
    from hermes_kanban_plugin.diagnosis.facts import BoardFacts
    from hermes_kanban_plugin.diagnosis.finding import Finding


@hookimpl(trylast=True)
def kanban_diagnose(facts: BoardFacts) -> list[Finding]:
    """Judge by the built-in rules."""
    from hermes_kanban_plugin.diagnosis import rulebook  # late: built-in plugins are loaded where nobody asks, too

    return rulebook.diagnose(facts)
