from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as some

from hermes_kanban_plugin.dispatch.admission import BLIND_CAP, Admission, Limits, Pool, admit, in_order, limits_of
from hermes_kanban_plugin.memory import Memory
from hermes_kanban_plugin.models import Task
from hermes_kanban_plugin.settings import HostSettings, PluginSettings, Settings

LANES = {"ann": "command", "bob": "hermes", "cid": "command"}


def tasks(*assignees: str | None) -> list[Task]:
    return [
        Task(id=f"t_{number}", title="x", status="ready", created_at=number, assignee=name)
        for number, name in enumerate(assignees)
    ]


def admit_for(*assignees: str | None, running: dict[str, int] | None = None, **limits: object) -> Admission:
    return admit(tasks(*assignees), running or {}, Limits(**limits), LANES.get)


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
    settings = Settings(host=HostSettings(default_assignee="  ANN "))
    admission = admit(tasks(None, "bob"), {}, limits_of(settings), LANES.get)
    assert [(a.assignee, a.assigned_by_default) for a in admission.admitted] == [("ann", True), ("bob", False)]


def test_the_default_assignee_has_a_cap_too() -> None:
    admission = admit_for("ann", None, None, default_assignee="ann", max_in_progress_per_profile=2)
    assert ids(admission) == ["t_0", "t_1"]


def test_a_default_assignee_whom_nobody_knows() -> None:
    admission = admit_for(None, default_assignee="zoe")
    assert ids(admission) == []
    assert "'zoe'" in reasons(admission)["t_0"]


def test_an_assignee_with_a_cap_of_its_own() -> None:
    own = {"ann": 2, "bob": 0}
    admission = admit_for("ann", "ann", "ann", "bob", "cid", "cid", max_in_progress_per_profile=1, assignee_caps=own)
    assert ids(admission) == ["t_0", "t_1", "t_4"]
    assert reasons(admission)["t_2"] == "ann is at its capacity (2 running, assignee_caps 2)"
    assert reasons(admission)["t_3"] == "bob is at its capacity (0 running, assignee_caps 0)"
    assert reasons(admission)["t_5"] == "cid is at its capacity (1 running, max_in_progress_per_profile 1)"


def test_a_pool_is_shared_by_those_that_it_names_and_nobody_else() -> None:
    pools = {"gpu": Pool(2, {"ann", "bob"})}
    admission = admit_for("ann", "bob", "bob", "cid", running={"ann": 1}, pools=pools)
    assert ids(admission) == ["t_0", "t_3"]
    assert set(reasons(admission).values()) == {"pool 'gpu' is taken (2 running, size 2)"}


@pytest.mark.parametrize(
    ("memory", "running", "started"),
    [
        (Memory.AMPLE, 5, 3),
        (Memory.TIGHT, 0, 1),  # whatever comes, one works
        (Memory.TIGHT, 1, 0),
        (Memory.CRITICAL, 0, 0),
        (Memory.UNKNOWN, 0, BLIND_CAP),  # not unlimited
        (Memory.UNKNOWN, BLIND_CAP, 0),
    ],
)
def test_memory_bounds_what_is_started(memory: Memory, running: int, started: int) -> None:
    admission = admit_for("ann", "bob", "cid", running={"zoe": running}, memory=memory)
    assert len(admission.admitted) == started
    assert {skipped.code for skipped in admission.skipped} <= {"memory"}


def test_the_guard_can_be_switched_off() -> None:
    settings = Settings(plugin=PluginSettings(memory_guard=False))
    assert limits_of(settings, Memory.CRITICAL).memory is Memory.AMPLE
    assert limits_of(Settings(), Memory.CRITICAL).memory is Memory.CRITICAL


def test_waiting_raises_a_priority_step_by_step() -> None:
    old = Task(id="t_old", title="x", status="ready", created_at=0, priority=0)
    new = Task(id="t_new", title="x", status="ready", created_at=7000, priority=2)
    names = {now: [task.id for task in in_order([new, old], now, 3600)] for now in (7100, 7300)}
    assert names == {7100: ["t_new", "t_old"], 7300: ["t_old", "t_new"]}
    assert [task.id for task in in_order([old, new], 10**9, 0)] == ["t_new", "t_old"]


def test_among_equals_the_older_one_comes_first_and_a_task_of_the_future_is_not_lowered() -> None:
    line = [Task(id=f"t_{at}", title="x", status="ready", created_at=at) for at in (900, 100, 99_999)]
    assert [task.id for task in in_order(line, 1000, 3600)] == ["t_100", "t_900", "t_99999"]


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
    limits = Limits(
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
