"""Whatever happens in whatever order: starts per hour stay bounded, and a tripped breaker is opened by people only.

The real dispatcher on a real board, in a time that hypothesis makes pass.
"""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some

from hermes_kanban_plugin.causes import Cause
from hermes_kanban_plugin.testing import violations

from .conftest import Stage

BOUND = 3
COUNTED = sorted(cause for cause in Cause if cause.counts)
RELEASED = [Cause.RATE_LIMITED, Cause.INTERRUPTED, Cause.INFRASTRUCTURE, Cause.HEARTBEAT_STALE]
# How a run ends, or what a person does to the task; a person's word opens a breaker.
DEEDS = [*COUNTED, *RELEASED, "complete", "block", "vanish", "unblock", "nothing"]

step = some.tuples(some.sampled_from([0, 1, 20, 90, 400, 1500, 4000]), some.integers(0, 3), some.sampled_from(DEEDS))


@pytest.fixture(scope="module")
def homes(tmp_path_factory: pytest.TempPathFactory):
    return lambda: tmp_path_factory.mktemp("home")


@given(steps=some.lists(step, max_size=45), limit=some.integers(1, 3), tasks=some.integers(1, 4))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_sequence_of_ends_starts_a_task_too_often_or_opens_its_breaker(homes, steps, limit, tasks) -> None:
    stage = Stage(homes())
    try:
        play(stage, steps, limit, tasks)
    finally:
        stage.restart()


def play(stage: Stage, steps: list[tuple[int, int, object]], limit: int, tasks: int) -> None:
    stage.configure(kanban={"failure_limit": limit}, max_starts_per_hour=BOUND, rate_limit_cooldown_seconds=0,
                    retry_base_seconds=0)  # fmt: skip
    ids = [stage.create() for _ in range(tasks)]
    given_up: dict[str, int] = {}
    for seconds, which, deed in steps:
        stage.tick(seconds)
        task_id = ids[which % tasks]
        status = act(stage, task_id, deed)
        if status == "blocked":
            given_up[task_id] = stage.runs(task_id)
        elif status == "opened":
            given_up.pop(task_id, None)
        for one, runs in given_up.items():
            assert (stage.status(one), stage.runs(one)) == ("blocked", runs)
    stage.tick(0)
    assert stage.starts_within_an_hour() <= BOUND
    assert violations(stage.home / "kanban.db") == []


def act(stage: Stage, task_id: str, deed: object) -> str:
    """Let it happen if it can; returns ``blocked`` when the task was given up, ``opened`` when a person opened it."""
    if deed == "unblock" and stage.status(task_id) == "blocked":
        stage.board.unblock(task_id, "ann")
        return "opened"
    if task_id not in stage.puppets.living:
        return ""
    if deed in COUNTED:
        return stage.fail(task_id, Cause(deed))
    if deed in RELEASED:
        stage.release(task_id, Cause(deed))
    elif deed == "complete":
        stage.complete(task_id)
    elif deed == "block":
        return stage.block(task_id, "stuck", "transient")
    elif deed == "vanish":
        stage.vanish(task_id)
    return ""
