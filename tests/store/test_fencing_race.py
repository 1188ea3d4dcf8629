"""The fencing race: six processes, 400 tasks, every lease shorter than the work, one process that rescues eagerly."""

from __future__ import annotations

import json
from collections import Counter

from hermes_kanban_plugin.testing import violations

TASKS = 400
WORKERS = 5


def test_no_write_of_a_superseded_run_is_ever_accepted(desk, spawn) -> None:
    for number in range(TASKS):
        desk.create(title=f"task {number}")
    path = desk.board.path
    racers = [spawn("lease_racer.py", path, "worker", f"worker{number}") for number in range(WORKERS)]
    racers.append(spawn("lease_racer.py", path, "rescuer", "rescuer"))
    for racer in racers:
        assert racer.stdout.readline() == "waiting\n"
    for racer in racers:
        racer.stdin.write("go\n")
        racer.stdin.flush()
    reports = [json.loads(racer.communicate()[0]) for racer in racers]

    # Ids of history rows are the order in which the writes were committed.
    ended: set[int] = set()
    late: list[tuple[str, int]] = []
    found: Counter[tuple[str, int]] = Counter()
    verbs = {"spawned": "accept", "heartbeat": "heartbeat", "completed": "complete"}
    for row in desk.rows("SELECT kind, run_id FROM task_events WHERE run_id IS NOT NULL ORDER BY id"):
        if row["run_id"] in ended:
            late.append((row["kind"], row["run_id"]))
        if row["kind"] in ("reclaimed", "completed"):
            ended.add(row["run_id"])
        if row["kind"] in verbs:
            found[verbs[row["kind"]], row["run_id"]] += 1
    assert late == []

    # What the workers were told is what the board says, and the race did happen.
    told = Counter((verb, run_id) for report in reports for verb, run_id in report["accepted"] if verb != "renew")
    assert told == found
    assert sum(report["refused"] for report in reports) > 0
    assert sum(report["overtaken"] for report in reports) > 0
    outcomes = Counter(row["outcome"] for row in desk.rows("SELECT outcome FROM task_runs"))
    assert outcomes["completed"] == TASKS
    assert outcomes["reclaimed"] > 0
    assert {row["status"] for row in desk.rows("SELECT status FROM tasks")} == {"done"}
    assert violations(path) == []
