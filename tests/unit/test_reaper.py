from __future__ import annotations

from itertools import product

import pytest

from hermes_kanban_plugin.dispatch.reaper import Deed, Orphan, decide, has_gone
from hermes_kanban_plugin.identity import Verdict
from hermes_kanban_plugin.models import HeldRun

ALIVE, DEAD, UNKNOWN = Verdict.ALIVE, Verdict.DEAD, Verdict.UNKNOWN
NOW = 10_000


def run(**fields: object) -> HeldRun:
    facts = {
        "task_id": "t_1",
        "known_run_id": 3,
        "lane": "command",
        "accepted_at": NOW - 100,
        "claim_expires": NOW + 60,
    }
    return HeldRun.model_validate({**facts, **fields})


def deed(supervisor: Verdict, worker: Verdict, **fields: object) -> Deed:
    action = decide(Orphan(run(**fields), supervisor, worker), NOW)
    assert bool(action.reason) == (action.deed is not Deed.KEEP)
    return action.deed


@pytest.mark.parametrize(
    ("supervisor", "worker", "in_time", "late"),
    [
        (ALIVE, ALIVE, Deed.KEEP, Deed.STOP),  # it does not renew: frozen
        (ALIVE, DEAD, Deed.KEEP, Deed.STOP),  # its supervisor buries it, if it can
        (ALIVE, UNKNOWN, Deed.KEEP, Deed.STOP),
        (DEAD, ALIVE, Deed.STOP, Deed.STOP),
        (DEAD, DEAD, Deed.RESCUE, Deed.RESCUE),
        (DEAD, UNKNOWN, Deed.KEEP, Deed.RESCUE),
        (UNKNOWN, ALIVE, Deed.KEEP, Deed.RESCUE),
        (UNKNOWN, DEAD, Deed.KEEP, Deed.RESCUE),
        (UNKNOWN, UNKNOWN, Deed.KEEP, Deed.RESCUE),
    ],
)
def test_a_supervised_run(supervisor: Verdict, worker: Verdict, in_time: Deed, late: Deed) -> None:
    assert deed(supervisor, worker) is in_time
    assert deed(supervisor, worker, claim_expires=NOW + 1) is in_time
    assert deed(supervisor, worker, claim_expires=NOW) is late
    assert deed(supervisor, worker, claim_expires=None) is late


@pytest.mark.parametrize(
    ("deadline", "expected"),
    [(None, Deed.KEEP), (NOW + 1, Deed.KEEP), (NOW, Deed.RESCUE), (NOW - 5, Deed.RESCUE)],
)
@pytest.mark.parametrize("claim_expires", [NOW + 60, NOW - 60, None])
def test_a_claim_that_was_not_accepted_waits_for_its_launch_deadline(
    deadline: int | None, expected: Deed, claim_expires: int | None
) -> None:
    for supervisor, worker in product(Verdict, Verdict):
        fields = {"accepted_at": None, "launch_deadline": deadline, "claim_expires": claim_expires}
        assert deed(supervisor, worker, **fields) is expected


@pytest.mark.parametrize("fields", [{"lane": "terminal"}, {"known_run_id": None, "current_run_id": 3, "lane": None}])
@pytest.mark.parametrize(
    ("worker", "in_time", "late"),
    [(ALIVE, Deed.KEEP, Deed.KEEP), (DEAD, Deed.COUNT, Deed.COUNT), (UNKNOWN, Deed.KEEP, Deed.RESCUE)],
)
def test_a_run_that_nobody_of_us_supervises(
    fields: dict[str, object], worker: Verdict, in_time: Deed, late: Deed
) -> None:
    assert deed(UNKNOWN, worker, **fields) is in_time
    assert deed(UNKNOWN, worker, **{**fields, "claim_expires": NOW}) is late


def test_who_lives_is_never_rescued_beside() -> None:
    """Whatever the rest, a task is only given away when its worker is not known to live."""
    for supervisor, worker, expires, lane in product(Verdict, Verdict, (None, 0, NOW + 9), ("command", "terminal")):
        found = deed(supervisor, worker, claim_expires=expires, lane=lane)
        if worker is ALIVE and supervisor is not UNKNOWN:
            assert found in (Deed.KEEP, Deed.STOP)
        if supervisor is ALIVE and lane == "command":
            assert found is (Deed.KEEP if expires == NOW + 9 else Deed.STOP)


@pytest.mark.parametrize(
    ("supervisor", "worker", "soon", "after_a_lease"),
    [
        (ALIVE, ALIVE, False, False),
        (ALIVE, DEAD, False, False),
        (DEAD, ALIVE, False, False),
        (UNKNOWN, ALIVE, False, False),
        (DEAD, DEAD, True, True),
        (DEAD, UNKNOWN, False, True),
        (UNKNOWN, DEAD, False, True),
        (UNKNOWN, UNKNOWN, False, True),
    ],
)
def test_what_is_left_of_a_closed_run(supervisor: Verdict, worker: Verdict, soon: bool, after_a_lease: bool) -> None:
    orphan = Orphan(run(closed_at=NOW), supervisor, worker)
    assert has_gone(orphan, NOW + 119, 120) is soon
    assert has_gone(orphan, NOW + 120, 120) is after_a_lease
    unknown_end = Orphan(run(closed_at=None), supervisor, worker)
    assert has_gone(unknown_end, NOW, 120) is soon


@pytest.mark.parametrize(
    ("expires", "beat", "worker", "wanted"),
    [
        (NOW - 60, NOW - 3601, ALIVE, Deed.STOP),  # wedged: Hermes would take it back too
        (NOW - 60, NOW - 3599, ALIVE, Deed.KEEP),
        (NOW + 60, NOW - 3601, ALIVE, Deed.KEEP),
        (NOW - 60, None, ALIVE, Deed.KEEP),  # a run that never beat is extended
    ],
)
def test_a_worker_of_hermes_that_lives_without_a_sign_of_life(
    expires: int, beat: int | None, worker: Verdict, wanted: Deed
) -> None:
    fields = {"lane": None, "accepted_at": None, "known_run_id": None, "claim_expires": expires}
    assert deed(UNKNOWN, worker, **fields, last_heartbeat_at=beat) is wanted
