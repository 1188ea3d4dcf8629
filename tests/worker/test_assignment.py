"""What a worker writes in its own name: fenced, and right also on a board that we never wrote to."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from hermes_kanban_plugin.breaker import Terms
from hermes_kanban_plugin.errors import BoardUnusable, MalformedEnvironment, Superseded, UnknownTask
from hermes_kanban_plugin.store import leases
from hermes_kanban_plugin.store.leases import Lease
from hermes_kanban_plugin.worker import assignment
from hermes_kanban_plugin.worker.assignment import Assignment, Progress

if TYPE_CHECKING:
    from tests.worker.conftest import Post


def beat(mine: Assignment, now: int, *, alive: bool = True) -> None:
    assignment.beat(mine, Progress(now - 5, 2), now, alive=alive, busy_seconds=5)


WRITES = [
    lambda mine, now: beat(mine, now),
    lambda mine, now: beat(mine, now, alive=False),
    lambda mine, now: assignment.release_interrupted(mine, "SIGTERM", now),
    lambda mine, now: assignment.release_limited(mine, "later", now + 60, Terms(), now),
    lambda mine, now: assignment.fail_budget(mine, "used up", {}, Terms(), now),
]


def test_it_is_read_from_the_environment(post: Post) -> None:
    environment = {
        "HERMES_KANBAN_TASK": post.lease.task_id,
        "HERMES_KANBAN_RUN_ID": str(post.lease.run_id),
        "HERMES_KANBAN_CLAIM_LOCK": post.lease.lock,
    }
    assert assignment.read(environment, 1) == post.assignment
    with pytest.raises(MalformedEnvironment):
        assignment.read({**environment, "HERMES_KANBAN_RUN_ID": "7 or so"}, 1)


def test_a_beat_is_a_sign_of_life_with_progress_and_leaves_the_lease_to_the_supervisor(post: Post) -> None:
    post.accept()
    expires = post.task()["claim_expires"]
    post.clock.advance(10)
    beat(post.assignment, post.clock.now())
    assert (post.task()["last_heartbeat_at"], post.run()["last_heartbeat_at"]) == (post.clock.now(),) * 2
    assert (post.known()["progress_at"], post.known()["repeated_calls"]) == (post.clock.now() - 5, 2)
    assert post.task()["claim_expires"] == expires


def test_a_worker_that_loops_reports_that_and_no_life(post: Post) -> None:
    post.accept()
    beat(post.assignment, post.clock.now(), alive=False)
    assert post.task()["last_heartbeat_at"] is None
    assert post.known()["repeated_calls"] == 2


def test_without_a_supervisor_a_beat_extends_the_hosts_lease(post: Post, monkeypatch: pytest.MonkeyPatch) -> None:
    beat(post.assignment, post.clock.now())
    assert post.task()["claim_expires"] == post.clock.now() + 900
    monkeypatch.setenv("HERMES_KANBAN_CLAIM_TTL_SECONDS", "1200")
    beat(post.assignment, post.clock.now())
    assert post.task()["claim_expires"] == post.clock.now() + 1200


@pytest.mark.parametrize("write", WRITES)
def test_a_superseded_run_writes_nothing(post: Post, write: Any) -> None:
    post.supersede()
    before = list(post.board.reader.iterdump())
    with pytest.raises(Superseded):
        write(post.assignment, post.clock.now())
    with pytest.raises(Superseded):
        write(post.assignment._replace(lease=post.lease._replace(lock="host:1:other")), post.clock.now())
    assert list(post.board.reader.iterdump()) == before


@pytest.mark.parametrize("write", WRITES)
def test_a_task_that_is_gone_or_a_board_that_is_gone(post: Post, write: Any, tmp_path: Path) -> None:
    with pytest.raises(UnknownTask):
        write(post.assignment._replace(lease=Lease("t_00000000", 1, "x")), post.clock.now())
    with pytest.raises(BoardUnusable):
        write(post.assignment._replace(database=str(tmp_path / "no.db")), post.clock.now())


def test_an_interruption_gives_the_task_back_and_counts_nothing(post: Post) -> None:
    post.accept()
    assert assignment.release_interrupted(post.assignment, "SIGHUP", post.clock.now())
    assert (post.task()["status"], post.task()["consecutive_failures"]) == ("ready", 0)
    assert (post.run()["outcome"], post.run()["error"]) == ("reclaimed", "interrupted by SIGHUP")
    assert post.events()[-1] == "reclaimed"


@pytest.mark.parametrize("cause", ["overdue", "stale"])
def test_who_is_stopped_by_its_supervisor_leaves_the_word_to_it(post: Post, cause: str) -> None:
    post.accept()
    leases.note_stop(post.board.writer, post.lease, cause)
    assert not assignment.release_interrupted(post.assignment, "SIGTERM", post.clock.now())
    assert (post.task()["status"], post.run()["outcome"]) == ("running", None)


def test_a_provider_that_refuses_gives_the_task_back_until_then(post: Post) -> None:
    post.accept()
    now = post.clock.now()
    assignment.release_limited(post.assignment, "429", now + 90, Terms(), now)
    assert (post.task()["status"], post.task()["consecutive_failures"]) == ("ready", 0)
    assert (post.run()["outcome"], post.known()["retry_at"]) == ("rate_limited", now + 90)
    assert post.board.events(post.lease.task_id)[-1].payload["retry_at"] == now + 90


def test_a_used_up_budget_is_a_counted_failure_and_the_final_word(post: Post) -> None:
    numbers = {"budget_used": 6, "budget_max": 6}
    assert not assignment.fail_budget(post.assignment, "used up (6/6)", numbers, Terms(), post.clock.now())
    assert (post.task()["status"], post.task()["consecutive_failures"]) == ("ready", 1)
    assert (post.run()["outcome"], post.run()["error"]) == ("timed_out", "used up (6/6)")
    assert post.known()["final_word_at"] == post.clock.now()
    payload = post.board.events(post.lease.task_id)[-1].payload
    assert payload == {**numbers, "error": "used up (6/6)", "failures": 1, "cause": "budget_exhausted"}
    second = post.claim(post.lease.task_id)
    assert assignment.fail_budget(post.assignment._replace(lease=second), "again", numbers, Terms(), post.clock.now())
    assert post.task()["status"] == "blocked"
    assert post.events()[-2:] == ["timed_out", "gave_up"]


# --- a board that we never wrote to --------------------------------------------------------------------------------

HOSTS = Lease("t_00000001", 1, "vm:1")


def column(path: Path, name: str, table: str = "tasks") -> Any:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(f"SELECT {name} FROM {table}").fetchone()[0]


def test_on_a_plain_board_every_write_works(plain_board: Path) -> None:
    mine = Assignment(HOSTS, str(plain_board))
    beat(mine, 1_000_100)
    assert column(plain_board, "last_heartbeat_at") == 1_000_100
    assert assignment.release_interrupted(mine, "SIGTERM", 1_000_100)
    assert (column(plain_board, "status"), column(plain_board, "outcome", "task_runs")) == ("ready", "reclaimed")


def test_an_overdue_worker_of_the_host_leaves_the_word_to_the_host(plain_board: Path) -> None:
    mine = Assignment(HOSTS, str(plain_board))
    assert not assignment.release_interrupted(mine, "SIGTERM", 1_000_000 + 600)
    assert column(plain_board, "status") == "running"
    assert assignment.release_interrupted(mine, "SIGTERM", 1_000_000 + 599)
