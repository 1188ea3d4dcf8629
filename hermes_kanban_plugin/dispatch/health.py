"""The health of a kanban home in one word, for a monitor: pure, each word with an exit status of its own.

Rule source: failure mode K3.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple

from hermes_kanban_plugin.dispatch.standing import State

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hermes_kanban_plugin.dispatch.standing import BoardStanding, Standing


class Health(StrEnum):
    """What a monitor is told, and what to do about it."""

    HEALTHY = "healthy"
    PAUSED = "paused"
    AT_CAPACITY = "at_capacity"
    SILENT = "silent"
    NOT_SERVED = "not_served"
    HERMES = "hermes"
    UNREADABLE = "unreadable"
    DISABLED = "disabled"

    @property
    def exit_status(self) -> int:
        """The exit status of ``status --probe``; 1 and 2 stay for faults and mistakes."""
        return _EXIT_STATUS[self]


class Checkup(NamedTuple):
    """The verdict, and what it rests on: running and waiting tasks over all boards, the cap, the paused boards.

    ``left`` are boards that nobody serves although a dispatcher works, ``unreadable`` those that cannot be read.
    """

    health: Health
    running: int
    waiting: int
    cap: int | None
    paused: list[str]
    left: list[str] = []
    unreadable: list[str] = []


_EXIT_STATUS = {
    Health.HEALTHY: 0,
    Health.PAUSED: 3,
    Health.AT_CAPACITY: 4,
    Health.SILENT: 5,
    Health.NOT_SERVED: 6,
    Health.HERMES: 7,
    Health.UNREADABLE: 8,
    Health.DISABLED: 9,
}


def check(found: Standing, caps: Sequence[int | None], board: str | None = None, *, disabled: bool = False) -> Checkup:
    """Judge how a home stands; what is worse for all boards goes before what holds up one.

    Args:
        found: all boards of the home.
        caps: the limits of running tasks; None is no limit.
        board: the board that is asked about; None means any.
        disabled: whether the settings keep the gateway from dispatching.
    """
    running = sum(one.counts.get("running", 0) for one in found.boards)
    waiting = sum(one.counts.get("ready", 0) + one.counts.get("review", 0) for one in found.boards)
    cap = min((limit for limit in caps if limit is not None), default=None)
    asked = [one for one in found.boards if board in (None, one.slug)]
    seen = Checkup(
        Health.HEALTHY,
        running,
        waiting,
        cap,
        paused=[one.slug for one in asked if one.paused is not None],
        left=[one.slug for one in asked if found.leaves_out(one)],
        unreadable=[one.slug for one in asked if one.problem],
    )
    return seen._replace(health=_judge(found, seen, disabled=disabled))


def _judge(found: Standing, seen: Checkup, *, disabled: bool) -> Health:
    if found.state is State.HERMES:
        return Health.HERMES
    if found.state is State.SILENT:
        return Health.SILENT
    if not found.serves:
        return Health.DISABLED if disabled else Health.NOT_SERVED
    if seen.unreadable:
        return Health.UNREADABLE
    if seen.left:
        return Health.NOT_SERVED
    if seen.paused:
        return Health.PAUSED
    full = seen.waiting > 0 and seen.cap is not None and seen.running >= seen.cap
    return Health.AT_CAPACITY if full else Health.HEALTHY


def paused_note(board: BoardStanding) -> str | None:
    """Return who paused a board and why, or None."""
    flag = board.paused
    return None if flag is None else f"paused by {flag.actor}: {flag.value}"
