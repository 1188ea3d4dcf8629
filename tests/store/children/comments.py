"""A fresh look at a board: `comments.py DATABASE` prints its comments in order and what its integrity check says."""

from __future__ import annotations

import json
import sqlite3
import sys

connection = sqlite3.connect(sys.argv[1])
found = [row[0] for row in connection.execute("SELECT body FROM task_comments ORDER BY id")]
print(json.dumps([*found, connection.execute("PRAGMA integrity_check").fetchone()[0]]))
