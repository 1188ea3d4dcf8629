"""Start to make a board and die in the middle of it: `board_dies_while_made.py DATABASE`."""

from __future__ import annotations

import os
import sqlite3
import sys

from hermes_kanban_plugin.store import schema
from hermes_kanban_plugin.store.connection import create_file
from hermes_kanban_plugin.store.transaction import immediate


def build(connection: sqlite3.Connection) -> None:
    with immediate(connection):
        schema.create(connection)
        os._exit(9)


create_file(sys.argv[1], build)
