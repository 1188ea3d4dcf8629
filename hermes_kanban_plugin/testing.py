"""The kit for tests of the product and of its plugins: a clock to move, a board to fill, an oracle to ask.

It imports no test framework. Example::

    clock = FakeClock()
    board = make_board(tmp_path / "kanban.db", clock)
    ...
    assert violations(board.path) == []
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hermes_kanban_plugin import identity
from hermes_kanban_plugin.board import Board, create_board
from hermes_kanban_plugin.clock import Clock
from hermes_kanban_plugin.hookspecs import hookimpl
from hermes_kanban_plugin.identity import Verdict
from hermes_kanban_plugin.locations import DEFAULT_BOARD, BoardLocation
from hermes_kanban_plugin.models import HeldRun
from hermes_kanban_plugin.store import connection, queries, statements
from hermes_kanban_plugin.store.leases import ClaimTerms, Lease

if TYPE_CHECKING:
    from pathlib import Path

    from hermes_kanban_plugin.dispatch.context import Phase, TickContext
    from hermes_kanban_plugin.models import Event

EPOCH = 1_700_000_000


class FakeClock(Clock):
    """A clock that stands still until it is moved, also backwards; both of its times move together."""

    def __init__(self, now: float = EPOCH) -> None:
        self._now = float(now)
        self._monotonic = 0.0

    def now(self) -> int:
        """Return the epoch second it was moved to."""
        return int(self._now)

    def monotonic(self) -> float:
        """Return how far it was moved forwards in all, seconds."""
        return self._monotonic

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self._now += seconds
        self._monotonic += max(0.0, seconds)

    def jump(self, seconds: float) -> None:
        """Set the wall clock forwards or back without time passing."""
        self._now += seconds


def place_of(database: Path, slug: str = DEFAULT_BOARD) -> BoardLocation:
    """Return a location with everything beside one database file, whatever the environment says."""
    root = database.parent
    home = root / "kanban"
    metadata = home / "boards" / slug / "board.json"
    return BoardLocation(slug, root, database, home / "workspaces", home / "attachments", home / "logs", metadata)


def make_board(database: Path, clock: Clock | None = None, slug: str = DEFAULT_BOARD) -> Board:
    """Make a board at a path and open it; close it when you are done."""
    location = place_of(database, slug)
    create_board(location)
    return Board(location, clock or FakeClock())


def claim_one(board: Board, task_id: str, *, seconds: int = 60, lane: str = "command", nonce: str = "n0") -> Lease:
    """Claim one ready task and return its lease.

    Raises:
        AssertionError: the task could not be claimed.
    """
    terms = ClaimTerms(f"host:1:{nonce}", board.clock.now() + seconds, lane)
    leases = board.claim([task_id], terms)
    assert leases, f"{task_id} could not be claimed: {board.task(task_id)}"
    return leases[0]


class HookRecorder:
    """A plugin that writes down the ticks and events it was told, in order."""

    def __init__(self) -> None:
        self.phases: list[tuple[str, str]] = []
        self.events: list[Event] = []

    @hookimpl
    def kanban_tick(self, context: TickContext, phase: Phase) -> None:
        """Note board and phase."""
        self.phases.append((context.board.slug, str(phase)))

    @hookimpl
    def kanban_task_event(self, event: Event) -> None:
        """Note the event."""
        self.events.append(event)


def violations(path: str | Path) -> list[str]:
    """Return every promise that a board breaks now (DESIGN.md section 1), from its file and the process table.

    Promises about what may not happen in between (3, 5, 6, 7) show in the history: a finished task that was opened
    by nobody, a gate that was opened without an actor, two runs of a task that overlapped.
    """
    reader = connection.open_reader(str(path))
    try:
        return [
            *_open_runs(reader),
            *_strays(reader),
            *_overlaps(reader),
            *_reopened(reader),
            *_two_trees(reader),
            *_damage(reader),
        ]
    finally:
        reader.close()


def _rows(reader: Any, sql: str) -> list[dict[str, Any]]:
    return [dict(row) for row in reader.execute(sql)]


def _open_runs(reader: Any) -> list[str]:
    counted = """
        SELECT tasks.id, tasks.status, count(task_runs.id) AS runs FROM tasks
        LEFT JOIN task_runs ON task_runs.task_id = tasks.id AND task_runs.ended_at IS NULL
        GROUP BY tasks.id, tasks.status"""
    found = []
    for row in _rows(reader, counted):
        if row["runs"] > 1:
            found.append(f"{row['id']} has {row['runs']} open runs")
        if (row["status"] == "running") != (row["runs"] >= 1):
            found.append(f"{row['id']} is {row['status']} with {row['runs']} open run(s)")
    return found


def _strays(reader: Any) -> list[str]:
    locks = [f"{row['id']} is {row['status']} and carries a claim" for row in _rows(reader, statements.STRAY_LOCKS)]
    runs = [
        f"run {row['id']} of {row['task_id']} is open beside the task" for row in _rows(reader, statements.STRAY_RUNS)
    ]
    return locks + runs


def _overlaps(reader: Any) -> list[str]:
    overlapping = """
        SELECT early.task_id, early.id AS first, late.id AS second
        FROM task_runs AS early JOIN task_runs AS late ON late.task_id = early.task_id AND late.id > early.id
        WHERE early.ended_at IS NULL OR early.ended_at > late.started_at"""
    rows = _rows(reader, overlapping)
    return [f"runs {row['first']} and {row['second']} of {row['task_id']} overlap" for row in rows]


def _reopened(reader: Any) -> list[str]:
    """Find tasks that a machine took out of ``done`` or out of a human's gate."""
    found = []
    gate: dict[str, str] = {}
    for event in _rows(reader, "SELECT task_id, kind FROM task_events ORDER BY id"):
        task_id, kind = event["task_id"], event["kind"]
        if kind in ("completed", "blocked", "gave_up", "block_loop_detected"):
            gate[task_id] = kind
        elif kind in ("unblocked", "status", "promoted_manual", "edited", "specified", "assigned"):
            gate.pop(task_id, None)
        elif kind in ("promoted", "claimed") and task_id in gate:
            found.append(f"{task_id} was {kind} after it was {gate[task_id]}, and nobody opened it")
    return found


def _two_trees(reader: Any) -> list[str]:
    """Find tasks on which two workers live at once."""
    if not queries.table(reader, "kp_runs").exists():
        return []
    living: dict[str, set[int]] = {}
    joined = "SELECT *, run_id AS known_run_id FROM kp_runs WHERE accepted_at IS NOT NULL AND ended_at IS NULL"
    for row in _rows(reader, joined):
        run = HeldRun.model_validate(row)
        if run.worker is None:
            continue
        seen = identity.sight(run.worker.pid)
        if identity.judge(run.worker, identity.here(), seen) is Verdict.ALIVE:
            living.setdefault(run.task_id, set()).add(run.worker.pid)
    return [f"{task_id} has {len(pids)} living workers" for task_id, pids in living.items() if len(pids) > 1]


def _damage(reader: Any) -> list[str]:
    verdict = reader.execute("PRAGMA integrity_check").fetchone()[0]
    return [] if verdict == "ok" else [f"the file is damaged: {verdict}"]
