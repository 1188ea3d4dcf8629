"""stop, edit and reclaim --stale: what a person puts right, and what is refused to them."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing

import pytest

from hermes_kanban_plugin import identity, locations, locks, open_board
from hermes_kanban_plugin.identity import ProcessIdentity
from hermes_kanban_plugin.store import leases
from hermes_kanban_plugin.testing import claim_one, violations
from tests.conftest import host_lock, lives

ME = "somebody"


@pytest.fixture(autouse=True)
def person(command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HERMES_PROFILE", ME)
    command.configure({"quick": [sys.executable, "-c", "pass"]})


@pytest.fixture
def gone() -> ProcessIdentity:
    """Who a process was that ended a moment ago."""
    ended = subprocess.Popen(["true"])
    who = identity.capture(ended.pid)
    ended.wait()
    return who


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(["sleep", "600"])
    yield process
    process.kill()
    process.wait()


def held(supervisor: ProcessIdentity, worker: ProcessIdentity, *, seconds: int = 120, **fields) -> leases.Lease:
    """A running task in the hands of these two processes."""
    with open_board(create=True) as board:
        task_id = board.create_task(title="x", assignee="quick", **fields)
        lease = claim_one(board, task_id, nonce=f"n{os.urandom(3).hex()}")
        now = board.clock.now()
        leases.accept(board.writer, lease, supervisor, worker, now + seconds, now)
    return lease


def change(command, sql: str) -> None:
    with closing(sqlite3.connect(command.board, isolation_level=None)) as other:
        other.execute(sql)


def task_of(command, task_id: str):
    return command.state(task_id)[0]


def last_event(command, task_id: str):
    return command.state(task_id)[2][-1]


# --- stop ----------------------------------------------------------------------------------------------------------


def test_stop_parks_a_ready_task_until_it_is_unblocked(command) -> None:
    task_id = command.create("x", "--assignee", "quick")
    said = command.ok("stop", task_id, "--reason", "not now").out
    assert said == f"stopped {task_id} blocked; go on with: hermes-kanban unblock {task_id}\n"
    event = last_event(command, task_id)
    assert (event.kind, event.payload["actor"]) == ("blocked", ME)
    assert event.payload["reason"] == f"stopped by {ME}: not now"
    assert command.ok("dispatch", "--json").json["started"] == []
    command.ok("unblock", task_id)
    assert task_of(command, task_id).status == "ready"


def test_stop_ends_the_run_and_counts_nothing(command, worker) -> None:
    task_id = command.create("x", "--max-retries", "3")
    change(command, "UPDATE tasks SET consecutive_failures = 2, last_failure_error = 'e', block_kind = 'transient'")
    worker(task_id)
    command.ok("stop", task_id)
    task, runs, _ = command.state(task_id)
    assert (task.status, task.claim_lock, task.current_run_id) == ("blocked", None, None)
    assert (task.consecutive_failures, task.last_failure_error, task.block_kind) == (2, "e", "transient")
    assert (runs[0].outcome, runs[0].error) == ("reclaimed", f"stopped by {ME}")
    assert violations(command.board) == []


def test_a_worker_that_was_stopped_may_write_no_more(command, worker) -> None:
    task_id = command.create("x")
    environment = worker(task_id)
    command.ok("stop", task_id)
    command("complete", task_id, "--summary", "late", **environment).refused(2, "no longer current")


def test_stop_stops_a_worker_of_hermes_first(command, sleeper) -> None:
    task_id = command.create("x")
    lock = host_lock()
    badge = {"HERMES_KANBAN_CLAIM_LOCK": lock, "HERMES_KANBAN_RUN_ID": "1"}
    worker = subprocess.Popen(["sleep", "600"], env={**os.environ, **badge})
    try:
        columns = "task_id, status, claim_lock, started_at"
        change(command, f"INSERT INTO task_runs ({columns}) VALUES ('{task_id}', 'running', '{lock}', 1)")
        change(command, f"UPDATE tasks SET status = 'running', claim_lock = '{lock}', current_run_id = 1")
        change(command, f"UPDATE tasks SET worker_pid = {sleeper.pid}")
        command("stop", task_id).refused(2, f"held by pid {sleeper.pid}")
        assert lives(sleeper.pid), "a process that is not proven ours is never signalled"
        change(command, f"UPDATE tasks SET worker_pid = {worker.pid}")
        command.ok("stop", task_id)
        assert worker.wait(30) != 0
        assert task_of(command, task_id).status == "blocked"
    finally:
        worker.kill()
        worker.wait()


@pytest.mark.parametrize("words", [["--triage"], ["--initial-status", "blocked"]])
def test_stop_of_what_does_not_run_is_refused(command, words: list[str]) -> None:
    task_id = command.create("x", *words)
    before = command.state(task_id)
    command("stop", task_id).refused(2, f"could not stop {task_id}")
    assert command.state(task_id) == before


# --- edit ----------------------------------------------------------------------------------------------------------


def test_clear_claim_takes_a_dead_run_away_and_leaves_the_count(command, gone: ProcessIdentity) -> None:
    lease = held(gone, gone)
    change(command, "UPDATE tasks SET consecutive_failures = 1")
    assert command.ok("edit", lease.task_id, "--clear-claim").out == f"claim cleared {lease.task_id} ready\n"
    task, runs, events = command.state(lease.task_id)
    assert (task.status, task.claim_lock, task.consecutive_failures) == ("ready", None, 1)
    assert (runs[0].outcome, runs[0].error) == ("reclaimed", f"claim cleared by {ME}")
    assert (events[-1].kind, events[-1].payload["actor"]) == ("reclaimed", ME)
    assert violations(command.board) == []


@pytest.mark.parametrize("who", ["supervisor", "worker"])
def test_clear_claim_is_refused_while_somebody_lives(command, gone: ProcessIdentity, sleeper, who: str) -> None:
    alive = identity.capture(sleeper.pid)
    lease = held(*((alive, gone) if who == "supervisor" else (gone, alive)))
    before = command.state(lease.task_id)
    command("edit", lease.task_id, "--clear-claim").refused(2, f"its {who} lives", f"reclaim {lease.task_id}")
    assert command.state(lease.task_id) == before
    assert lives(sleeper.pid)


def test_clear_claim_waits_for_the_lease_of_a_worker_of_another_machine(command) -> None:
    task_id = command.add("x")
    with open_board() as board:
        terms = leases.ClaimTerms("elsewhere:77", board.clock.now() + 600, "terminal")
        board.claim([task_id], terms)
    change(command, "UPDATE tasks SET worker_pid = 77, claim_lock = 'elsewhere:77'")
    change(command, "UPDATE task_runs SET worker_pid = 77, claim_lock = 'elsewhere:77'")
    change(command, "DELETE FROM kp_runs")
    command("edit", task_id, "--clear-claim").refused(2, "cannot be seen from here", f"why {task_id}")
    change(command, "UPDATE tasks SET claim_expires = 1")
    command.ok("edit", task_id, "--clear-claim")


def test_clear_claim_of_a_lock_that_nobody_should_have(command) -> None:
    task_id = command.create("x", "--triage")
    change(command, "UPDATE tasks SET claim_lock = 'box:1', claim_expires = 5, worker_pid = 7")
    assert command.ok("edit", task_id, "--clear-claim").out == f"claim cleared {task_id} triage\n"
    task = task_of(command, task_id)
    assert (task.status, task.claim_lock, task.claim_expires, task.worker_pid) == ("triage", None, None, None)
    command("edit", task_id, "--clear-claim").refused(2, "clear-claim needs a claim")
    assert violations(command.board) == []


def test_clear_claim_never_rewrites_a_finished_task(command, worker) -> None:
    task_id = command.create("x")
    command.ok("complete", task_id, "--summary", "done", **worker(task_id))
    before = command.state(task_id)
    command("edit", task_id, "--clear-claim").refused(2, "it is done")
    assert command.state(task_id) == before


def test_clear_skills(command, worker) -> None:
    task_id = command.create("x", "--skill", "nosuch")
    assert command.ok("edit", task_id, "--clear-skills").out == f"skills cleared {task_id}\n"
    assert task_of(command, task_id).skills is None
    event = last_event(command, task_id)
    assert (event.kind, event.payload) == ("edited", {"fields": ["skills"], "actor": ME})
    worker(task_id)
    command("edit", task_id, "--clear-skills").refused(2, "it is running", f"stop {task_id}")


def test_reset_failures_leaves_a_block(command, house_of_hermes) -> None:
    """A breaker's block that was held by its count stays a block, for the host too."""
    task_id = command.create("x", "--assignee", "quick")
    change(command, "UPDATE tasks SET status = 'blocked', consecutive_failures = 2, last_failure_error = 'e'")
    assert command.ok("edit", task_id, "--reset-failures").out == f"failures reset {task_id} it was 2\n"
    task = task_of(command, task_id)
    assert (task.status, task.consecutive_failures, task.last_failure_error) == ("blocked", 0, None)
    house_of_hermes("list")  # promotes what it takes for a machine's block
    assert task_of(command, task_id).status == "blocked"
    kinds = [event.kind for event in command.state(task_id)[2]]
    assert kinds == ["created", "edited", "blocked"]
    command.ok("edit", task_id, "--reset-failures")
    assert [event.kind for event in command.state(task_id)[2]] == [*kinds, "edited"]


@pytest.fixture
def house_of_hermes(command):
    """Run a word of the real host on the same board."""

    def run(*words: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "hermes_cli.main", "kanban", *words], capture_output=True, text=True, check=True,
            env={**os.environ, "HERMES_DISABLE_LAZY_INSTALLS": "1"}, timeout=60,
        )  # fmt: skip
        return done.stdout

    return run


def test_several_edits_at_once(command, gone: ProcessIdentity) -> None:
    lease = held(gone, gone, skills=("a",))
    change(command, "UPDATE tasks SET consecutive_failures = 1")
    said = command.ok("edit", lease.task_id, "--clear-claim", "--clear-skills", "--reset-failures").out
    assert [line.split()[0] for line in said.splitlines()] == ["claim", "skills", "failures"]
    task = task_of(command, lease.task_id)
    assert (task.claim_lock, task.skills, task.consecutive_failures) == (None, None, 0)


# --- reclaim -------------------------------------------------------------------------------------------------------


def test_reclaim_needs_a_task_or_stale(command) -> None:
    task_id = command.create("x")
    command("reclaim").refused(2, "which task?", "--stale")
    command("reclaim", task_id, "--stale").refused(2, f"leave {task_id} out")
    command("reclaim", task_id, "--dry-run").refused(2, "it is ready")


@pytest.mark.parametrize(
    ("words", "status"),
    [
        (["reclaim"], "ready"),
        (["stop", "--reason", "not now"], "blocked"),
        (["edit", "--reset-failures"], "running"),
        (["edit", "--clear-claim"], "ready"),
        (["unblock"], "ready"),
    ],
)
def test_a_dry_run_says_what_would_be_and_changes_nothing(command, words: list[str], status: str) -> None:
    task_id = command.add("x")
    if words == ["unblock"]:
        command.ok("block", task_id, "why")
    else:
        command.ok("claim", task_id)
    before = command.state(task_id)
    verb, *flags = words

    text = command.ok(verb, task_id, *flags, "--dry-run").out
    said = command.ok(verb, task_id, *flags, "--dry-run", "--json").json

    assert command.state(task_id) == before
    assert text.startswith("would ")
    assert task_id in text
    (tried,) = said if isinstance(said, list) else [said]
    assert tried == {"task_id": task_id, "status": status, "dry_run": True}
    done = command.ok(verb, task_id, *flags, "--json").json
    (result,) = done if isinstance(done, list) else [done]
    assert result == {"task_id": task_id, "status": status, "dry_run": False}
    assert command.state(task_id)[0].status == status


def test_stale_takes_back_what_is_proven_gone_and_nothing_else(command, gone: ProcessIdentity, sleeper) -> None:
    dead, living = held(gone, gone), held(identity.capture(sleeper.pid), gone)
    command.create("waits", "--parent", command.create("parent"))
    before = command.state(living.task_id)
    planned = command.ok("reclaim", "--stale", "--dry-run").out
    assert planned == f"would reclaim {dead.task_id} run {dead.run_id}: its supervisor and its worker died\n"
    assert task_of(command, dead.task_id).status == "running"
    assert command.ok("reclaim", "--stale").out == planned.replace("would reclaim", "reclaimed")
    assert task_of(command, dead.task_id).status == "ready"
    event = last_event(command, dead.task_id)
    assert (event.kind, event.payload["actor"], event.payload["verdict"]) == ("reclaimed", ME, "dead")
    assert command.state(living.task_id) == before
    assert lives(sleeper.pid)
    assert command.ok("reclaim", "--stale").out == "nothing is proven stale\n"
    assert violations(command.board) == []


def test_stale_stops_a_worker_without_a_supervisor(command, gone: ProcessIdentity, sleeper) -> None:
    lease = held(gone, identity.capture(sleeper.pid))
    planned = command.ok("reclaim", "--stale", "--dry-run").out
    assert "the worker it left behind was stopped" in planned
    assert lives(sleeper.pid)
    command.ok("reclaim", "--stale")
    assert sleeper.wait(30) != 0
    assert task_of(command, lease.task_id).status == "ready"


def test_stale_says_what_is_in_doubt_and_leaves_it(command, gone: ProcessIdentity) -> None:
    stranger = gone._replace(host_id="another machine")
    lease = held(stranger, stranger, seconds=-10)
    said = command.ok("reclaim", "--stale").out.splitlines()
    assert said[0].startswith(f"in doubt {lease.task_id} run {lease.run_id}: its lease ended")
    assert said[1] == "nothing is proven stale"
    assert task_of(command, lease.task_id).status == "running"
    change(command, "UPDATE kp_suspects SET since = since - 1")  # a second later
    assert command.ok("reclaim", "--stale").out.startswith(f"reclaimed {lease.task_id}")


def test_stale_waits_for_a_tick_of_somebody_else(command, gone: ProcessIdentity) -> None:
    lease = held(gone, gone)
    with locks.trying(locations.tick_lock(command.board)) as alone:
        assert alone
        asked = subprocess.Popen(command.argv("reclaim", "--stale"), stdout=subprocess.PIPE, text=True)
        with pytest.raises(subprocess.TimeoutExpired):
            asked.wait(2)
    assert asked.communicate(timeout=30)[0].startswith(f"reclaimed {lease.task_id}")
