"""A finding: one thing that is wrong, in one sentence, with what shows it and the command that mends it."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Any

from hermes_kanban_plugin.models import Frozen

if TYPE_CHECKING:
    from collections.abc import Iterable


class Level(StrEnum):
    """How bad it is: ``info`` explains, ``warning`` wants a look, ``error`` holds work up, ``critical`` all work."""

    INFO = "info"
    WARNING = "warning"
    ERROR = "error"
    CRITICAL = "critical"

    @property
    def rank(self) -> int:
        """How bad it is as a number, the worse the higher."""
        return list(Level).index(self)


class Finding(Frozen):
    """One thing that is wrong.

    ``kind`` is the name that docs/reference/diagnostics.md explains. ``sentence`` is for people and says whom it
    concerns. ``evidence`` is what shows it, as plain values. ``fix`` is the command that mends it, or None when
    nothing has to be done. ``task_id`` and ``run_id`` are None for what concerns more than one.
    """

    kind: str
    level: Level
    sentence: str
    task_id: str | None = None
    run_id: int | None = None
    evidence: dict[str, Any] = {}
    fix: str | None = None

    @property
    def holds_up(self) -> bool:
        """Whether something does not work, and not only might be better: commands end with status 1 then."""
        return self.level.rank >= Level.ERROR.rank

    def concerns(self, task_id: str) -> bool:
        """Say whether the finding is about a task, alone or among others."""
        return self.task_id == task_id or task_id in self.evidence.get("tasks", ())


def worst_first(findings: Iterable[Finding]) -> list[Finding]:
    """Return findings in the order in which a person should look at them."""
    return sorted(findings, key=lambda found: (-found.level.rank, found.kind, found.task_id or "", found.run_id or 0))


def gathered(task_ids: Iterable[str], shown: int = 20) -> dict[str, Any]:
    """Return the evidence for a finding about several tasks: how many, and the first of them."""
    ids = list(task_ids)
    return {"count": len(ids), "tasks": ids[:shown]}
