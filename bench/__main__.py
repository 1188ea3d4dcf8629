"""``python -m bench [--json] [--tasks N]``: time the engine's hot work beside the host's and bare SQLite's."""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from bench.subjects import SUBJECTS, Subject

if TYPE_CHECKING:
    from collections.abc import Callable

REPEATS = 3


def main() -> int:
    """Run every work on every subject and print median seconds, statements and ratios."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--tasks", type=int, default=1000)
    args = parser.parse_args()
    rows = [_measure(work, args.tasks) for work in ("claim", "heartbeat", "complete", "rescue", "idle", "open")]
    if args.json:
        print(json.dumps(rows, indent=1))
    else:
        _print(rows, args.tasks)
    return 0


def _measure(work: str, tasks: int) -> dict[str, object]:
    row: dict[str, object] = {"work": work}
    for name, make in SUBJECTS.items():
        samples = [_once(make, work, tasks) for _ in range(REPEATS)]
        row[name] = {
            "seconds": round(statistics.median(sample[0] for sample in samples), 6),
            "statements": samples[-1][1],
        }
    return row


def _once(make: Callable[[Path], Subject], work: str, tasks: int) -> tuple[float, int]:
    """Return the seconds and the number of SQL statements that one piece of work took on a fresh board."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ["HERMES_HOME"] = folder
        os.environ["HERMES_KANBAN_DB"] = str(Path(folder) / "kanban.db")
        subject = make(Path(folder) / "kanban.db")
        try:
            run = subject.prepare(work, tasks)
            subject.counting = True
            start = time.perf_counter()
            run()
            return time.perf_counter() - start, subject.statements
        finally:
            subject.close()


def _print(rows: list[dict[str, object]], tasks: int) -> None:
    print(f"{tasks} tasks, median of {REPEATS}; statements in brackets; ratio: host / ours")
    for row in rows:
        cells = []
        for name in SUBJECTS:
            cell = row[name]
            assert isinstance(cell, dict)
            cells.append(f"{name} {cell['seconds'] * 1000:9.2f} ms [{cell['statements']:>6}]")
        ours, host = row["ours"], row["host"]
        assert isinstance(ours, dict)
        assert isinstance(host, dict)
        print(f"{row['work']:>10}  {'   '.join(cells)}   {host['seconds'] / ours['seconds']:6.1f}x")


if __name__ == "__main__":
    sys.exit(main())
