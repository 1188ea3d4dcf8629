"""What is said to start at the next tick is what the next tick starts, on any board."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hermes_kanban_plugin.board import create_board
from hermes_kanban_plugin.diagnosis import readiness, surroundings
from hermes_kanban_plugin.diagnosis.facts import Dispatching
from hermes_kanban_plugin.dispatch.context import Phase, TickContext
from hermes_kanban_plugin.dispatch.standing import State
from hermes_kanban_plugin.dispatch.tick import run_phases
from hermes_kanban_plugin.manager import Manager
from hermes_kanban_plugin.models import Skipped
from hermes_kanban_plugin.runtime import Runtime
from hermes_kanban_plugin.testing import FakeClock, place_of
from tests.diagnosis.conftest import Scene
from tests.diagnosis.test_why import spoil_at_random


def furnish(home: Path, limits: dict[str, int | None]) -> None:
    """Give a home the lane ``worker``, and the profile ``coder`` with no skill at all."""
    (home / "profiles" / "coder" / "skills").mkdir(parents=True)
    (home / "profiles" / "coder" / ".no-bundled-skills").touch()
    ours = {"lanes": {"worker": {"command": ["true"]}}, "max_starts_per_hour": 2}
    document = {"kanban": limits, "plugins": {"entries": {"hermes-kanban": ours}}}
    (home / "config.yaml").write_text(json.dumps(document), encoding="utf-8")


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(min_value=0, max_value=2**32), cap=st.sampled_from([None, 1, 2]))
def test_the_answers_and_the_tick_agree(tmp_path_factory: pytest.TempPathFactory, seed: int, cap: int | None) -> None:
    with pytest.MonkeyPatch.context() as patch:
        home = tmp_path_factory.mktemp("home")
        patch.setenv("HERMES_HOME", str(home))
        furnish(home, {"max_in_progress": cap, "max_in_progress_per_profile": 1 if seed % 3 == 0 else None})
        create_board(place_of(home / "kanban.db"))
        clock = FakeClock()
        runtime = Runtime(home, clock, Manager(discover=False))
        try:
            board = runtime.open(place_of(home / "kanban.db"))
            spoil_at_random(Scene(board, clock), seed)
            facts = replace(surroundings.look(runtime, board), dispatching=Dispatching(state=State.SERVING))
            answers = readiness.line_up(facts)
            said = {task_id for task_id, answer in answers.items() if answer.code == "starting"}
            copy = board.rehearsal()
            try:
                context = TickContext(runtime, copy, dry_run=True)
                report = run_phases(context, (Phase.DISPATCH,))
            finally:
                copy.close()
        finally:
            runtime.close()
    assert said == {started.task_id for started in report.started}
    check_reasons(report.skipped, {task_id: answer.code for task_id, answer in answers.items()})


def check_reasons(skipped: list[Skipped], codes: dict[str, str]) -> None:
    """Hold the reasons that the tick gave against the answers; skills are looked at only when there is a slot."""
    words = {"capacity": "capacity", "no_assignee": "no assignee", "assignee_not_found": "nobody to start"}
    for one in skipped:
        code = codes[one.task_id]
        if code == "missing_skills":
            assert "does not have the skill" in one.reason or "capacity" in one.reason
        else:
            assert words[code] in one.reason
