"""Host processes, processes of ours and our dispatcher write to one board at once; nothing that was told ok is lost."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from hermes_kanban_plugin.clock import Clock
from hermes_kanban_plugin.testing import make_board, violations

if TYPE_CHECKING:
    from tests.host.conftest import House

pytestmark = pytest.mark.host

TASKS, BEATS = 12, 4

# Each task has a connection of its own, closed at its end: by turns every writer holds one whose locks are gone, and
# every writer closes one. What raises was not acknowledged.
HOST = """
from contextlib import closing
from hermes_cli import kanban_db as kb

def act(call, *arguments, **options):
    try:
        return call(*arguments, **options)
    except Exception as problem:
        problems.append(repr(problem))

def work(name, task_ids, beats):
    for task_id in task_ids:
        with closing(kb.connect()) as conn:
            act(kb.claim_task, conn, task_id, claimer=name)
            for number in range(beats):
                note = f"{name} {task_id} {number}"
                act(kb.heartbeat_claim, conn, task_id, claimer=name)
                if act(kb.heartbeat_worker, conn, task_id, note=note):
                    noted.append(note)
            if act(kb.complete_task, conn, task_id, summary=f"{name} {task_id}"):
                completed.append(task_id)
    return noted, completed, problems

noted, completed, problems = [], [], []
"""
OURS = """
from hermes_kanban_plugin import open_board
from hermes_kanban_plugin.store.leases import ClaimTerms
from hermes_kanban_plugin.store.outcomes import Handoff

def act(call, *arguments):
    with open_board() as board:
        return call(board, *arguments)

def work(name, task_ids, beats):
    noted, completed = [], []
    for task_id in task_ids:
        terms = act(lambda board: ClaimTerms(f"{name}:1:n", board.clock.now() + 900, "command"))
        (lease,) = act(lambda board: board.claim([task_id], terms))
        for number in range(beats):
            note = f"{name} {task_id} {number}"
            act(lambda board: board.heartbeat(lease, 900, note))
            noted.append(note)
        act(lambda board: board.complete_run(lease, Handoff(f"{name} {task_id}")))
        completed.append(task_id)
    return noted, completed, []
"""
NOTES = "SELECT json_extract(payload, '$.note') AS note FROM task_events WHERE kind = 'heartbeat'"
COMPLETIONS = """
    SELECT tasks.id, task_runs.summary FROM tasks JOIN task_runs ON task_runs.task_id = tasks.id
    WHERE tasks.status = 'done' AND tasks.completed_at IS NOT NULL AND task_runs.outcome = 'completed'"""


@pytest.mark.parametrize(("hosts", "own"), [(8, 0), (4, 4)], ids=["hosts only", "hosts and ours"])
def test_everything_acknowledged_is_in_the_file(house: House, hosts: int, own: int) -> None:
    """Eight hosts without the dispatcher's guard damaged their board in each of three tries."""
    names = [f"host{number}" for number in range(hosts)] + [f"ours{number}" for number in range(own)]
    with make_board(house.database, Clock()) as board:
        share = {name: [board.create_task(title=name) for _ in range(TASKS)] for name in names}
    command = [sys.executable, "-m", "hermes_kanban_plugin.cli.main", "dispatcher"]
    dispatcher = house.start(command)
    house.wait_until(lambda: house.guarded_by(dispatcher.pid), "the dispatcher holds the board")
    writers = {name: house.host(HOST if name.startswith("host") else OURS) for name in names}
    for name, writer in writers.items():
        writer.tell(f"work({name!r}, {share[name]!r}, {BEATS})")
    answers = {name: writer.answer() for name, writer in writers.items()}
    assert dispatcher.poll() is None
    for writer in writers.values():
        writer.leave()
    dispatcher.terminate()
    assert dispatcher.wait(60) == 0

    notes = {row["note"] for row in house.rows(NOTES)}
    summaries = {row["id"]: row["summary"] for row in house.rows(COMPLETIONS)}
    for name, (noted, completed, problems) in answers.items():
        assert set(noted) - notes == set(), problems
        assert {task_id: summaries.get(task_id) for task_id in completed} == {
            task_id: f"{name} {task_id}" for task_id in completed
        }, problems
        if name.startswith("ours"):
            assert len(completed) == TASKS
        # A host that is told "torn-extend" after its commit takes it for a failure (perf-baseline section 0).
        assert [problem for problem in problems if "torn-extend" not in problem] == []
    assert sum(len(completed) for _, completed, _ in answers.values()) > own * TASKS
    assert house.integrity() == "ok"
    assert violations(house.database) == []
