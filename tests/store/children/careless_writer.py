"""A program that loses its locks on a board as the host does (contract W1): `careless_writer.py DATABASE`.

It connects, inserts the comment `before`, opens and closes the file (which drops every lock it has), says so, and for
each further line it is sent inserts that line as a comment.
"""

from __future__ import annotations

import sqlite3
import sys

connection = sqlite3.connect(sys.argv[1], isolation_level=None)
INSERT = "INSERT INTO task_comments (task_id, author, body, created_at) VALUES ('t_1', 'careless', ?, 1)"
connection.execute(INSERT, ("before",))
with open(sys.argv[1], "rb") as stream:
    stream.read(4)
print("locks dropped", flush=True)
for line in sys.stdin:
    connection.execute(INSERT, (line.strip(),))
    print("written", flush=True)
