"""``pause`` and ``resume``: nothing new is started on a board until somebody says so; what runs goes on.

Pausing is one transaction that sets the flag and takes back every claim that no supervisor has accepted yet. A claim
after it is refused by the statement that makes claims, and the supervisor of one before it finds its run closed: there
is no gap between claim and start through which a process could come, and nothing is counted as a failure.
Rule source: failure mode J2.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hermes_kanban_plugin.models import TERMINAL, Frozen
from hermes_kanban_plugin.store import flags, orphans, queries
from hermes_kanban_plugin.store.connection import columns_of, translating
from hermes_kanban_plugin.store.transaction import immediate

if TYPE_CHECKING:
    from hermes_kanban_plugin.board import Board
    from hermes_kanban_plugin.models import HeldRun


NO_REASON = "no reason given"


class Pausing(Frozen):
    """What pausing or resuming did: whether anything changed, which claims were taken back, what still runs."""

    board: str
    paused: bool
    changed: bool
    dry_run: bool = False
    reason: str = ""
    actor: str = ""
    since: int | None = None
    returned: list[str] = []
    running: int = 0


def pause(board: Board, reason: str, actor: str, *, dry_run: bool = False) -> Pausing:
    """Start nothing on a board from now on; a board that is paused already gets the new reason.

    Args:
        board: the board.
        reason: for whoever wonders later; what is kept is never empty.
        actor: who pauses it.
        dry_run: only say which launches would be taken back.
    """
    now, reason = board.clock.now(), reason.strip() or NO_REASON
    with translating(board.path):
        if dry_run:
            copy = board.rehearsal()
            try:
                return _pause(copy, reason, actor, now).model_copy(update={"dry_run": True})
            finally:
                copy.close()
        return _pause(board, reason, actor, now)


def resume(board: Board, actor: str, *, dry_run: bool = False) -> Pausing:
    """Let tasks start again; a board that is not paused stays as it is."""
    with translating(board.path):
        found = find(board)
        if found is not None and not dry_run:
            flags.clear(board.writer, flags.PAUSED)
    running = _running(board)
    return Pausing(
        board=board.slug, paused=False, changed=found is not None, dry_run=dry_run, actor=actor, running=running
    )


def find(board: Board) -> flags.Flag | None:
    """Return who paused a board, why and since when, or None; changes nothing."""
    return flags.find(board.reader, flags.PAUSED) if columns_of(board.reader, "kp_flags") else None


def _pause(board: Board, reason: str, actor: str, now: int) -> Pausing:
    with immediate(board.writer) as writer:
        before = flags.find(writer, flags.PAUSED)
        flags.put(writer, flags.PAUSED, reason, actor, now)
        launching = [run for run in queries.held_runs(writer) if _is_launching(run)]
        why = "the board was paused before its worker was started"
        rescues = [orphans.Rescue(run, "reclaimed", why, "paused", actor) for run in launching]
        returned = [saved.run.task_id for saved in orphans.rescue(writer, rescues, now)]
    return Pausing(
        board=board.slug, paused=True, changed=before is None, reason=reason, actor=actor, since=now, returned=returned,
        running=_running(board),
    )  # fmt: skip


def _is_launching(run: HeldRun) -> bool:
    """Say whether a claim of a dispatcher of ours waits for its supervisor; a person's claim in a terminal does not."""
    return run.supervised and run.accepted_at is None and run.lane != TERMINAL


def _running(board: Board) -> int:
    return sum(queries.running_by_assignee(board.reader).values())
