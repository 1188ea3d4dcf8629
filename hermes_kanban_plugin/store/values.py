"""Values of a row as they can be shown, whatever another program put into the board: SQLite keeps what it is given.

For looking only. What is decided on is read as a model (:mod:`hermes_kanban_plugin.store.rows`), which refuses a row
that it cannot read; beside it, one such value must not keep a person from seeing all the others.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

# The columns that hold a number, by the names that the statements for looking give them.
NUMBERS = frozenset(
    {"attempt", "claim_expires", "claimed_at", "commented_at", "created_at", "current_run_id", "due_at", "ended_at",
     "last_heartbeat_at", "late_run", "progress_at", "repeated_calls", "run_id", "started_at", "turn_at",
     "unproven_run", "worker_pid"}
)  # fmt: skip


def known(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row in which what is no number where one belongs is not known, and bytes are the text they may be."""
    return {name: number(value) if name in NUMBERS else _text(value) for name, value in row.items()}


def number(value: object) -> int | None:
    """Return a value as a whole number; None for what is none."""
    if isinstance(value, float):
        return int(value) if math.isfinite(value) else None
    return value if isinstance(value, int) else None


def _text(value: Any) -> Any:
    return value.decode(errors="replace") if isinstance(value, bytes) else value
