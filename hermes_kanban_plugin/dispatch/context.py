"""One tick on one board as an object: what the phases share and what they noted."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

from hermes_kanban_plugin.models import TickReport

if TYPE_CHECKING:
    from collections.abc import Collection

    from hermes_kanban_plugin.board import Board
    from hermes_kanban_plugin.dispatch.reaper import Orphan
    from hermes_kanban_plugin.models import Rescued, Skipped, Started
    from hermes_kanban_plugin.runtime import Runtime
    from hermes_kanban_plugin.settings import Settings


class Phase(StrEnum):
    """The phases of a tick, in their fixed order.

    REAP buries supervisors that ended; VERIFY looks at every run that holds a task; RESCUE takes back what is proven
    gone and closes illegal pairs; PROMOTE opens tasks whose parents finished; DISPATCH claims and starts; REPORT tells
    the news and removes workspaces.
    """

    REAP = "reap"
    VERIFY = "verify"
    RESCUE = "rescue"
    PROMOTE = "promote"
    DISPATCH = "dispatch"
    REPORT = "report"


class TickContext:
    """What one tick knows and did.

    ``may_start`` is False for a scan that only rescues. ``elsewhere`` counts running tasks by assignee on the other
    boards. ``slots`` bounds how many workers this tick may start (None: no bound but the caps). ``full`` makes it look
    at every run, also at those whose supervisor is being watched. ``actor`` is the person for whom it is done, if any.
    ``only`` names, as task and run, all that may be taken back or repaired (None: whatever is found).
    """

    def __init__(
        self,
        runtime: Runtime,
        board: Board,
        *,
        elsewhere: dict[str, int] | None = None,
        dry_run: bool = False,
        may_start: bool = True,
        slots: int | None = None,
        full: bool = True,
        actor: str | None = None,
        only: Collection[tuple[str, int]] | None = None,
    ) -> None:
        self.runtime = runtime
        self.board = board
        self.settings: Settings = runtime.settings
        self.now = board.clock.now()
        self.elsewhere = elsewhere or {}
        self.dry_run = dry_run
        self.may_start = may_start
        self.slots = slots
        self.full = full
        self.actor = actor
        self.only = None if only is None else frozenset(only)
        self.orphans: list[Orphan] = []
        self.lingering: list[Orphan] = []
        self.rescued: list[Rescued] = []
        self.repaired: list[Rescued] = []
        self.promoted: list[str] = []
        self.started: list[Started] = []
        self.skipped: list[Skipped] = []
        self.failed: list[Skipped] = []

    def may_touch(self, task_id: str, run_id: int | None) -> bool:
        """Say whether a run may be taken back or repaired by this tick."""
        return self.only is None or (task_id, run_id or 0) in self.only

    def report(self) -> TickReport:
        """Return what was done, as a model."""
        from hermes_kanban_plugin.store import queries

        return TickReport(
            board=self.board.slug,
            dry_run=self.dry_run,
            rescued=self.rescued,
            repaired=self.repaired,
            promoted=self.promoted,
            started=self.started,
            skipped=self.skipped,
            failed=self.failed,
            plugin_failures=self.runtime.manager.take_failures(),
            running=sum(queries.running_by_assignee(self.board.writer).values()),
        )
