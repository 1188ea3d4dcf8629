"""What a supervisor is told to do, as it travels from the dispatcher through a pipe.

Not on the command line, because the worker's environment holds secrets. Standard library only.
"""

from __future__ import annotations

import json
from typing import Any, NamedTuple

from hermes_kanban_plugin.breaker import Terms
from hermes_kanban_plugin.store.leases import Lease


class Order(NamedTuple):
    """One worker to start.

    ``root`` is the kanban home, whose dispatcher is told when the worker ended. ``argv``, ``environment`` and
    ``directory`` describe the worker; ``log`` is the file its output is appended to. ``completes`` says that exit
    status 0 means done (command lanes) rather than "forgot to say so" (Hermes workers). Durations are seconds:
    ``grace_seconds`` lie between TERM and KILL, ``farewell_seconds`` are what a worker gets to end by itself after its
    final word; ``terms`` say what a failure costs, unless the board says something newer; ``max_runtime`` bounds the
    attempt or is None. ``heartbeat_limit`` and ``stale_timeout`` say when a silent worker counts as wedged, 0 for
    never. Whatever is new has a default, because the dispatcher that writes an order may be older than the supervisor
    that reads it.
    """

    root: str
    database: str
    lease: Lease
    argv: list[str]
    environment: dict[str, str]
    directory: str
    log: str
    workspaces: str
    completes: bool
    lease_seconds: int
    grace_seconds: float
    farewell_seconds: float
    terms: Terms = Terms()
    max_runtime: int | None = None
    heartbeat_limit: int = 0
    stale_timeout: int = 0

    def to_json(self) -> str:
        """Return the order as the text that :meth:`from_json` reads."""
        return json.dumps(self._asdict())

    @classmethod
    def from_json(cls, text: str) -> Order:
        """Read an order.

        Raises:
            ValueError: the text is cut off or not an order, because the dispatcher died while it wrote.
        """
        try:
            fields: dict[str, Any] = json.loads(text)
            # What an older dispatcher, still running beside a newer package, wrote instead of terms.
            limit = fields.pop("failure_limit", Terms().failure_limit)
            terms = Terms(*fields.get("terms", [limit]))
            return cls(**{**fields, "lease": Lease(*fields["lease"]), "terms": terms})
        except (TypeError, KeyError) as problem:
            raise ValueError(f"not a supervisor's order: {problem}") from problem
