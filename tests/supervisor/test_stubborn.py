"""Processes that a supervisor may not signal, because they are somebody else's, hold their task up with a reason."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

import psutil
import pytest

from hermes_kanban_plugin.diagnosis import rulebook, surroundings
from hermes_kanban_plugin.store.leases import Lease
from hermes_kanban_plugin.supervisor import sweep
from hermes_kanban_plugin.supervisor.worker import Worker
from tests.conftest import lives, wait_for

if TYPE_CHECKING:
    from hermes_kanban_plugin.diagnosis.finding import Finding
    from tests.conftest import Workshop

POWERLESS = ["setpriv", "--bounding-set=-kill", "--inh-caps=-kill"]
SOMEBODY_ELSE = "setpriv --reuid=65534 --regid=65534 --clear-groups sleep 60"
UNTIL_IT_IS = "until grep -q '^Uid:.65534' /proc/$!/status; do :; done"

staged = pytest.mark.skipif(
    sys.platform != "linux" or os.geteuid() != 0 or shutil.which("setpriv") is None,
    reason="only root can start a process of another user and give the right to signal it away",
)


@pytest.fixture
def ended() -> Iterator[list[int]]:
    """Pids of processes of this test; whatever lives of them at its end is killed."""
    pids: list[int] = []
    yield pids
    for pid in pids:
        if lives(pid):
            psutil.Process(pid).kill()


def test_the_sweep_gives_up_on_what_does_not_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweep, "PROOF_SECONDS", 0.1)
    monkeypatch.setattr(sweep, "_signal", lambda *_: None)  # as if every one were refused
    looks: list[int] = []
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, start_new_session=True) as child:
        worker, lease = Worker(child.pid, gate=-1, error=-1), Lease("t_1", 1, "nobody:1:x")
        assert sweep.end_leftovers(worker, lease, 0.1, lambda: looks.append(1)) == [child.pid]
        child.communicate()
    assert len(looks) > 1
    assert sweep.end_leftovers(worker, lease, 0.1, lambda: None) == []


def dispatch_powerless(workshop: Workshop, line: str, **fields: object) -> tuple[str, int]:
    """Start a worker by a dispatcher that may signal nobody but its own user's; returns task and supervisor."""
    workshop.configure({"lane": line})
    task_id = workshop.board.create_task(title="work", assignee="lane", **fields)
    command = [*POWERLESS, sys.executable, "-m", "hermes_kanban_plugin.cli.main", "dispatch"]
    subprocess.run(command, check=True, capture_output=True, timeout=60, cwd="/")
    return task_id, wait_for(lambda: supervisor_of(workshop, task_id), "its supervisor")


def supervisor_of(workshop: Workshop, task_id: str) -> int | None:
    query = "SELECT supervisor_pid FROM kp_runs WHERE task_id = ? AND accepted_at IS NOT NULL"
    row = workshop.board.reader.execute(query, (task_id,)).fetchone()
    return row["supervisor_pid"] if row is not None else None


def told(workshop: Workshop, task_id: str) -> list[int]:
    """Return the pids that the history says would not end."""
    found = [event for event in workshop.board.events(task_id) if event.kind == "stop_failed"]
    assert len(found) < 2, "once is enough"
    return list(found[0].payload["pids"]) if found else []


def findings(workshop: Workshop) -> list[Finding]:
    facts = surroundings.look(workshop.runtime, workshop.board)
    return [found for found in rulebook.diagnose(facts) if found.kind == "unstoppable_run"]


@staged
def test_a_leftover_of_another_user_does_not_hold_the_runs_end_up(workshop: Workshop, ended: list[int]) -> None:
    task_id, supervisor = dispatch_powerless(workshop, f"{SOMEBODY_ELSE} & {UNTIL_IT_IS}; exit 3")
    ended += [*wait_for(lambda: told(workshop, task_id), "the history to say so", seconds=20), supervisor]
    (run,) = workshop.board.runs(task_id)
    assert (run.outcome, run.exit_code) == ("crashed", 3)
    assert (workshop.board.task(task_id).status, workshop.board.task(task_id).claim_lock) == ("ready", None)
    assert workshop.tick().started == [], "nothing starts beside it"
    assert lives(ended[0])
    (finding,) = findings(workshop)
    assert (finding.task_id, finding.evidence["pids"]) == (task_id, [str(ended[0])])
    assert finding.fix == f"kill -KILL {ended[0]}"
    psutil.Process(ended[0]).kill()
    wait_for(lambda: not lives(supervisor), "its supervisor to see that", seconds=20)
    assert findings(workshop) == []
    assert workshop.board.runs(task_id)[0].exit_code == 3


@staged
def test_a_worker_of_another_user_that_overruns_is_told_to_a_person(workshop: Workshop, ended: list[int]) -> None:
    task_id, supervisor = dispatch_powerless(workshop, f"exec {SOMEBODY_ELSE}", max_runtime_seconds=3)
    (worker,) = wait_for(lambda: told(workshop, task_id), "the history to say so", seconds=30)
    ended += [worker, supervisor]
    assert workshop.board.task(task_id).status == "running"
    (finding,) = findings(workshop)
    assert (finding.run_id, finding.evidence["pids"]) == (workshop.board.task(task_id).current_run_id, [str(worker)])
    psutil.Process(worker).kill()
    wait_for(lambda: workshop.board.task(task_id).status == "ready", "the run to end", seconds=20)
    assert workshop.board.runs(task_id)[0].outcome == "timed_out"
