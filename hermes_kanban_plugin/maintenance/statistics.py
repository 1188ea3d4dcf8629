"""``stats``: how much gets done, how long it takes, why attempts end, and where cards age.

Counted from the history, for the last day and the last week, so that every figure can be counted again by hand.
Rule source: failure mode K8.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hermes_kanban_plugin.causes import Cause
from hermes_kanban_plugin.maintenance import journeys
from hermes_kanban_plugin.models import Frozen
from hermes_kanban_plugin.rules import Status
from hermes_kanban_plugin.store import history, snapshots
from hermes_kanban_plugin.store.connection import translating

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hermes_kanban_plugin.board import Board
    from hermes_kanban_plugin.maintenance.journeys import Journey
    from hermes_kanban_plugin.store.history import Card

DAY, WEEK = 86_400, 7 * 86_400
# Ends of an attempt that say something about the task, and those that are the task's failure.
MEANT = ("completed", "blocked", "scheduled")
FAILURES = (*(cause.value for cause in Cause if cause.counts), "gave_up")


class Spread(Frozen):
    """How long something took, seconds: how often, the middle, what nine of ten stay within, the longest."""

    count: int = 0
    median: int | None = None
    p90: int | None = None
    longest: int | None = None


class Window(Frozen):
    """The figures of a time: ``since`` and ``until`` in epoch seconds, the latter not part of it.

    ``cycle`` is from the first start of a task to its completion, ``lead`` from its creation (or its reopening).
    ``endings`` counts attempts by why they ended.
    ``card_seconds`` is the time that cards spent in each column. ``tokens`` are those that the runs which started then
    sent and received, by assignee.
    """

    name: str
    since: int
    until: int
    created: int
    completed: int
    started: int
    cycle: Spread
    lead: Spread
    endings: dict[str, int]
    card_seconds: dict[str, int]
    tokens: dict[str, tuple[int, int]] = {}

    @property
    def failures(self) -> dict[str, int]:
        """Attempts that failed, by cause, most frequent first."""
        return _most_frequent({cause: number for cause, number in self.endings.items() if cause in FAILURES})

    @property
    def setbacks(self) -> dict[str, int]:
        """Attempts that ended for a reason that is not the task's, likewise."""
        others = {cause: number for cause, number in self.endings.items() if cause not in (*MEANT, *FAILURES)}
        return _most_frequent(others)


class Column(Frozen):
    """A column now: how many cards, and how long the middle and the oldest of them have been in it, seconds."""

    name: str
    cards: int
    median_age: int
    oldest_age: int
    oldest_task: str


class Statistics(Frozen):
    """The figures of a board at a moment."""

    board: str
    now: int
    windows: list[Window]
    columns: list[Column]


def gather(board: Board) -> Statistics:
    """Count the figures of a board now; reads one moment of it and changes nothing."""
    now = board.clock.now()
    with translating(board.path), snapshots.one_moment(board.reader) as reader:
        cards = history.cards(reader, now - WEEK, journeys.KINDS)
        walked = [(card, _journey(card)) for card in cards]
        windows = []
        for name, length in (("day", DAY), ("week", WEEK)):
            since, until = now - length, now + 1
            windows.append(
                Window(
                    name=name,
                    since=since,
                    until=until,
                    created=history.created(reader, since, until),
                    started=history.starts(reader, since, until),
                    endings=history.endings(reader, since, until),
                    tokens=history.tokens(reader, since, until),
                    **_of_journeys([journey for _, journey in walked], since, until),
                )
            )
    return Statistics(board=board.slug, now=now, windows=windows, columns=_columns(walked, now))


def spread(values: Sequence[int]) -> Spread:
    """Return how some durations are spread, by nearest rank: each figure is one of the values."""
    if not values:
        return Spread()
    ranked = sorted(values)
    return Spread(
        count=len(ranked), median=ranked[(len(ranked) - 1) // 2], p90=ranked[-(-len(ranked) * 9 // 10) - 1],
        longest=ranked[-1],
    )  # fmt: skip


def _most_frequent(counts: dict[str, int]) -> dict[str, int]:
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def _journey(card: Card) -> Journey:
    return journeys.read((journeys.Step(*event) for event in card.events), card.created_at, card.status)


def _of_journeys(walked: Sequence[Journey], since: int, until: int) -> dict[str, object]:
    rounds = [one for journey in walked for one in journey.rounds if since <= one.done < until]
    spent: dict[str, int] = {}
    for journey in walked:
        for stay in journey.stays:
            seconds = stay.seconds_within(since, until - 1)
            if seconds and stay.column not in journeys.FINISHED:
                spent[stay.column] = spent.get(stay.column, 0) + seconds
    return {
        "completed": len(rounds),
        "cycle": spread([max(0, one.done - one.started) for one in rounds if one.started is not None]),
        "lead": spread([max(0, one.done - one.opened) for one in rounds]),
        "card_seconds": {name: spent[name] for name in [status.value for status in Status] if name in spent},
    }


def _columns(walked: Sequence[tuple[Card, Journey]], now: int) -> list[Column]:
    found = []
    for status in Status:
        inside = [(max(0, now - journey.current.since), card.id) for card, journey in walked if card.status == status]
        if inside and status not in journeys.FINISHED:
            oldest, task_id = max(inside)
            middle = spread([age for age, _ in inside]).median or 0
            found.append(
                Column(name=status, cards=len(inside), median_age=middle, oldest_age=oldest, oldest_task=task_id)
            )
    return found
