"""A board at a glance: who dispatches it, what runs and for how long its leases last, and the first cards of each lane.

Read in one moment; the ages are left to whoever shows it, so that they go on between two looks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hermes_kanban_plugin.models import Frozen
from hermes_kanban_plugin.store import panorama, snapshots
from hermes_kanban_plugin.store.connection import columns_of, translating
from hermes_kanban_plugin.store.flags import PAUSED, Flag, find
from hermes_kanban_plugin.store.rows import readable

if TYPE_CHECKING:
    import sqlite3

    from hermes_kanban_plugin.board import Board

# Lane, its columns, the order of its cards.
LANES = (
    ("needs you", ("blocked", "triage"), panorama.NEXT_FIRST),
    ("ready", ("ready", "review"), panorama.NEXT_FIRST),
    ("waiting", ("todo", "scheduled"), panorama.NEXT_FIRST),
    ("done", ("done",), panorama.LAST_FIRST),
)
MAX_RUNS, MAX_CARDS = 200, 50


class RunLine(Frozen):
    """A running task; times in epoch seconds. ``launching`` says that no supervisor has accepted the claim yet."""

    task_id: str
    run_id: int | None = None
    title: str
    assignee: str | None = None
    started_at: int | None = None
    last_heartbeat_at: int | None = None
    claim_expires: int | None = None
    launching: bool = False


class Card(Frozen):
    """A card that does not run: where it is, and since when (epoch seconds)."""

    task_id: str
    title: str
    status: str
    since: int


class Lane(Frozen):
    """Some columns as one: how many cards they hold, and the first of them."""

    name: str
    total: int
    cards: list[Card]


class Overview(Frozen):
    """A board at a moment; ``paused`` says who paused it and why, or is None."""

    board: str
    counts: dict[str, int]
    runs: list[RunLine]
    lanes: list[Lane]
    paused: Flag | None = None

    @property
    def running(self) -> int:
        """How many tasks run, shown or not."""
        return self.counts.get("running", 0)


def look(board: Board) -> Overview:
    """Return a board at this moment; changes nothing."""
    with translating(board.path), snapshots.one_moment(board.reader) as reader:
        counts = panorama.counts(reader)
        lanes = []
        for name, statuses, order in LANES:
            rows = panorama.cards(reader, statuses, order, MAX_CARDS)
            total = sum(counts.get(status, 0) for status in statuses)
            lanes.append(Lane(name=name, total=total, cards=readable(Card, rows)))
        return Overview(
            board=board.slug,
            counts=counts,
            runs=readable(RunLine, panorama.runs(reader, MAX_RUNS)),
            lanes=lanes,
            paused=_paused(reader),
        )


def _paused(reader: sqlite3.Connection) -> Flag | None:
    return find(reader, PAUSED) if columns_of(reader, "kp_flags") else None
