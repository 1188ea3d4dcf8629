"""Four claimers in one process, each with a board of its own: `claimers.py DATABASE NAME`; prints what they got."""

from __future__ import annotations

import json
import random
import sys
import threading
from pathlib import Path

from hermes_kanban_plugin.board import Board
from hermes_kanban_plugin.store.leases import ClaimTerms
from hermes_kanban_plugin.testing import FakeClock, place_of

THREADS = 4
BATCH = 4
location = place_of(Path(sys.argv[1]))
start = threading.Barrier(THREADS + 1)
claimed: list[tuple[str, str, int, str]] = []
missed: list[int] = []


def claim_all(name: str) -> None:
    with Board(location, FakeClock()) as board:
        wanted = [task.id for task in board.tasks()]
        random.Random(name).shuffle(wanted)
        start.wait()
        for index in range(0, len(wanted), BATCH):
            batch = wanted[index : index + BATCH]
            leases = board.claim(batch, ClaimTerms(f"{name}:1:{index}", board.clock.now() + 60, "command"))
            claimed.extend((name, *lease) for lease in leases)
            missed.append(len(batch) - len(leases))


threads = [threading.Thread(target=claim_all, args=(f"{sys.argv[2]}-{number}",)) for number in range(THREADS)]
for thread in threads:
    thread.start()
print("waiting", flush=True)
sys.stdin.readline()
start.wait()
for thread in threads:
    thread.join()
print(json.dumps({"claimed": claimed, "missed": sum(missed)}))
