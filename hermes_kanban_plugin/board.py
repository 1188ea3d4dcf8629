"""A board: the public face of the shared DB layer, with the operations that the tools, the CLI and plugins use.

Example::

    from hermes_kanban_plugin import open_board

    with open_board(create=True) as board:
        task_id = board.create_task(title="count words", assignee="counter")
        for task in board.tasks(status="ready"):
            print(task.id, task.title)
"""

from __future__ import annotations

import logging
import weakref
from typing import TYPE_CHECKING, Any

from hermes_kanban_plugin import locations, wake
from hermes_kanban_plugin.artifacts import Preserved
from hermes_kanban_plugin.clock import Clock
from hermes_kanban_plugin.errors import BoardUnusable, UnknownTask
from hermes_kanban_plugin.models import TaskDraft
from hermes_kanban_plugin.store import (
    blocks,
    cleanups,
    completions,
    connection,
    edits,
    leases,
    migrations,
    moves,
    outcomes,
    promotion,
    queries,
    schema,
    timers,
)
from hermes_kanban_plugin.store.transaction import immediate

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Sequence
    from types import TracebackType

    from sqlite_utils import Migrations

    from hermes_kanban_plugin.locations import BoardLocation
    from hermes_kanban_plugin.models import Event, HeldRun, Run, Task
    from hermes_kanban_plugin.store.leases import ClaimTerms, Lease
    from hermes_kanban_plugin.store.outcomes import Handoff


log = logging.getLogger(__name__)


def open_board(slug: str | None = None, *, create: bool = False, clock: Clock | None = None) -> Board:
    """Open a board by the host's location rules (contract section 1).

    Args:
        slug: the board's name; None means the current board.
        create: make the board when it is missing.
        clock: what time it is; None means the machine's clock.

    Raises:
        InvalidArgument: the name cannot be a board's.
        UnknownBoard: the board was never created (without ``create``).
        BoardUnusable: the file is not SQLite, damaged, empty, unreadable or read-only; it is left untouched.
        SchemaTooNew: a newer version of this plugin wrote it; it is left untouched.
    """
    location = locations.locate(slug) if create else locations.locate_existing(slug)
    if create:
        create_board(location)
    return Board(location, clock or Clock())


def create_board(location: BoardLocation) -> bool:
    """Make a board with the host's schema and ours; returns False when there is one already, which is left alone.

    Raises:
        BoardUnusable: the folder cannot be written.
    """
    if location.database.exists():
        return False
    return connection.create_file(str(location.database), _build)


def _build(writer: sqlite3.Connection) -> None:
    with immediate(writer):
        schema.create(writer)
        migrations.apply(writer)


def _close_all(connections: list[sqlite3.Connection]) -> None:
    for one in connections:
        one.close()


def _seen(task: Task) -> moves.Seen:
    return moves.Seen(task.status, task.current_run_id or 0, task.claim_lock or "")


class Board:
    """An open board. Reading changes nothing; the first change prepares the board for us.

    Two connections: a read-only one for as long as the board is open, which also guards the write-ahead log
    (store/connection.py), and a writer that is opened by the first change and closed before the reader.
    """

    def __init__(
        self, location: BoardLocation, clock: Clock, plugin_steps: Iterable[Migrations] = (), busy: int | None = None
    ) -> None:
        self.location = location
        self.clock = clock
        self.path = str(location.database)
        self.is_rehearsal = False
        self._plugin_migrations = tuple(plugin_steps)
        self._writer: sqlite3.Connection | None = None
        self._busy = busy  # how long to wait for a locked board, milliseconds; None: as long as the environment says
        self.reader = connection.open_reader(self.path, busy)
        self._guard([self.reader])
        try:
            with connection.translating(self.path):
                self._check()
        except BaseException:
            self._closer()
            raise

    def _guard(self, connections: list[sqlite3.Connection]) -> None:
        """Have the connections closed in their order, also when nobody closes the board or the process ends."""
        self._connections = connections
        self._closer = weakref.finalize(self, _close_all, connections)

    def _check(self) -> None:
        if not schema.is_board(self.reader):
            raise BoardUnusable(
                f"{self.path} is an SQLite database but not a kanban board (it has no tasks); "
                "point HERMES_KANBAN_DB at the right file"
            )
        migrations.is_current(self.reader)

    @property
    def slug(self) -> str:
        """The board's name."""
        return self.location.slug

    @property
    def writer(self) -> sqlite3.Connection:
        """The connection for changes; opening it adds to the board what it lacks (missing columns, our tables)."""
        if self._writer is None:
            writer = connection.open_writer(self.path, self._busy)
            try:
                with connection.translating(self.path):
                    self._prepare(writer)
            except BaseException:
                writer.close()
                raise
            self._writer = writer
            self._connections.insert(0, writer)
        return self._writer

    def _prepare(self, writer: sqlite3.Connection) -> None:
        if not (schema.is_current(writer) and migrations.is_current(writer)):
            with immediate(writer):
                schema.create(writer)
                migrations.apply(writer)
        for own in self._plugin_migrations:
            self._apply_plugin_steps(writer, own)

    def _apply_plugin_steps(self, writer: sqlite3.Connection, own: Migrations) -> None:
        """Make a plugin's tables; one whose steps fail loses them alone."""
        try:
            if own.pending(schema.wrap(writer)):
                with immediate(writer):
                    own.apply(schema.wrap(writer))
        except Exception as problem:  # noqa: BLE001 - isolation edge: a plugin's step must not keep the board closed
            log.warning("the tables of plugin set %r were not made on %s: %s", own.name, self.path, problem)

    def rehearsal(self) -> Board:
        """Return a throw-away copy of this board in memory: what is tried on it changes no byte of this one."""
        copy = object.__new__(type(self))
        copy.location, copy.clock, copy.path, copy._plugin_migrations = self.location, self.clock, self.path, ()
        copy.is_rehearsal = True
        copy.reader = copy._writer = connection.open_copy(self.reader)
        copy._guard([copy.reader])
        copy._prepare(copy.reader)
        return copy

    def close(self) -> None:
        """Close the board; the writer first, so that it never takes itself for the last user (contract W1).

        The dispatcher is told if something may have changed.
        """
        self._closer()
        if self._writer is not None:
            wake.nudge(str(self.location.root))

    def __enter__(self) -> Board:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # --- reading ---------------------------------------------------------------------------------------------------

    def task(self, task_id: str) -> Task:
        """Return one task.

        Raises:
            UnknownTask: it is not on this board.
        """
        task = queries.find_task(self.reader, task_id)
        if task is None:
            raise UnknownTask(task_id, self.slug)
        return task

    def tasks(self, **wanted: Any) -> list[Task]:
        """Return tasks, best first; keywords as :func:`hermes_kanban_plugin.store.queries.list_tasks`."""
        return queries.list_tasks(self.reader, **wanted)

    def runs(self, task_id: str) -> list[Run]:
        """Return the attempts at a task, oldest first.

        Raises:
            UnknownTask: it is not on this board.
        """
        return queries.list_runs(self.reader, self.task(task_id).id)

    def events(self, task_id: str | None = None, after: int = 0, limit: int = 1000) -> list[Event]:
        """Return history rows after an event id, in order; of one task or of all."""
        return queries.list_events(self.reader, task_id=task_id, after=after, limit=limit)

    def data_version(self) -> int:
        """Return a number that changes when another connection changed the board; costs microseconds."""
        return int(self.reader.execute("PRAGMA data_version").fetchone()[0])

    def held_run(self, task_id: str) -> HeldRun | None:
        """Return the run that holds a task now, with what is known of its processes (needs a prepared board)."""
        return queries.held_run(self.writer, task_id)

    # --- what a person does ----------------------------------------------------------------------------------------

    def create_task(self, **fields: Any) -> str:
        """Add a task; keywords as :class:`hermes_kanban_plugin.models.TaskDraft`. Returns its id.

        Raises:
            InvalidArgument: a field is wrong or a parent does not exist; nothing was added.
        """
        draft = TaskDraft.of(fields)
        columns = draft.model_dump() | {"status": draft.wished_status, "goal_mode": int(draft.goal_mode)}
        if draft.workspace_kind in ("dir", "worktree") and not draft.workspace_path:
            columns["workspace_path"] = locations.metadata_of(self.location).get("default_workdir")
        return timers.create(self.writer, columns, draft.parents, draft.start_at, self.clock.now())

    def link(self, parent_id: str, child_id: str) -> None:
        """Make one task wait for another; raises UnknownTask or InvalidArgument (a cycle)."""
        moves.link(self.writer, parent_id, child_id, self.clock.now())

    def complete(self, task_id: str, handoff: Handoff, actor: str) -> list[str]:
        """Declare a task done by hand; returns the children that became ready. Raises UnknownTask, WrongState."""
        return moves.complete(self.writer, task_id, handoff, actor, self.clock.now())

    def block(self, task_id: str, reason: str | None, kind: str | None, actor: str) -> str:
        """Park a task by hand; returns the status it landed in. Raises UnknownTask, WrongState."""
        return moves.block(self.writer, task_id, reason, kind, actor, self.clock.now())

    def unblock(self, task_id: str, actor: str) -> str:
        """Open a blocked or scheduled task again; returns its status. Raises UnknownTask, WrongState."""
        return moves.unblock(self.writer, task_id, actor, self.clock.now())

    def comment(self, task_id: str, author: str, body: str) -> int:
        """Add a comment; returns its id. Raises UnknownTask."""
        return moves.comment(self.writer, task_id, author, body, self.clock.now())

    def reclaim(self, task: Task, reason: str | None, actor: str) -> str:
        """Take a task back from its run, whose worker is proven gone; returns its status.

        Raises:
            UnknownTask, WrongState: nothing was done.
            ChangedMeanwhile: the task is not what ``task`` says any more; nothing was done.
        """
        return moves.reclaim(self.writer, task.id, reason, actor, self.clock.now(), _seen(task))

    def stop(self, task: Task, reason: str, actor: str) -> None:
        """Take a task from its run and block it until somebody unblocks it; raises as :meth:`reclaim`."""
        edits.stop(self.writer, task.id, reason, actor, self.clock.now(), _seen(task))

    def clear_claim(self, task: Task, actor: str) -> str:
        """Take away a claim that nobody living stands behind; returns the status then. Raises as :meth:`reclaim`."""
        return edits.clear_claim(self.writer, task.id, actor, self.clock.now(), _seen(task))

    def clear_skills(self, task_id: str, actor: str) -> None:
        """Forget the skills that the worker must load. Raises UnknownTask, WrongState (it runs), ChangedMeanwhile."""
        edits.clear_skills(self.writer, task_id, actor, self.clock.now())

    def reset_failures(self, task_id: str, actor: str) -> None:
        """Count failures anew; a block stays. Raises UnknownTask, ChangedMeanwhile."""
        edits.reset_failures(self.writer, task_id, actor, self.clock.now())

    def retry_now(self, task_id: str, actor: str) -> None:
        """Let a task wait no longer for its next attempt. Raises UnknownTask, WrongState."""
        edits.retry_now(self.writer, task_id, actor, self.clock.now())

    def accept(self, task_id: str, actor: str) -> list[str]:
        """Take a late completion for the end of its task; returns what became ready. Raises NoLateCompletion."""
        return completions.accept(self.writer, task_id, actor, self.clock.now())

    def reject(self, task_id: str, actor: str) -> None:
        """Refuse a late completion and remove its files; raises as :meth:`accept`."""
        late = completions.reject(self.writer, task_id, actor, self.clock.now())
        Preserved([], list(late.handoff.artifacts)).discard()

    # --- what a worker does ----------------------------------------------------------------------------------------

    def claim(self, task_ids: Sequence[str], terms: ClaimTerms) -> list[Lease]:
        """Claim tasks; returns one lease for each that was free."""
        return leases.claim(self.writer, task_ids, terms, self.clock.now())

    def heartbeat(self, lease: Lease, seconds: int, note: str | None = None) -> int:
        """Record life and extend the lease; returns when it ends now. Raises Superseded."""
        now = self.clock.now()
        return leases.heartbeat(self.writer, lease, now + seconds, now, note)

    def complete_run(self, lease: Lease, handoff: Handoff) -> list[str]:
        """Finish the task as its worker; returns the children that became ready. Raises Superseded."""
        return outcomes.complete(self.writer, lease, handoff, self.clock.now())

    def keep_completion(self, lease: Lease, handoff: Handoff) -> bool:
        """Keep the hand-off of a run that was closed before, if it can still be accepted; returns whether it was."""
        return completions.keep(self.writer, lease, handoff, self.clock.now())

    def block_run(self, lease: Lease, reason: str, kind: str | None) -> str:
        """Block the task as its worker; returns the status it landed in. Raises Superseded."""
        return blocks.block(self.writer, lease, reason, kind, self.clock.now())

    # --- upkeep ----------------------------------------------------------------------------------------------------

    def promote(self) -> list[str]:
        """Promote what has become runnable; returns the ids."""
        return promotion.promote_all(self.writer, self.clock.now())

    def tidy(self) -> list[str]:
        """Remove the scratch workspaces that nobody needs; returns the ids of their tasks. A copy removes none."""
        if self.is_rehearsal:
            return []
        roots = [str(self.location.workspaces)]
        return [gone.task_id for gone in cleanups.remove_due(self.writer, roots)]
