"""The claim race: 32 claimers in eight processes want the same 256 tasks."""

from __future__ import annotations

import json

from hermes_kanban_plugin.testing import violations

TASKS = 256
PROCESSES = 8


def test_no_task_is_claimed_twice_and_none_is_left(desk, spawn) -> None:
    ids = {desk.create(title=f"task {number}") for number in range(TASKS)}
    racers = [spawn("claimers.py", desk.board.path, f"claimer{number}") for number in range(PROCESSES)]
    for racer in racers:
        assert racer.stdout.readline() == "waiting\n"
    for racer in racers:
        racer.stdin.write("go\n")
        racer.stdin.flush()
    reports = [json.loads(racer.communicate()[0]) for racer in racers]

    claimed = [lease for report in reports for lease in report["claimed"]]
    assert len(claimed) == TASKS
    assert {task_id for _, task_id, _, _ in claimed} == ids
    assert len({run_id for _, _, run_id, _ in claimed}) == len({lock for *_, lock in claimed}) == TASKS
    # Every claimer asked for every task, so all but one were refused each of them, and several did win some.
    assert sum(report["missed"] for report in reports) == TASKS * (PROCESSES * 4 - 1)
    assert len({name for name, *_ in claimed}) > 1
    held = desk.rows("SELECT id, current_run_id, claim_lock FROM tasks WHERE status = 'running'")
    assert {tuple(row.values()) for row in held} == {(task_id, run_id, lock) for _, task_id, run_id, lock in claimed}
    assert violations(desk.board.path) == []
