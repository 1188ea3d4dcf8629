"""Group D, what tools and commands say: invented cards, a dry run that changes nothing, twins with one key."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from hermes_kanban_plugin import toolkit
from hermes_kanban_plugin.cli.main import main
from hermes_kanban_plugin.diagnosis.answer import By
from hermes_kanban_plugin.dispatch.ownership import Caller
from hermes_kanban_plugin.errors import PhantomCards
from hermes_kanban_plugin.host import toolsets
from hermes_kanban_plugin.store.outcomes import Handoff
from tests.failure_modes.conftest import Stage, reason


def test_D3_an_invented_card_holds_the_completion_and_says_how_to_go_on(stage: Stage) -> None:
    task_id = stage.create()
    assert stage.started() == [task_id]
    lease = stage.puppets.living[task_id]
    caller = Caller(task_id, str(lease.run_id), lease.lock, "puppet", os.getpid(), str(os.getpid()))
    tool = toolkit.tools_of(stage.runtime.manager)["kanban_complete"]
    said = {"summary": "done", "created_cards": ["t_0badcafe"]}
    with pytest.raises(PhantomCards, match=r"t_0badcafe.*without these ids"):
        toolkit.perform(tool, stage.runtime.manager, said, caller)
    assert stage.status(task_id) == "running"
    toolkit.perform(tool, stage.runtime.manager, {**said, "created_cards": []}, caller)
    assert stage.status(task_id) == "done"
    stage.puppets.living.clear()


def test_D9_a_dry_run_changes_no_byte(stage: Stage) -> None:
    parent = stage.create()
    stage.create(parents=[parent])
    stage.board.complete(parent, Handoff("x"), "me")
    stage.execute("UPDATE tasks SET status = 'todo' WHERE status = 'ready'")
    stage.restart()
    before = (stage.home / "kanban.db").read_bytes()
    command = [sys.executable, "-m", "hermes_kanban_plugin.cli.main", "dispatch", "--dry-run"]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60)
    assert "would have" in done.stdout
    assert (stage.home / "kanban.db").read_bytes() == before


def test_D10_eight_creators_with_one_key_make_one_card(stage: Stage) -> None:
    command = [sys.executable, "-m", "hermes_kanban_plugin.cli.main", "create", "an alert", "--idempotency-key", "disk"]
    creators = [subprocess.Popen(command, stdout=subprocess.DEVNULL) for _ in range(8)]
    assert [creator.wait(timeout=60) for creator in creators] == [0] * 8
    assert len(stage.board.tasks()) == 1


def test_D10_an_alert_that_comes_again_after_its_card_was_closed_makes_a_new_one(stage: Stage) -> None:
    def fire(scope: str) -> str:
        return stage.create(idempotency_key="disk", idempotency_scope=scope)

    first = fire("open")
    assert fire("open") == first
    stage.board.complete(first, Handoff("cleared"), "ann")
    assert fire("all") == first  # as Hermes does it
    second = fire("open")
    assert second != first
    assert fire("open") == second


@pytest.mark.host
def test_D5_a_worker_that_could_not_finish_is_not_started(stage: Stage) -> None:
    profile = stage.home / "profiles" / "mute"
    profile.mkdir(parents=True)
    (profile / "config.yaml").write_text("agent:\n  disabled_toolsets: [web, kanban]\n")
    task_id = stage.create(assignee="mute")
    assert stage.started() == []
    task = stage.board.task(task_id)
    assert (task.status, task.block_kind, task.consecutive_failures) == ("blocked", "capability", 0)
    assert stage.runs(task_id) == 0
    assert "profile 'mute' hides the kanban tools" in stage.board.events(task_id)[-1].payload["reason"]
    # That is what the host does with such a profile: its worker has not one of them.
    code = "from model_tools import get_tool_definitions as f\n"
    code += "def names(*hidden): return [t['function']['name'] for t in f(['kanban'], list(hidden), quiet_mode=True)]\n"
    code += "print('kanban_complete' in names(), names('kanban'))"
    environment = {**os.environ, "HERMES_KANBAN_TASK": "t_00000001"}
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, env=environment)
    assert done.stdout.splitlines()[-1] == "True []"


@pytest.mark.parametrize(
    "text", ["agent: {disabled_toolsets: [web]}", "agent: {disabled_toolsets: }", "disabled_toolsets: ["]
)
def test_D5_another_configuration_holds_nobody_back(home, text: str) -> None:
    (home / "profiles" / "mute").mkdir(parents=True)
    (home / "profiles" / "mute" / "config.yaml").write_text(text)
    assert not toolsets.hides_board_tools("mute")
    assert not toolsets.hides_board_tools("nobody")


def test_D11_a_task_starts_by_itself_when_its_time_has_come(stage: Stage) -> None:
    parked, made = stage.create(), stage.create(start_at=stage.now + 3600)
    assert main(["schedule", parked, "--in", "1h", "wait", "for", "the", "market"]) == 0
    stage.execute("UPDATE kp_timers SET due_at = :at WHERE task_id = :id", at=stage.now + 3600, id=parked)
    for task_id in (parked, made):
        answer = reason(stage, task_id)
        assert (answer.code, answer.next.by, answer.next.at) == ("scheduled", By.TIMER, stage.now + 3600)
    assert stage.started(3599) == []
    assert sorted(stage.started(1)) == sorted([parked, made])


def test_D11_a_task_that_is_parked_without_a_time_says_that_a_person_wakes_it(stage: Stage) -> None:
    task_id = stage.create()
    stage.execute("UPDATE tasks SET status = 'scheduled' WHERE id = :id", id=task_id)
    answer = reason(stage, task_id)
    assert (answer.next.by, answer.next.command) == (By.PERSON, f"hermes-kanban unblock {task_id}")
