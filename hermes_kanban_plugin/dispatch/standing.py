"""Who dispatches and what runs: looked at from outside, with everything down, and without changing a byte.

Whether a dispatcher serves is judged by who it is (identity, lock holder) and not by the age of its last tick: one that
was killed shows at once. Loads neither pydantic nor sqlite-utils.
"""

from __future__ import annotations

import sqlite3
from contextlib import suppress
from enum import StrEnum
from typing import TYPE_CHECKING, Any, NamedTuple

from hermes_kanban_plugin import identity, locations, locks
from hermes_kanban_plugin.errors import KanbanError
from hermes_kanban_plugin.identity import Verdict
from hermes_kanban_plugin.roles import Role, role_of
from hermes_kanban_plugin.store import connection, dispatchers, flags

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from hermes_kanban_plugin.locations import BoardLocation
    from hermes_kanban_plugin.store.dispatchers import Term
    from hermes_kanban_plugin.store.flags import Flag

# The longest silence of a dispatcher that works: its tick is written every 10 s.
SILENT_SECONDS = 45
BUSY_MS = 100  # a question is answered at once, also about a board that somebody keeps locked
COUNTS = "SELECT status, count(*) AS tasks FROM tasks WHERE status <> 'archived' GROUP BY status"
RUNNING = """
SELECT tasks.id AS task_id, tasks.title, tasks.assignee, tasks.current_run_id AS run_id, tasks.claim_expires,
    task_runs.started_at
FROM tasks LEFT JOIN task_runs ON task_runs.id = tasks.current_run_id
WHERE tasks.status = 'running'
ORDER BY task_runs.started_at, tasks.id"""

_TIMES = ("claim_expires", "started_at")


class State(StrEnum):
    """How a kanban home is dispatched."""

    SERVING = "serving"
    ELSEWHERE = "elsewhere"
    SILENT = "silent"
    HERMES = "hermes"
    DEAD = "dead"
    STOPPED = "stopped"
    NEVER = "never"
    OTHERS = "others"


class BoardStanding(NamedTuple):
    """One board: the newest term on it with the verdict on its dispatcher, its columns, what runs, who paused it.

    ``problem`` says why it could not be read; the rest is empty then.
    """

    slug: str
    path: str
    term: Term | None = None
    verdict: Verdict | None = None
    counts: dict[str, int] = {}
    running: Sequence[dict[str, Any]] = ()
    paused: Flag | None = None
    problem: str | None = None


class Standing(NamedTuple):
    """A kanban home: how it is dispatched, by which process, who started that, and its boards.

    ``holder`` is the process that holds the dispatcher lock, if that can be seen; ``only`` the one board that it was
    told to serve, None for all.
    """

    state: State
    pid: int | None
    term: Term | None
    started_by: str | None
    holder: int | None
    boards: list[BoardStanding]
    only: str | None = None

    @property
    def serves(self) -> bool:
        """Whether a dispatcher of ours is at work."""
        return self.state in (State.SERVING, State.ELSEWHERE)

    def leaves_out(self, board: BoardStanding) -> bool:
        """Whether the dispatcher that works was told to serve another board than this one."""
        return self.state is State.OTHERS or (self.serves and self.only not in (None, board.slug))


def look(root: Path, boards: Sequence[BoardLocation], now: int) -> Standing:
    """Return how a kanban home stands.

    Args:
        root: the kanban home.
        boards: the boards to look at.
        now: epoch seconds.
    """
    seen = [_read(board) for board in boards]
    holder = locks.holder(locations.dispatcher_lock(root))
    leads = {board.term.dispatcher.pid for board in seen if board.term is not None and board.verdict is Verdict.ALIVE}
    command = _command_of(holder) or ()
    is_ours = holder in leads or _is_ours(command)
    only = board_of(command) if is_ours else None
    state, term = judge(seen, holder is not None, is_ours, now, only)
    living = state in (State.SERVING, State.SILENT)
    pid = holder if holder is not None and (term is None or living) else term.dispatcher.pid if term else None
    return Standing(state, pid, term, _starter_of(pid) if living else None, holder, seen, only)


def judge(
    boards: Sequence[BoardStanding], locked: bool, is_ours: bool, now: int, only: str | None = None
) -> tuple[State, Term | None]:
    """Return how the home is dispatched and the term that shows it; pure.

    Args:
        boards: with their newest terms and the verdicts on them.
        locked: whether a process is seen to hold the dispatcher lock.
        is_ours: whether that process is a dispatcher of ours.
        now: epoch seconds.
        only: the one board that this process was told to serve, None for all.
    """
    terms = sorted(
        ((board.term, board.verdict) for board in boards if board.term is not None),
        key=lambda pair: (pair[0].ended_at is None and pair[1] is Verdict.ALIVE, pair[0].last_tick_at),
        reverse=True,
    )
    open_terms = [(term, verdict) for term, verdict in terms if term.ended_at is None]
    alive = next((term for term, verdict in open_terms if verdict is Verdict.ALIVE), None)
    if alive is not None and (is_ours or not locked):
        return (State.SILENT if now - alive.last_tick_at > SILENT_SECONDS else State.SERVING), alive
    if locked and is_ours and only is not None and all(board.slug != only for board in boards):
        return State.OTHERS, None
    if locked:
        return (State.SERVING if is_ours else State.HERMES), None
    unseen = next((term for term, verdict in open_terms if verdict is Verdict.UNKNOWN), None)
    if unseen is not None and now - unseen.last_tick_at <= SILENT_SECONDS:
        return State.ELSEWHERE, unseen
    if not terms:
        return State.NEVER, None
    newest = terms[0][0]
    return (State.STOPPED if newest.ended_at is not None else State.DEAD), newest


def _read(location: BoardLocation) -> BoardStanding:
    path = str(location.database)
    try:
        reader = connection.open_reader(path, busy=BUSY_MS)
        try:
            with connection.translating(path):
                term = dispatchers.latest(reader) if connection.columns_of(reader, "kp_dispatchers") else None
                counts = {row["status"]: row["tasks"] for row in reader.execute(COUNTS)}
                running = [_with_numbers(dict(row)) for row in reader.execute(RUNNING)]
                paused = flags.find(reader, flags.PAUSED) if connection.columns_of(reader, "kp_flags") else None
        finally:
            reader.close()
    except (KanbanError, sqlite3.Error) as problem:
        return BoardStanding(location.slug, path, problem=" ".join(str(problem).split()))
    verdict = None
    if term is not None:
        verdict = identity.judge(term.dispatcher, identity.here(), identity.sight(term.dispatcher.pid))
    return BoardStanding(location.slug, path, term, verdict, counts, running, paused)


def _with_numbers(row: dict[str, Any]) -> dict[str, Any]:
    """Return a row whose times are numbers or not known, whatever another program wrote there."""
    return {**row, **{name: row[name] if isinstance(row[name], int) else None for name in _TIMES}}


def _command_of(pid: int | None) -> list[str] | None:
    """Return a process's argument vector, or None when it cannot be read."""
    if pid is None:
        return None
    import psutil

    with suppress(psutil.Error):
        return list(psutil.Process(pid).cmdline())
    return None


def _is_ours(command: Sequence[str]) -> bool:
    words = [word.rpartition("/")[2] for word in command]
    return "dispatcher" in words and any(word.startswith(("hermes-kanban", "hermes_kanban_plugin")) for word in words)


def board_of(command: Sequence[str]) -> str | None:
    """Return the board that a command line of ours names, or None; pure."""
    for word, following in zip(command, [*command[1:], ""], strict=True):
        if word == "--board" and following:
            return following
        if word.startswith("--board="):
            return word.removeprefix("--board=")
    return None


def _starter_of(pid: int | None) -> str | None:
    """Say who started a process, as far as its parent shows it."""
    if pid is None:
        return None
    import psutil

    with suppress(psutil.Error):
        parent = psutil.Process(pid).parent()
        if parent is None:
            return None
        command = parent.cmdline()
        if role_of({}, command) is Role.GATEWAY:
            return f"the gateway (pid {parent.pid})"
        if parent.pid == 1 or any("systemd" in word or "launchd" in word for word in command[:1]):
            return "the service manager, or by a process that has ended"
        return f"{parent.name()} (pid {parent.pid})"
    return None
