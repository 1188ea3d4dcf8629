"""Failure modes, group D: what the tools mean. The rows about work that is finished but not handed over."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from hermes_kanban_plugin.errors import CompletionKept, InvalidArgument, Superseded
from hermes_kanban_plugin.store import completions, queries
from tests.conftest import wait_for
from tests.failure_modes.conftest import perform


@pytest.fixture
def agent(workshop, monkeypatch, tmp_path):
    """Let a shell script be the Hermes worker of the profile ``writer``; returns how to say which."""

    def be(script: str, shell: str = "/bin/sh") -> None:
        program = tmp_path / "hermes"
        program.write_text(f"#!{shell}\n{script}\n")
        program.chmod(0o755)
        monkeypatch.setenv("HERMES_BIN", str(program))

    (workshop.home / "profiles" / "writer").mkdir(parents=True)
    return be


def comments(workshop, task_id: str) -> list[str]:
    found = queries.list_comments(workshop.board.reader, task_id)
    return [comment["body"] for comment in found if comment["author"] == "hermes-kanban"]


# --- D1: a clean exit without a final call -------------------------------------------------------------------------


def test_D1_what_is_left_is_kept_and_the_task_is_resumed_once(workshop, agent) -> None:
    agent("echo half > report.md; echo 'I wrote the report. All done!'")
    task_id = workshop.board.create_task(title="write a report", assignee="writer")
    assert workshop.settle(task_id, "blocked") == "blocked"
    for _ in range(20):
        assert workshop.tick().started == []
    first, second = workshop.board.runs(task_id)  # resumed once, never a loop, never a false done
    for run in (first, second):
        assert (run.cause, run.exit_code) == ("protocol_violation", 0)
        left = run.metadata["unfinished"]
        assert left["last_words"] == "I wrote the report. All done!"
        assert left["changed_files"] == ["report.md"]
        assert (left["exit_code"], left["exit_signal"]) == (0, None)
    told = comments(workshop, task_id)
    assert len(told) == 2
    assert all(part in told[0] for part in (f"Run {first.id}", "- report.md", "All done!", "call kanban_complete"))


def test_D1_a_file_whose_name_is_no_text_does_not_keep_the_end_from_being_booked(workshop, agent) -> None:
    agent("printf half > \"$(printf 'caf\\351')\"; echo done")
    task_id = workshop.board.create_task(title="x", assignee="writer")
    assert workshop.settle(task_id, "blocked") == "blocked"
    first, second = workshop.board.runs(task_id)
    assert (first.cause, second.cause) == ("protocol_violation", "protocol_violation")
    assert first.metadata["unfinished"]["changed_files"] == ["caf\ufffd"]
    assert "- caf\ufffd" in comments(workshop, task_id)[0]


def test_F4_a_worker_without_the_plugin_that_was_refused_says_so_with_its_last_words(workshop, agent) -> None:
    """Hermes ends it with status 0 (contract W7). Nothing is counted, and it waits for the time that was named."""
    agent("echo 'API call failed after 3 retries: HTTP 429: slow down, try again in 1234s'; echo 'Session: 1'")
    task_id = workshop.board.create_task(title="x", assignee="writer", max_retries=1)
    (started,) = workshop.tick().started
    run = workshop.ended(started.run_id)
    assert (run.cause, run.outcome) == ("rate_limited", "rate_limited")
    assert 1200 < run.retry_at - run.ended_at <= 1234
    task = workshop.board.task(task_id)
    assert (task.status, task.consecutive_failures) == ("ready", 0)
    assert workshop.tick().started == []


def test_D1_the_comment_is_there_before_the_second_worker_begins(workshop, agent) -> None:
    look = f"{sys.executable} -c \"import sqlite3, os; c = sqlite3.connect(os.environ['HERMES_KANBAN_DB']); "
    look += "print('comments:', c.execute('select count(*) from task_comments').fetchone()[0])\""
    agent(look)
    task_id = workshop.board.create_task(title="x", assignee="writer")
    workshop.settle(task_id, "blocked")
    assert [run.last_output for run in workshop.board.runs(task_id)] == ["comments: 0", "comments: 1"]


def test_D1_in_a_repository_the_difference_is_kept(workshop, agent, tmp_path) -> None:
    repository = tmp_path / "repository"
    repository.mkdir()
    (repository / "main.py").write_text("old\n")
    for words in (["init"], ["add", "."], ["-c", "user.name=x", "-c", "user.email=x@y", "commit", "-m", "begin"]):
        subprocess.run(["git", *words], cwd=repository, check=True, capture_output=True)
    agent("echo new > main.py; touch notes.txt")
    task_id = workshop.board.create_task(
        title="x", assignee="writer", workspace_kind="worktree", workspace_path=str(repository)
    )
    workshop.settle(task_id, "blocked")
    left = workshop.board.runs(task_id)[0].metadata["unfinished"]
    assert left["changed_files"] == ["main.py", "notes.txt"]
    assert "main.py | 2 +-" in left["difference"]


def test_D1_a_worker_that_finishes_on_its_second_try_is_done(workshop, agent) -> None:
    agent("test -e ../../again || { touch ../../again; exit 0; }; exit 3")
    task_id = workshop.board.create_task(title="x", assignee="writer", max_retries=3)
    workshop.settle(task_id, "ready")
    run = wait_for(lambda: next((one for one in runs_of(workshop, task_id) if one.cause == "crashed"), None), "a crash")
    assert run.metadata["unfinished"]["exit_code"] == 3
    assert workshop.board.task(task_id).consecutive_failures == 1  # two causes, one failure each


def test_F12_after_a_kill_the_next_one_finds_what_was_there_and_is_told_of_it(workshop, agent) -> None:
    """It works in the same place, and reads which files are there already."""
    agent(
        "test -e ../../begun && { cat clone.txt; exit 3; }\necho cloned > clone.txt; touch ../../begun; kill -KILL $$"
    )
    task_id = workshop.board.create_task(title="x", assignee="writer")
    workshop.settle(task_id, "blocked")
    killed, second = workshop.board.runs(task_id)
    assert (killed.exit_signal, second.exit_code) == (9, 3)
    assert second.last_output == "cloned"
    told = [comment for comment in comments(workshop, task_id) if f"Run {killed.id} " in comment]
    assert len(told) == 1
    assert "clone.txt" in told[0]
    assert "do not begin from scratch" in told[0]


def runs_of(workshop, task_id: str):
    workshop.tick()
    return workshop.board.runs(task_id)


def test_F8_a_used_up_budget_leaves_its_state_to_the_next_run(workshop, agent) -> None:
    """The worker books it itself; its supervisor adds what it left before the next one may start."""
    agent(
        "import os\n"
        "from hermes_kanban_plugin.breaker import Terms\n"
        "from hermes_kanban_plugin.worker import assignment\n"
        "open('draft.txt', 'w').write('95 percent')\n"
        "print('remaining: the last chapter', flush=True)\n"
        "mine = assignment.read(os.environ, os.getpid())\n"
        "assignment.fail_budget(mine, 'used up (90/90)', {}, Terms(), int(__import__('time').time()))\n",
        shell=sys.executable,
    )
    task_id = workshop.board.create_task(title="write a book", assignee="writer")
    assert workshop.settle(task_id, "blocked") == "blocked"
    workshop.ended(workshop.board.runs(task_id)[-1].id)
    runs = workshop.board.runs(task_id)
    assert [(run.cause, run.outcome) for run in runs] == [("budget_exhausted", "timed_out")] * 2
    told = comments(workshop, task_id)
    assert len(told) == 2
    assert all(part in told[0] for part in ("used up (90/90)", "- draft.txt", "remaining: the last chapter"))


# --- D2: a completion that came too late ---------------------------------------------------------------------------


def given_up(stage, **fields):
    task_id = stage.create(**fields)
    stage.tick()
    stage.fail(task_id)
    stage.tick()
    lease = stage.puppets.living[task_id]
    assert stage.fail(task_id) == "blocked"
    return lease


def test_D2_a_late_completion_is_kept_and_accepted_by_one_command(stage) -> None:
    lease = given_up(stage)
    child = stage.create(parents=(lease.task_id,))
    stage.clock.advance(1)
    with pytest.raises(CompletionKept, match=f"hermes-kanban accept {lease.task_id}"):
        perform(stage, "kanban_complete", lease, summary="done, see report", metadata={"tests": 12})
    assert stage.status(lease.task_id) == "blocked"
    stage.board.unblock(lease.task_id, "ann")  # even then: no new run in between
    for _ in range(20):
        assert stage.started(60) == []
    assert stage.board.accept(lease.task_id, "ann") == [child]
    assert stage.status(lease.task_id) == "done"
    assert stage.board.runs(lease.task_id)[-1].summary == "done, see report"
    assert stage.started() == [child]


def test_D2_a_rejected_completion_lets_the_task_go_on(stage) -> None:
    lease = given_up(stage)
    with pytest.raises(CompletionKept):
        perform(stage, "kanban_complete", lease, summary="done")
    stage.board.reject(lease.task_id, "ann")
    assert stage.started() == []
    stage.board.unblock(lease.task_id, "ann")
    assert stage.started() == [lease.task_id]


def test_D2_the_files_of_a_late_completion_are_kept_until_somebody_decides(stage) -> None:
    leases = []
    for _ in range(2):
        lease = given_up(stage)
        report = Path(stage.board.task(lease.task_id).workspace_path) / "report.md"
        report.write_text("work")
        with pytest.raises(CompletionKept):
            perform(stage, "kanban_complete", lease, summary="done", artifacts=[str(report)])
        leases.append(lease)
    kept = [completions.pending(stage.board.writer, lease.task_id).handoff.artifacts[0] for lease in leases]
    assert [Path(file.stored_path).read_text() for file in kept] == ["work", "work"]
    stage.board.accept(leases[0].task_id, "ann")
    stage.board.reject(leases[1].task_id, "ann")
    assert [Path(file.stored_path).exists() for file in kept] == [True, False]
    (attached,) = stage.execute("SELECT task_id, stored_path FROM task_attachments")
    assert attached == {"task_id": leases[0].task_id, "stored_path": kept[0].stored_path}


def test_D2_a_run_that_was_followed_by_another_has_nothing_to_say_any_more(stage) -> None:
    task_id = stage.create()
    stage.tick()
    old = stage.puppets.living[task_id]
    stage.fail(task_id)
    stage.tick()
    with pytest.raises(Superseded):
        perform(stage, "kanban_complete", old, summary="late")
    assert completions.pending(stage.board.writer, task_id) is None


def test_D2_a_worker_that_is_being_stopped_still_gets_its_word_in(workshop, agent) -> None:
    """A person blocks the task; the worker, told to end, hands over what it has just finished."""
    agent(
        "import os, signal, sys, time\n"
        "from hermes_kanban_plugin import toolkit\n"
        "from hermes_kanban_plugin.manager import Manager\n"
        "manager = Manager(discover=False)\n"
        "tool = toolkit.tools_of(manager)['kanban_complete']\n"
        "def end(*_):\n"
        "    print(toolkit.call(tool, manager, {'summary': 'finished just now'}), flush=True)\n"
        "    os._exit(0)\n"
        "signal.signal(signal.SIGTERM, end)\n"
        "open('../../begun', 'w').close()\n"
        "time.sleep(600)\n",
        shell=sys.executable,
    )
    workshop.configure({}, terminate_grace_seconds=20)
    task_id = workshop.board.create_task(title="x", assignee="writer")
    run_id = workshop.tick().started[0].run_id
    wait_for((workshop.home / "kanban" / "begun").exists, "the worker to begin")
    workshop.board.block(task_id, "let me look", None, "ann")
    run = workshop.ended(run_id)
    assert "hermes-kanban accept" in run.last_output
    late = completions.pending(workshop.board.writer, task_id)
    assert (late.run_id, late.handoff.summary) == (run_id, "finished just now")


# --- D4, D8: done, and verified -------------------------------------------------------------------------------------


def test_D4_a_card_with_a_declared_check_is_not_done_without_it(workshop, agent) -> None:
    """The worker insists although its file is missing; a person sees that it is not verified, and decides."""
    agent(
        "from hermes_kanban_plugin import toolkit\n"
        "from hermes_kanban_plugin.manager import Manager\n"
        "manager = Manager(discover=False)\n"
        "tool = toolkit.tools_of(manager)['kanban_complete']\n"
        "for _ in range(2):\n"
        "    print(toolkit.call(tool, manager, {'summary': 'the report is written'}), flush=True)\n",
        shell=sys.executable,
    )
    task_id = workshop.board.create_task(title="x", assignee="writer", body="Check: file report.md")
    assert workshop.settle(task_id, "blocked", "done") == "blocked"
    (run,) = workshop.board.runs(task_id)
    workshop.ended(run.id)
    refusal, last = workshop.board.runs(task_id)[0].last_output.splitlines()
    assert "there is no such file" in refusal
    assert '"status": "blocked"' in last
    assert run.summary.startswith("done, but not verified: check 'file report.md'")
    for _ in range(5):
        assert workshop.tick().started == []
    late = completions.pending(workshop.board.writer, task_id)
    assert late.handoff.summary == "the report is written"
    workshop.board.accept(task_id, "ann")
    assert workshop.board.task(task_id).status == "done"


def test_D8_every_finished_goal_says_whether_it_was_verified(stage) -> None:
    task_id = stage.create(goal_mode=True)
    stage.tick()
    perform(stage, "kanban_complete", stage.puppets.living[task_id], summary="done")
    stage._bury(task_id)
    (run,) = stage.board.runs(task_id)
    assert run.metadata["goal_verified"] is False  # nobody could be asked, and the board says so
    assert "no judge" in run.metadata["unverified"]


# --- D7: a block without a kind ------------------------------------------------------------------------------------


def test_D7_a_block_without_a_kind_waits_for_a_person(stage) -> None:
    task_id = stage.create()
    stage.tick()
    answer = perform(stage, "kanban_block", stage.puppets.living[task_id], reason="I am not sure what to do")
    stage._bury(task_id)
    assert (answer["status"], answer["block_kind"]) == ("blocked", None)
    for _ in range(20):
        assert stage.started(600) == []
    stage.board.unblock(task_id, "ann")  # its named next event
    assert stage.started() == [task_id]


@pytest.mark.parametrize("kind", [None, "transient", "capability"])
def test_D7_in_goal_mode_the_worker_is_asked_once_which_kind_it_is(stage, kind) -> None:
    task_id = stage.create(goal_mode=True)
    stage.tick()
    lease = stage.puppets.living[task_id]
    with pytest.raises(InvalidArgument, match=r"dependency.*needs_input.*call kanban_complete"):
        perform(stage, "kanban_block", lease, reason="stuck", kind=kind)
    assert stage.status(task_id) == "running"
    assert perform(stage, "kanban_block", lease, reason="stuck", kind="needs_input")["status"] == "blocked"
    stage._bury(task_id)
