"""Which process may speak for a run: the pure rule, and real processes around a recorded worker."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from hermes_kanban_plugin import identity
from hermes_kanban_plugin.dispatch import holder, ownership
from hermes_kanban_plugin.dispatch.ownership import AGENT_VARIABLE, ALLOW, NOBODY, PROCESS, TREE, Caller, Holder
from hermes_kanban_plugin.identity import Verdict
from hermes_kanban_plugin.store.connection import open_reader
from hermes_kanban_plugin.store.leases import Lease
from tests.conftest import host_lock, wait_for

if TYPE_CHECKING:
    from tests.worker.conftest import Post

ME, WORKER, OTHER = 10, 20, 30


def caller(agent: int | str = "") -> Caller:
    return Caller("t_1", "7", "host:1:n", "coder", ME, str(agent))


@pytest.mark.parametrize(
    ("agent", "pid", "verdict", "above", "process", "tree"),
    [
        ("", None, Verdict.UNKNOWN, (), True, True),  # nothing is recorded: the fence decides
        (OTHER, None, Verdict.UNKNOWN, (), True, True),
        ("", ME, Verdict.ALIVE, (), True, True),  # the worker itself
        (OTHER, ME, Verdict.ALIVE, (), True, True),
        (ME, WORKER, Verdict.ALIVE, (WORKER,), True, True),  # the agent below a wrapper
        (ME, WORKER, Verdict.ALIVE, (OTHER,), False, False),  # an agent elsewhere
        ("", WORKER, Verdict.ALIVE, (WORKER,), False, True),  # a command of the worker
        (WORKER, WORKER, Verdict.ALIVE, (WORKER,), False, True),  # a nested agent
        (OTHER, WORKER, Verdict.ALIVE, (WORKER, OTHER), False, True),  # one below the agent of a wrapper
        ("", WORKER, Verdict.ALIVE, (), False, False),
        ("", WORKER, Verdict.DEAD, (WORKER,), False, False),  # left behind by a worker that is gone
        (ME, WORKER, Verdict.DEAD, (), False, False),
        ("", ME, Verdict.DEAD, (), False, False),  # its pid was used again
        ("", WORKER, Verdict.UNKNOWN, (), True, True),  # recorded in another pid namespace
        (ME, WORKER, Verdict.UNKNOWN, (), True, True),
        (OTHER, WORKER, Verdict.UNKNOWN, (), False, True),
    ],
)
def test_the_rule(agent: Any, pid: int | None, verdict: Verdict, above: Any, process: bool, tree: bool) -> None:
    for mode, allowed in ((PROCESS, process), (TREE, tree)):
        vote = ownership.process_vote(caller(agent), Holder(pid, verdict), above, mode)
        assert vote.allowed is allowed, mode
        assert vote == ALLOW or "ownership: tree" in vote.reason


def test_the_variable_is_read_from_the_environment() -> None:
    assert ownership.caller_of({AGENT_VARIABLE: " 12 "}, ME).agent == "12"
    assert caller().is_agent
    assert caller(ME).is_agent
    assert not caller(OTHER).is_agent


# --- real processes ------------------------------------------------------------------------------------------------

ROOT = Path(__file__).parents[2]
ASK = f"""
import json, os, sys
sys.path.insert(0, {str(ROOT)!r})
from hermes_kanban_plugin.dispatch import holder
from hermes_kanban_plugin.dispatch.ownership import caller_of
from hermes_kanban_plugin.store.connection import open_reader
reader = open_reader(os.environ["HERMES_KANBAN_DB"])
for line in sys.stdin:
    vote = holder.vote_on_process(reader, caller_of(os.environ, os.getpid()), lambda: line.strip())
    print(json.dumps(vote), flush=True)
"""
# A process that starts another one below it and hands its own streams down to it.
WRAP = "import subprocess, sys; sys.exit(subprocess.call([sys.executable, '-c', sys.argv[1]]))"
NAMES_ITSELF = f"import os; os.environ[{AGENT_VARIABLE!r}] = str(os.getpid())\n"


class Process:
    """A process with a worker's environment that can be asked whether it may speak for the run."""

    def __init__(self, *words: str, **environment: str) -> None:
        self.started = subprocess.Popen(
            [sys.executable, "-c", *words], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env={**os.environ, **environment},
        )  # fmt: skip

    def may(self, mode: str = PROCESS) -> bool:
        assert self.started.stdin is not None
        assert self.started.stdout is not None
        self.started.stdin.write(f"{mode}\n")
        self.started.stdin.flush()
        allowed, reason = json.loads(self.started.stdout.readline())
        assert allowed or str(self.started.pid) in reason or "process" in reason
        return bool(allowed)

    def __enter__(self) -> Process:
        return self

    def __exit__(self, *_: object) -> None:
        self.started.communicate(timeout=30)


def test_the_recorded_worker_and_nobody_beside_it(post: Post) -> None:
    with Process(ASK) as worker, Process(ASK) as stranger:
        assert worker.may(), "nothing is recorded yet"
        post.accept(identity.capture(worker.started.pid))
        assert worker.may()
        assert not stranger.may()
        assert not stranger.may(TREE)


def test_a_child_of_the_worker_only_by_setting(post: Post) -> None:
    with Process(WRAP, ASK) as worker:
        post.accept(identity.capture(worker.started.pid))
        assert not worker.may()
        assert worker.may(TREE)


def test_the_agent_below_a_wrapper_may_and_its_own_children_may_not(post: Post) -> None:
    nested = f"{NAMES_ITSELF}\nimport subprocess, sys; subprocess.call([sys.executable, '-c', {ASK!r}])"
    with Process(WRAP, NAMES_ITSELF + ASK) as wrapper, Process(WRAP, nested) as deeper:
        post.accept(identity.capture(wrapper.started.pid))
        assert wrapper.may()
        post.board.writer.execute("UPDATE kp_runs SET worker_pid = ?, worker_started = ?", (
            deeper.started.pid, identity.capture(deeper.started.pid).started
        ))  # fmt: skip
        assert not deeper.may()
        assert deeper.may(TREE)


def test_any_process_of_a_command_lane(post: Post) -> None:
    post.board.writer.execute("UPDATE kp_runs SET lane = 'command'")
    with Process(WRAP, ASK) as worker, Process(ASK) as stranger:
        post.accept(identity.capture(worker.started.pid))
        assert worker.may()
        assert not stranger.may()


def test_a_process_that_was_reborn_under_the_workers_pid(post: Post, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HERMES_KANBAN_CLAIM_LOCK", "")
    with Process(ASK, HERMES_KANBAN_CLAIM_LOCK=post.lease.lock) as worker:
        earlier = identity.capture(worker.started.pid)
        post.accept(earlier._replace(started=(earlier.started or 0) - 1000))
        # It carries the lock, so it is taken for the worker whatever the clock says.
        assert worker.may()


# --- a task that the host's own dispatcher gave out -----------------------------------------------------------------


def foreign(plain_board: Path, lock: str, pid: int | None) -> tuple[str | None, Holder]:
    """Look at a host's run after its dispatcher wrote a pid."""
    import sqlite3
    from contextlib import closing

    with closing(sqlite3.connect(plain_board)) as connection, connection:
        connection.execute("UPDATE tasks SET claim_lock = ?, worker_pid = ?", (lock, pid))
    reader = open_reader(str(plain_board))
    try:
        return holder.recorded(reader, Lease("t_00000001", 1, lock))
    finally:
        reader.close()


def test_the_hosts_bare_pid_counts_when_it_carries_the_lock(plain_board: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lock = host_lock()
    assert foreign(plain_board, lock, None) == (None, NOBODY)
    with Process("input()", HERMES_KANBAN_CLAIM_LOCK=lock) as worker, Process("input()") as stranger:
        wait_for(lambda: identity.sight(worker.started.pid, lock).carries_lock, "the worker to be executed")
        assert foreign(plain_board, lock, worker.started.pid) == (None, Holder(worker.started.pid, Verdict.ALIVE))
        assert foreign(plain_board, lock, stranger.started.pid) == (None, NOBODY), "left there by an earlier run"
        for process in (worker, stranger):
            process.started.communicate("\n", timeout=30)
    assert foreign(plain_board, lock, worker.started.pid) == (None, NOBODY)
    assert foreign(plain_board, "elsewhere:1", 7) == (None, Holder(7, Verdict.UNKNOWN))
