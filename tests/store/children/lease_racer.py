"""One process of the fencing race: `lease_racer.py DATABASE worker|rescuer NAME`.

Leases are over the moment they are given, so that the rescuer may take any run at any time: the work always lasts
longer than the lease. Workers rescue some now and then too, their own included, and want the same few tasks, so that
a rescued one is somebody else's at once. A worker prints what it was told: every accepted write, how often it was
refused, and how often because another run had its task.
"""

from __future__ import annotations

import itertools
import json
import os
import random
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from hermes_kanban_plugin import identity
from hermes_kanban_plugin.board import Board
from hermes_kanban_plugin.errors import Superseded
from hermes_kanban_plugin.store import leases, orphans, queries
from hermes_kanban_plugin.store.leases import ClaimTerms, Lease
from hermes_kanban_plugin.store.outcomes import Handoff
from hermes_kanban_plugin.testing import EPOCH, FakeClock, place_of

database, role, name = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
dice = random.Random(name)
accepted: list[tuple[str, int]] = []
refused = overtaken = 0


def ready(board: Board) -> list[str]:
    sql = "SELECT id FROM tasks WHERE status = 'ready' ORDER BY created_at, id LIMIT 4"
    return [row["id"] for row in board.reader.execute(sql)]


def unfinished(board: Board) -> bool:
    return board.reader.execute("SELECT 1 FROM tasks WHERE status <> 'done' LIMIT 1").fetchone() is not None


def writes_of(board: Board, lease: Lease, me: identity.ProcessIdentity) -> Iterator[tuple[str, Callable[[], object]]]:
    """Return what the owner of a lease that was over from the start writes, also when it is nobody's any more.

    No owner gives up before the task is done.
    """
    now = board.clock.now()
    yield "accept", lambda: leases.accept(board.writer, lease, me, me, now, now)
    yield "heartbeat", lambda: board.heartbeat(lease, 0, f"{name} at work")
    yield "renew", lambda: leases.renew(board.writer, lease, now)
    while not is_done(board, lease.task_id):
        yield "complete", lambda: board.complete_run(lease, Handoff(summary=f"{name} in run {lease.run_id}"))


def is_done(board: Board, task_id: str) -> bool:
    return board.reader.execute("SELECT status FROM tasks WHERE id = ?", [task_id]).fetchone()["status"] == "done"


def attempt(verb: str, run_id: int, write: Callable[[], object]) -> None:
    global refused, overtaken
    try:
        write()
    except Superseded as refusal:
        refused += 1
        overtaken += refusal.current_run_id is not None
    else:
        accepted.append((verb, run_id))


def rescue_some(board: Board, share: float) -> None:
    held = [run for run in queries.held_runs(board.reader) if dice.random() < share]
    overdue = [orphans.Rescue(run, "reclaimed", "lease over", "unknown") for run in held]
    orphans.rescue(board.writer, overdue, board.clock.now())


def be_worker(board: Board) -> None:
    """Keep several runs in hand and write for each in turn, refused or not, until the task is done."""
    me = identity.capture(os.getpid())
    in_hand: list[tuple[int, Iterator[tuple[str, Callable[[], object]]]]] = []
    for count in itertools.count():
        found = ready(board)
        if not found and not in_hand and not unfinished(board):
            return
        terms = ClaimTerms(f"box:{os.getpid()}:{name}-{count}", board.clock.now(), "command")
        claimed = board.claim(dice.sample(found, min(2, len(found))), terms)
        in_hand.extend((lease.run_id, writes_of(board, lease, me)) for lease in claimed)
        for run_id, writes in list(in_hand):
            verb, write = next(writes, ("", None))
            if write is None:
                in_hand.remove((run_id, writes))
            else:
                attempt(verb, run_id, write)
        rescue_some(board, 0.1)


def be_rescuer(board: Board) -> None:
    while unfinished(board):
        rescue_some(board, 0.5)


with Board(place_of(database), FakeClock(EPOCH)) as board:
    print("waiting", flush=True)
    sys.stdin.readline()
    (be_worker if role == "worker" else be_rescuer)(board)
print(json.dumps({"accepted": accepted, "refused": refused, "overtaken": overtaken}))
