"""Create a task with a key when told to by a line: `twin_creator.py DATABASE KEY`; prints the task's id."""

from __future__ import annotations

import sys
from pathlib import Path

from hermes_kanban_plugin.board import Board
from hermes_kanban_plugin.testing import FakeClock, place_of

with Board(place_of(Path(sys.argv[1])), FakeClock()) as board:
    print("waiting", flush=True)
    sys.stdin.readline()
    print(board.create_task(title="one of many", idempotency_key=sys.argv[2]))
