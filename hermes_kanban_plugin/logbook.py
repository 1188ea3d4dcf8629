"""What the dispatcher writes into its log: one line per deed, as ``key=value``, so that programs can read it too.

``action`` comes first, then ``board``, ``task`` and ``run`` where they mean something, then what else is known, and at
last a sentence. Pure, standard library only.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hermes_kanban_plugin.models import TickReport

PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 60.0, 3600.0
_PLAIN = re.compile(r"[^\s\"=]+")


class Complaints:
    """What is wrong and stays wrong is told when it changes, and then at growing intervals: not once per tick."""

    def __init__(self) -> None:
        self._told: dict[str, tuple[str, float, float]] = {}

    def due(self, about: str, text: str, at: float) -> bool:
        """Say whether a complaint should be told now; the next time it is asked for is counted from here.

        Args:
            about: whom or what it concerns.
            text: what is wrong.
            at: monotonic seconds.
        """
        known, since, pause = self._told.get(about, ("", 0.0, 0.0))
        if known == text and at - since < pause:
            return False
        self._told[about] = (text, at, min(pause * 2, LONGEST_PAUSE_SECONDS) if known == text else PAUSE_SECONDS)
        return True

    def settle(self, about: str) -> None:
        """Forget a complaint that is over, so that the same again is told at once."""
        self._told.pop(about, None)


def entry(action: str, sentence: str = "", /, **known: object) -> str:
    """Return one line of the log.

    Args:
        action: what was done, in one word.
        sentence: what a person wants to know besides.
        known: ``board``, ``task``, ``run`` and whatever else has a name; None is left out.
    """
    fields = {"action": action, **known, "msg": sentence or None}
    return " ".join(f"{name}={_quoted(value)}" for name, value in fields.items() if value is not None)


def entries_of(report: TickReport) -> Iterator[str]:
    """Return a line for everything that a tick did to a task."""
    board = report.board
    for kind, many in (("rescued", report.rescued), ("repaired", report.repaired)):
        for one in many:
            yield entry(kind, one.reason, board=board, task=one.task_id, run=one.run_id, outcome=one.outcome)
    for task_id in report.promoted:
        yield entry("promoted", board=board, task=task_id)
    for started in report.started:
        who = {"assignee": started.assignee, "lane": started.lane}
        yield entry("started", board=board, task=started.task_id, run=started.run_id, **who)
    for failed in report.failed:
        yield entry("launch_failed", failed.reason, board=board, task=failed.task_id)


def _quoted(value: object) -> str:
    text = str(value)
    return text if _PLAIN.fullmatch(text) else json.dumps(text, ensure_ascii=False)
