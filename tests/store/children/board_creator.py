"""Make a board when told to by a line: `board_creator.py DATABASE [MAX_FILE_BYTES]`; prints made, stood or refused."""

from __future__ import annotations

import resource
import sys
from pathlib import Path

from hermes_kanban_plugin.board import create_board
from hermes_kanban_plugin.errors import BoardUnusable
from hermes_kanban_plugin.testing import place_of

database = Path(sys.argv[1])
if len(sys.argv) > 2:
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), int(sys.argv[2])))
print("waiting", flush=True)
sys.stdin.readline()
try:
    print("made" if create_board(place_of(database)) else "stood")
except BoardUnusable as refusal:
    print(f"refused: {refusal}")
