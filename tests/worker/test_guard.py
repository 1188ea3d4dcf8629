"""The start-up guard: what may not start ends with one line, everything else starts."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from hermes_kanban_plugin import identity, registration
from hermes_kanban_plugin.dispatch.ownership import AGENT_VARIABLE
from hermes_kanban_plugin.roles import Role
from hermes_kanban_plugin.rules import EXIT_TRY_LATER
from hermes_kanban_plugin.store.outcomes import Handoff
from hermes_kanban_plugin.worker import guard

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.worker.conftest import Post


def objection() -> guard.Objection | None:
    return guard.examine(os.environ, os.getpid())


def test_the_current_run_may_start_before_and_after_it_is_accepted(post: Post) -> None:
    assert objection() is None
    post.accept()
    assert objection() is None


def test_who_has_started_is_not_asked_again(post: Post, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "_started", [])
    guard.install(None)
    complete(post)
    guard.install(None)
    monkeypatch.setattr(guard, "_started", [])
    with pytest.raises(SystemExit):
        guard.install(None)


@pytest.mark.parametrize(
    "value", ["", " ", "seven", "-1", "0", "1.5", "9" * 400, str(2**63)], ids=lambda value: repr(value)[:20]
)
def test_a_run_id_that_is_none(post: Post, monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("HERMES_KANBAN_RUN_ID", value)
    refused = objection()
    assert refused is not None
    assert refused.status == 0
    assert "HERMES_KANBAN_RUN_ID" in refused.reason


@pytest.mark.parametrize("name", ["RUN_ID", "CLAIM_LOCK"])
def test_a_proof_that_is_missing(post: Post, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.delenv(f"HERMES_KANBAN_{name}")
    refused = objection()
    assert refused is not None
    assert refused.status == 0
    assert f"HERMES_KANBAN_{name} is not set" in refused.reason


def reclaim(post: Post) -> None:
    post.board.reclaim(post.board.task(post.lease.task_id), None, "ann")


def complete(post: Post) -> None:
    post.board.complete(post.lease.task_id, Handoff("by hand"), "ann")


def block(post: Post) -> None:
    post.board.block(post.lease.task_id, "wait", None, "ann")


def archive(post: Post) -> None:
    reclaim(post)
    post.board.writer.execute("UPDATE tasks SET status = 'archived'")


def delete(post: Post) -> None:
    reclaim(post)
    post.board.writer.execute("DELETE FROM tasks")


@pytest.mark.parametrize("move", [reclaim, complete, block, archive, delete], ids=lambda move: move.__name__)
def test_a_task_that_left_its_run(post: Post, move: Callable[[Post], None]) -> None:
    move(post)
    refused = objection()
    assert refused is not None
    assert refused.status == 0


def test_a_superseded_run_and_a_foreign_lock(post: Post, monkeypatch: pytest.MonkeyPatch) -> None:
    new = post.supersede()
    refused = objection()
    assert refused is not None
    assert f"superseded by run {new.run_id}" in refused.reason
    monkeypatch.setenv("HERMES_KANBAN_RUN_ID", str(new.run_id))
    refused = objection()
    assert refused is not None
    assert "held under another lock" in refused.reason
    monkeypatch.setenv("HERMES_KANBAN_CLAIM_LOCK", new.lock)
    assert objection() is None


def test_a_board_that_is_gone_ends_it_and_one_that_cannot_be_read_says_later(
    post: Post, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HERMES_KANBAN_DB", str(tmp_path / "none.db"))
    assert objection() == guard.Objection(f"its board {tmp_path / 'none.db'} does not exist", 0)
    (tmp_path / "none.db").write_bytes(b"this is no database, however long one looks at it" * 100)
    refused = objection()
    assert refused is not None
    assert refused.status == EXIT_TRY_LATER


def test_a_locked_board_says_later(post: Post, monkeypatch: pytest.MonkeyPatch, plain_board: Path) -> None:
    with closing(sqlite3.connect(plain_board, isolation_level=None)) as other:
        other.execute("PRAGMA journal_mode=DELETE")
        other.execute("BEGIN EXCLUSIVE")
        monkeypatch.setenv("HERMES_KANBAN_DB", str(plain_board))
        monkeypatch.setenv("HERMES_KANBAN_BUSY_TIMEOUT_MS", "50")
        refused = objection()
        other.execute("ROLLBACK")
    assert refused is not None
    assert refused.status == EXIT_TRY_LATER
    assert "locked" in refused.reason


def test_a_worker_of_the_hosts_own_dispatcher(plain_board: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    values = {"TASK": "t_00000001", "RUN_ID": "1", "CLAIM_LOCK": "vm:1", "DB": str(plain_board)}
    for name, value in values.items():
        monkeypatch.setenv(f"HERMES_KANBAN_{name}", value)
    assert objection() is None
    monkeypatch.setenv("HERMES_KANBAN_RUN_ID", "2")
    assert objection() is not None


def test_the_end_is_one_line_and_nothing_else(post: Post) -> None:
    reclaim(post)
    root = Path(__file__).parents[2]
    code = f"import sys; sys.path.insert(0, {str(root)!r}); from hermes_kanban_plugin import register; register(None); "
    code += "print('went on')"
    told = ["-c", f"work kanban task {post.lease.task_id}"]
    done = subprocess.run(
        [sys.executable, *told[:1], code, told[1]], capture_output=True, text=True, check=False, env=dict(os.environ)
    )
    assert (done.returncode, done.stdout) == (0, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"hermes-kanban: worker of {post.lease.task_id} not started: run {post.lease.run_id}")


# --- the seat ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("named", ["", "seven", "999999999", "0"])
def test_the_agent_says_that_it_is_the_agent(monkeypatch: pytest.MonkeyPatch, named: str) -> None:
    monkeypatch.setenv(AGENT_VARIABLE, named)
    guard.claim_seat(os.getpid())
    assert os.environ[AGENT_VARIABLE] == str(os.getpid())


def test_a_session_from_outside_this_pid_namespace_names_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getsid", lambda pid: 0)  # what the kernel says of a leader that it cannot name here
    monkeypatch.setenv(AGENT_VARIABLE, "0")
    guard.claim_seat(os.getpid())
    assert os.environ[AGENT_VARIABLE] == str(os.getpid())


def test_below_a_living_agent_it_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(AGENT_VARIABLE, str(os.getppid()))
    guard.claim_seat(os.getpid())
    assert os.environ[AGENT_VARIABLE] == str(os.getppid())


def test_the_name_of_a_process_that_is_not_above_it_means_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as stranger:
        monkeypatch.setenv(AGENT_VARIABLE, str(stranger.pid))
        guard.claim_seat(os.getpid())
        stranger.communicate()
    assert os.environ[AGENT_VARIABLE] == str(os.getpid())


# --- somebody else's seat ------------------------------------------------------------------------------------------


@pytest.fixture
def unstarted(monkeypatch: pytest.MonkeyPatch) -> None:
    """The guard has not looked at this process yet."""
    monkeypatch.setattr(guard, "_started", [])


def test_another_living_worker_has_it(post: Post, unstarted: None, capfd: pytest.CaptureFixture[str]) -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as worker:
        post.accept(identity.capture(worker.pid))
        with pytest.raises(SystemExit) as ended:
            guard.install(None)
        worker.communicate()
    assert ended.value.code == 0
    assert f"is not its worker (process {worker.pid} is)" in capfd.readouterr().err


def test_below_the_recorded_wrapper_the_first_agent_takes_it(
    post: Post, unstarted: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    post.accept(identity.capture(os.getppid()))
    guard.install(None)
    assert guard.has_seat(os.environ, os.getpid())
    monkeypatch.setattr(guard, "_started", [])
    monkeypatch.setenv(AGENT_VARIABLE, str(os.getppid()))  # another agent stands between them now
    with pytest.raises(SystemExit):
        guard.install(None)


def test_in_tree_mode_it_may_start_and_has_no_seat(
    post: Post, unstarted: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    (post.board.location.root / "config.yaml").write_text(
        "plugins: {entries: {hermes-kanban: {ownership: tree}}}", encoding="utf-8"
    )
    post.accept(identity.capture(os.getppid()))
    monkeypatch.setenv(AGENT_VARIABLE, str(os.getppid()))
    guard.install(None)
    assert not guard.has_seat(os.environ, os.getpid())


@pytest.mark.parametrize("seated", [True, False])
def test_only_who_has_the_seat_gets_what_a_worker_has(
    post: Post, monkeypatch: pytest.MonkeyPatch, seated: bool
) -> None:
    monkeypatch.setenv(AGENT_VARIABLE, str(os.getpid() if seated else os.getppid()))
    parts = list(registration.parts_of(Role.WORKER))
    assert ("hermes_kanban_plugin.host.worker_bridge" in parts) is seated
    assert ("hermes_kanban_plugin.worker.signals" in parts) is seated
    assert ("hermes_kanban_plugin.host.bystander" in parts) is not seated


@pytest.mark.parametrize("named", ["", " ", "t_00000000"])
def test_an_environment_of_another_task_than_the_prompts(
    post: Post, monkeypatch: pytest.MonkeyPatch, named: str
) -> None:
    assert guard.examine(os.environ, os.getpid(), post.lease.task_id) is None
    monkeypatch.setenv("HERMES_KANBAN_TASK", named)
    refused = guard.examine(os.environ, os.getpid(), post.lease.task_id)
    assert refused is not None
    assert (refused.status, "HERMES_KANBAN_TASK" in refused.reason) == (0, True)
