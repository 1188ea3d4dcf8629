from __future__ import annotations

import pytest

from hermes_kanban_plugin.dispatch.ownership import ALLOW, Caller, caller_of, vote
from hermes_kanban_plugin.errors import MalformedEnvironment
from hermes_kanban_plugin.store.leases import Lease

WORKER = {
    "HERMES_KANBAN_TASK": "t_1",
    "HERMES_KANBAN_RUN_ID": "7",
    "HERMES_KANBAN_CLAIM_LOCK": "host:1:n-t_1",
    "HERMES_PROFILE": "coder",
}


def test_a_worker_is_read_from_its_environment() -> None:
    caller = caller_of(WORKER, 42)
    assert caller == Caller("t_1", "7", "host:1:n-t_1", "coder", 42)
    assert caller.is_worker
    assert caller.lease == Lease("t_1", 7, "host:1:n-t_1")
    assert vote(caller, "t_1") == ALLOW


def test_somebody_who_is_no_worker_may() -> None:
    caller = caller_of({}, 42)
    assert not caller.is_worker
    assert caller.profile == "worker"
    assert vote(caller, "t_1") == ALLOW


def test_a_blank_task_makes_no_worker() -> None:
    assert not caller_of({**WORKER, "HERMES_KANBAN_TASK": "  "}, 1).is_worker


@pytest.mark.parametrize("other", ["t_2", "T_1", "t_1 ", "t_10", ""])
def test_a_worker_may_not_touch_another_task(other: str) -> None:
    answer = vote(caller_of(WORKER, 1), other)
    assert not answer.allowed
    assert "scoped to task t_1" in answer.reason


@pytest.mark.parametrize(
    "run_id", ["", "  ", "0", "-7", "7.0", "seven", "7; DROP", "²", "\u0667", str(2**63), "9" * 400, "0x7", "1e3"]
)
def test_a_run_id_that_is_none_is_refused(run_id: str) -> None:
    caller = caller_of({**WORKER, "HERMES_KANBAN_RUN_ID": run_id}, 1)
    with pytest.raises(MalformedEnvironment, match="HERMES_KANBAN_RUN_ID"):
        _ = caller.lease
    answer = vote(caller, "t_1")
    assert not answer.allowed
    assert "HERMES_KANBAN_RUN_ID" in answer.reason
    assert len(answer.reason) < 400


@pytest.mark.parametrize("name", ["HERMES_KANBAN_RUN_ID", "HERMES_KANBAN_CLAIM_LOCK"])
def test_what_is_missing_is_named(name: str) -> None:
    caller = caller_of({key: value for key, value in WORKER.items() if key != name}, 1)
    answer = vote(caller, "t_1")
    assert not answer.allowed
    assert f"{name} is not set" in answer.reason


def test_a_blank_lock_is_refused() -> None:
    assert not vote(caller_of({**WORKER, "HERMES_KANBAN_CLAIM_LOCK": " "}, 1), "t_1").allowed


def test_the_largest_run_id_of_sqlite_is_one() -> None:
    assert caller_of({**WORKER, "HERMES_KANBAN_RUN_ID": str(2**63 - 1)}, 1).lease.run_id == 2**63 - 1
