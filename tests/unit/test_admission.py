from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as some

from hermes_kanban_plugin.dispatch.admission import Admission, admit
from hermes_kanban_plugin.models import Task
from hermes_kanban_plugin.settings import HostSettings

LANES = {"ann": "command", "bob": "hermes", "cid": "command"}


def tasks(*assignees: str | None) -> list[Task]:
    return [
        Task(id=f"t_{number}", title="x", status="ready", created_at=number, assignee=name)
        for number, name in enumerate(assignees)
    ]


def admit_for(*assignees: str | None, running: dict[str, int] | None = None, **limits: object) -> Admission:
    return admit(tasks(*assignees), running or {}, HostSettings(**limits), LANES.get)


def ids(admission: Admission) -> list[str]:
    return [admitted.task.id for admitted in admission.admitted]


def reasons(admission: Admission) -> dict[str, str]:
    return {skipped.task_id: skipped.reason for skipped in admission.skipped}


def test_without_caps_everybody_starts_in_order() -> None:
    admission = admit_for("ann", "bob", "cid", running={"ann": 50})
    assert ids(admission) == ["t_0", "t_1", "t_2"]
    assert [admitted.lane for admitted in admission.admitted] == ["command", "hermes", "command"]
    assert admission.skipped == []


@pytest.mark.parametrize("name", ["max_spawn", "max_in_progress"])
@pytest.mark.parametrize(("running", "started"), [({}, 2), ({"ann": 1}, 1), ({"zoe": 2}, 0), ({"ann": 1, "bob": 7}, 0)])
def test_a_cap_counts_what_runs_already_whoever_runs_it(name: str, running: dict[str, int], started: int) -> None:
    admission = admit_for("ann", "bob", "cid", running=running, **{name: 2})
    assert ids(admission) == ["t_0", "t_1", "t_2"][:started]
    assert all("at capacity" in reason for reason in reasons(admission).values())


def test_the_smaller_cap_counts() -> None:
    assert ids(admit_for("ann", "bob", "cid", max_spawn=2, max_in_progress=1)) == ["t_0"]
    assert ids(admit_for("ann", "bob", "cid", max_spawn=1, max_in_progress=2)) == ["t_0"]


def test_a_profile_at_its_cap_does_not_hold_others_back() -> None:
    admission = admit_for("ann", "ann", "ann", "bob", running={"ann": 1}, max_in_progress_per_profile=2)
    assert ids(admission) == ["t_0", "t_3"]
    assert set(reasons(admission)) == {"t_1", "t_2"}
    assert "ann is at its capacity (2 running" in reasons(admission)["t_1"]


def test_what_cannot_start_takes_no_slot() -> None:
    admission = admit_for("nobody", None, "ann", max_spawn=1)
    assert ids(admission) == ["t_2"]
    assert "nobody to start for 'nobody'" in reasons(admission)["t_0"]
    assert "default_assignee" in reasons(admission)["t_1"]


def test_the_default_assignee_takes_what_nobody_has() -> None:
    admission = admit_for(None, "bob", default_assignee="  ANN ")
    assert [(a.assignee, a.assigned_by_default) for a in admission.admitted] == [("ann", True), ("bob", False)]


def test_the_default_assignee_has_a_cap_too() -> None:
    admission = admit_for("ann", None, None, default_assignee="ann", max_in_progress_per_profile=2)
    assert ids(admission) == ["t_0", "t_1"]


def test_a_default_assignee_whom_nobody_knows() -> None:
    admission = admit_for(None, default_assignee="zoe")
    assert ids(admission) == []
    assert "'zoe'" in reasons(admission)["t_0"]


def test_the_callers_counts_are_left_alone() -> None:
    running = {"ann": 1}
    admit_for("ann", "ann", running=running)
    assert running == {"ann": 1}


@given(
    assignees=some.lists(some.sampled_from([None, "ann", "bob", "cid", "zoe"]), max_size=12),
    running=some.dictionaries(some.sampled_from(["ann", "bob", "zoe", ""]), some.integers(0, 6)),
    max_spawn=some.none() | some.integers(1, 8),
    max_in_progress=some.none() | some.integers(1, 8),
    per_profile=some.none() | some.integers(1, 4),
    default=some.sampled_from(["", "ann", "zoe"]),
)
def test_never_above_a_cap_and_never_idle_below_it(
    assignees: list[str | None],
    running: dict[str, int],
    max_spawn: int | None,
    max_in_progress: int | None,
    per_profile: int | None,
    default: str,
) -> None:
    limits = HostSettings(
        max_spawn=max_spawn, max_in_progress=max_in_progress, max_in_progress_per_profile=per_profile,
        default_assignee=default,
    )  # fmt: skip
    candidates = tasks(*assignees)
    admission = admit(candidates, running, limits, LANES.get)
    started = Counter(admitted.assignee for admitted in admission.admitted)
    total = sum(running.values()) + started.total()
    caps = [cap for cap in (max_spawn, max_in_progress) if cap is not None]
    if started and caps:
        assert total <= min(caps)
    for assignee, count in started.items():
        assert assignee in LANES
        assert per_profile is None or running.get(assignee, 0) + count <= per_profile
    # Each candidate is answered once, in order, and whoever was skipped had a reason that holds.
    assert sorted([*ids(admission), *reasons(admission)]) == sorted(task.id for task in candidates)
    assert ids(admission) == [task.id for task in candidates if task.id in ids(admission)]
    for task in candidates:
        if task.id in reasons(admission):
            assignee = task.assignee or default
            at_profile_cap = per_profile is not None and running.get(assignee, 0) + started[assignee] >= per_profile
            assert assignee not in LANES or at_profile_cap or (caps and total >= min(caps))
