"""Group J: everyday use."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from hermes_kanban_plugin import open_board
from hermes_kanban_plugin.cli.main import main
from hermes_kanban_plugin.hookspecs import hookimpl
from hermes_kanban_plugin.maintenance import pausing
from tests.conftest import lives, wait_for
from tests.failure_modes.conftest import perform, reason


def state(*task_ids: str) -> list[object]:
    with open_board() as board:
        return [(board.task(task_id), board.runs(task_id), board.events(task_id)) for task_id in task_ids]


@pytest.mark.parametrize(
    ("flag", "event", "field"),
    [
        ("--reset-failures", "edited", "actor"),
        ("--clear-skills", "edited", "actor"),
        ("--clear-claim", "reclaimed", "actor"),
    ],
)
def test_J1_recovery_is_one_command_that_is_audited(stage, flag: str, event: str, field: str) -> None:
    task_id = stage.create(skills=("missing-skill",))
    ruin = "consecutive_failures = 3, last_failure_error = 'boom', claim_lock = 'gone:1'"
    stage.execute(f"UPDATE tasks SET {ruin} WHERE id = :id", id=task_id)

    assert main(["edit", task_id, flag]) == 0

    failures, skills, lock = stage.columns(task_id, "consecutive_failures", "skills", "claim_lock")
    assert {"--reset-failures": failures == 0, "--clear-skills": skills is None, "--clear-claim": lock is None}[flag]
    last = stage.board.events(task_id)[-1]
    assert last.kind == event
    assert last.payload[field]
    stage.execute("UPDATE tasks SET claim_lock = NULL, skills = NULL WHERE id = :id", id=task_id)


def test_J1_recovery_of_a_living_run_is_fenced(stage, capsys) -> None:
    task_id = stage.create()
    stage.tick()
    before = state(task_id)

    assert main(["edit", task_id, "--clear-skills"]) == 2
    assert "needs a task that is not" in capsys.readouterr().err
    assert state(task_id) == before


class PauseAtSpawn:
    """Pauses the board after the claim, at the moment in which a worker is about to be started."""

    @hookimpl(tryfirst=True)
    def kanban_spawn_worker(self, context) -> None:
        pausing.pause(context.board, "hold on", "a person")


def test_J2_a_pause_between_claim_and_spawn_starts_no_process_and_counts_nothing(workshop) -> None:
    workshop.configure({"lane": f"echo started >> {workshop.home}/started"})
    task_id = workshop.board.create_task(title="x", assignee="lane")
    workshop.runtime.manager.register(PauseAtSpawn(), "pause")

    workshop.tick()
    for launched in workshop.runtime.launched:
        launched._process.wait(timeout=30)
    for _ in range(3):
        assert workshop.tick().started == []

    task = workshop.board.task(task_id)
    assert (task.status, task.consecutive_failures, task.last_failure_error) == ("ready", 0, None)
    assert not (workshop.home / "started").exists()
    (run,) = workshop.board.runs(task_id)
    assert run.outcome == "reclaimed"
    pausing.resume(workshop.board, "a person")
    workshop.restart()
    assert workshop.settle(task_id, "done") == "done"


@pytest.mark.skipif(os.name != "posix", reason="needs signals")
def test_J2_a_supervisor_that_was_about_to_accept_starts_nothing(workshop, tmp_path: Path, monkeypatch) -> None:
    flag = tmp_path / "frozen"
    monkeypatch.setenv("HERMES_KANBAN_TEST_POINT", f"supervisor.before_accept=stop@{flag}")
    workshop.configure({"lane": f"echo started >> {workshop.home}/started"})
    task_id = workshop.board.create_task(title="x", assignee="lane")
    workshop.tick()
    wait_for(flag.exists, "the supervisor to come to the place")
    (launched,) = workshop.runtime.launched

    done = pausing.pause(workshop.board, "hold on", "a person")
    os.kill(launched._process.pid, signal.SIGCONT)

    assert launched._process.wait(timeout=30) == 1
    assert done.returned == [task_id]
    assert workshop.board.task(task_id).status == "ready"
    assert not (workshop.home / "started").exists()
    assert not lives(launched._process.pid)


def test_J2_only_the_paused_board_stands_still(home: Path, stage) -> None:
    other_board = ["--board", "other"]
    assert main([*other_board, "init"]) == 0
    waits = stage.create()
    assert main(["pause", "--reason", "deploy"]) == 0
    assert main([*other_board, "create", "goes on", "--assignee", "puppet"]) == 0

    assert stage.started(60) == []

    with open_board("other") as other:
        assert pausing.find(other) is None
    assert stage.status(waits) == "ready"
    assert main(["resume"]) == 0
    assert stage.started(60) == [waits]


@pytest.mark.host
def test_J4_a_gate_that_says_no_holds_what_is_behind_it(stage) -> None:
    gate = stage.create(title="review")
    child = stage.create(title="release", parents=[gate])
    stage.tick()
    perform(stage, "kanban_complete", stage.puppets.living[gate], summary="two bugs", metadata={"verdict": "fail"})
    stage._bury(gate)
    for _ in range(10):
        assert stage.started(600) == []
    code = (
        "from hermes_cli import kanban_db as kb; print(kb.recompute_ready(kb.connect()))"  # any word of its does that
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout == "0\n"
    assert (stage.status(gate), stage.status(child)) == ("blocked", "todo")
    assert gate in reason(stage, child).reason
    assert "its verdict is fail" in reason(stage, gate).reason
    stage.board.reject(gate, "ann")  # the bugs are fixed: look again
    assert stage.started() == [gate]
    perform(stage, "kanban_complete", stage.puppets.living[gate], summary="fine", metadata={"verdict": "pass"})
    stage._bury(gate)
    assert stage.started() == [child]


def test_J6_a_cancelled_subtree_is_never_dispatched_and_keeps_its_history(stage, capsys) -> None:
    root = stage.create(title="root")
    child = stage.create(title="child", parents=(root,))
    grandchild = stage.create(title="grandchild", parents=(child,))
    elsewhere = stage.create(title="elsewhere")
    assert set(stage.started()) == {root, elsewhere}
    before = {task_id: stage.kinds(task_id) for task_id in (root, child, grandchild)}

    assert main(["cancel", root]) == 2
    assert "--subtree" in capsys.readouterr().err
    assert main(["cancel", root, "--subtree", "--reason", "not wanted any more"]) == 0
    stage._bury(root)
    for _ in range(20):
        assert stage.started(60) == []

    assert {stage.status(task_id) for task_id in (root, child, grandchild)} == {"archived"}
    for task_id, kinds in before.items():
        assert stage.kinds(task_id) == [*kinds, "archived"]
        assert stage.board.events(task_id)[-1].payload["reason"] == "not wanted any more"
    assert stage.board.runs(root)[0].outcome == "reclaimed"
    assert stage.status(elsewhere) == "running"
    stage.complete(elsewhere)


def test_J6_what_is_finished_or_waits_for_nobody_cancelled_stays(stage) -> None:
    root = stage.create(title="root")
    done = stage.create(title="done", parents=(root,))
    behind = stage.create(title="behind the done one", parents=(done,))
    stage.execute("UPDATE tasks SET status = 'done' WHERE id = :id", id=done)

    assert main(["cancel", root, "--subtree", "--dry-run"]) == 0
    assert stage.status(root) == "ready"
    assert main(["cancel", root]) == 0

    assert (stage.status(root), stage.status(done)) == ("archived", "done")
    assert stage.status(behind) in ("todo", "ready")
    assert main(["cancel", done]) == 2


@pytest.mark.parametrize(
    "words",
    [
        ["complete", "{a}", "fixed", "it"],
        ["complete", "fixed", "it", "{a}"],
        ["complete", "{a}", "{b}", "t_00000000"],
        ["unblock", "{b}", "because", "it", "works"],
        ["unblock", "because", "{b}"],
        ["block", "wait", "for", "{a}"],
        ["block", "{a}", "--ids", "{c}", "for", "ana"],
        ["block", "{a}", "reason", "--ids", "{b}"],
        ["unblock", "{b}", "{a}"],
    ],
)
def test_J10_a_word_that_is_no_task_changes_nothing(stage, capsys, words: list[str]) -> None:
    a, b, c = stage.create(title="a"), stage.create(title="b"), stage.create(title="c")
    stage.board.block(b, "stuck", "needs_input", "me")
    before = state(a, b, c)

    status = main([word.format(a=a, b=b, c=c) for word in words])

    assert status == 2
    assert state(a, b, c) == before
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.count("\n") == 1


def test_J10_a_reason_in_its_place_is_a_reason(stage, capsys) -> None:
    a, b, c = stage.create(title="a"), stage.create(title="b"), stage.create(title="c")

    assert main(["block", a, "wait", "for", "ana", "--ids", b, "--kind", "needs_input"]) == 0
    assert main(["unblock", a, a, b, "--reason", "she is back"]) == 0
    assert main(["complete", a, c, "--result", "all good"]) == 0

    assert [stage.status(task_id) for task_id in (a, b, c)] == ["done", "ready", "done"]
    assert stage.kinds(a).count("unblocked") == 1
