"""Which tasks may start after their provider refused: not before it serves again, else after the cooldown."""

from __future__ import annotations

import pytest

from hermes_kanban_plugin.breaker import Terms
from hermes_kanban_plugin.causes import Cause
from hermes_kanban_plugin.store import outcomes, queries

COOLDOWN = 300


@pytest.fixture
def refused(desk):
    """Return a task whose provider refused just now; it serves again after some seconds, if it said so."""

    def build(seconds: int | None) -> str:
        lease = desk.claimed()
        outcomes.note_retry(desk.writer, lease, None if seconds is None else desk.now + seconds)
        outcomes.release(desk.writer, lease, Cause.RATE_LIMITED, "429", {}, desk.now, Terms(cooldown=COOLDOWN))
        outcomes.record_exit(desk.writer, lease, outcomes.ExitFacts(exit_code=0), desk.now)
        return lease.task_id

    return build


def may_start(desk, task_id: str, later: int) -> bool:
    return task_id in [task.id for task in queries.candidates(desk.writer, desk.now + later, COOLDOWN)]


@pytest.mark.parametrize(
    ("seconds", "wait"), [(None, COOLDOWN), (20, 20), (7200, 7200), (0, 0)], ids=["silent", "soon", "late", "now"]
)
def test_it_waits_as_long_as_the_provider_said(desk, refused, seconds: int | None, wait: int) -> None:
    task_id = refused(seconds)
    assert may_start(desk, task_id, wait)
    assert wait == 0 or not may_start(desk, task_id, wait - 1)


def test_a_clock_that_was_set_back_makes_nobody_wait(desk, refused) -> None:
    assert may_start(desk, refused(7200), -10)


def test_only_the_newest_run_counts(desk, refused) -> None:
    task_id = refused(7200)
    later = desk.claim(task_id)
    outcomes.release(desk.writer, later, Cause.INTERRUPTED, "interrupted", {}, desk.now)
    outcomes.record_exit(desk.writer, later, outcomes.ExitFacts(exit_code=0), desk.now)
    assert may_start(desk, task_id, 0)
