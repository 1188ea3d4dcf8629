"""What the host itself writes about the end of a worker's run: fenced in the worker, refused in who is none."""

from __future__ import annotations

from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest

from hermes_kanban_plugin import imports
from hermes_kanban_plugin.host import bystander, heartbeat_bridge, run_endings
from hermes_kanban_plugin.host.bystander import Bystander
from hermes_kanban_plugin.worker.endings import Endings
from tests.worker.test_bridge import module

if TYPE_CHECKING:
    from hermes_kanban_plugin.host.run_endings import Answerer
    from tests.worker.conftest import Post


def fence(answerer: Answerer, found: ModuleType) -> None:
    run_endings.fence_failures(answerer, found)
    run_endings.fence_blocks(answerer, found)


@pytest.fixture
def endings(post: Post) -> Endings:
    post.accept()
    return Endings(post.assignment, post.clock)


class Host:
    """The host's two functions, which write down that they were called."""

    def __init__(self) -> None:
        self.calls: list[Any] = []

    def _record_task_failure(
        self,
        conn: Any,
        task_id: str,
        error: str,
        *,
        outcome: str,
        failure_limit: int | None = None,
        force_trip: bool = False,
        release_claim: bool = False,
        end_run: bool = False,
        event_payload_extra: dict[str, Any] | None = None,
    ) -> bool:
        self.calls.append((task_id, outcome))
        return True

    def block_task(self, conn: Any, task_id: str, *, reason: str, expected_run_id: int | None = None) -> bool:
        self.calls.append((task_id, expected_run_id))
        return True


@pytest.fixture
def host(endings: Endings) -> tuple[ModuleType, Host]:
    real = Host()
    found = module(_record_task_failure=real._record_task_failure, block_task=real.block_task)
    fence(endings, found)
    fence(endings, found)  # the host may register us again
    return found, real


def exhaust(found: ModuleType, task_id: str, **changed: Any) -> bool:
    fields = {"outcome": "timed_out", "release_claim": True, "end_run": True, "event_payload_extra": {"budget_used": 6}}
    return bool(found._record_task_failure(None, task_id, error="budget exhausted (6/6)", **{**fields, **changed}))


def test_a_used_up_budget_is_booked_once_for_this_run_only(post: Post, host: tuple[ModuleType, Host]) -> None:
    found, real = host
    assert exhaust(found, post.lease.task_id) is False
    assert (post.run()["outcome"], post.task()["consecutive_failures"]) == ("timed_out", 1)
    assert exhaust(found, post.lease.task_id) is False
    assert post.task()["consecutive_failures"] == 1
    assert real.calls == []


def test_a_used_up_budget_of_an_old_run_leaves_the_new_one_alone(post: Post, host: tuple[ModuleType, Host]) -> None:
    new = post.supersede()
    exhaust(host[0], post.lease.task_id)
    assert (post.task()["current_run_id"], post.task()["consecutive_failures"]) == (new.run_id, 0)


def test_the_setting_of_the_kanban_home_decides_when_to_give_up(post: Post, host: tuple[ModuleType, Host]) -> None:
    (post.board.location.root / "config.yaml").write_text("kanban: {failure_limit: 1}")
    assert exhaust(host[0], post.lease.task_id) is True
    assert post.task()["status"] == "blocked"


@pytest.mark.parametrize(
    "changed", [{"outcome": "crashed"}, {"release_claim": False}, {"end_run": False}, {"task_id": "t_00000000"}]
)
def test_everything_else_stays_the_hosts(post: Post, host: tuple[ModuleType, Host], changed: dict[str, Any]) -> None:
    task_id = changed.pop("task_id", post.lease.task_id)
    assert exhaust(host[0], task_id, **changed) is True
    assert host[1].calls == [(task_id, changed.get("outcome", "timed_out"))]


def test_a_goal_that_is_given_up_blocks_this_run_only(post: Post, host: tuple[ModuleType, Host]) -> None:
    found, real = host
    found.block_task(None, post.lease.task_id, reason="turns used up")
    found.block_task(None, post.lease.task_id, reason="x", expected_run_id=99)
    found.block_task(None, "t_00000000", reason="x")
    assert real.calls == [(post.lease.task_id, post.lease.run_id), (post.lease.task_id, 99), ("t_00000000", None)]


def test_a_goal_that_the_provider_refuses_is_not_given_up(post: Post, endings: Endings) -> None:
    real = Host()
    found = module(block_task=real.block_task)
    fence(endings, found)
    endings.provider_refused(429, "rate_limit", "try again in 60s")
    assert found.block_task(None, post.lease.task_id, reason="turns used up") is True
    assert (post.run()["outcome"], post.known()["retry_at"]) == ("rate_limited", post.clock.now() + 60)
    endings.process_ends()
    assert (real.calls, post.events().count("rate_limited")) == ([], 1)


def test_functions_of_another_shape_are_left_alone(endings: Endings) -> None:
    found = module(_record_task_failure=lambda conn, task_id: 1, block_task=lambda conn, task_id: 2)
    fence(endings, found)
    assert (found._record_task_failure(0, 0), found.block_task(0, 0)) == (1, 2)
    fence(endings, module())  # before 0.16


@pytest.mark.parametrize("switch", ["fence_failures", "fence_blocks"])
def test_switched_off_the_hosts_own_stays(endings: Endings, monkeypatch: pytest.MonkeyPatch, switch: str) -> None:
    monkeypatch.setenv(f"HERMES_KANBAN_PLUGIN_{switch.upper()}", "off")
    real = Host()
    found = module(_record_task_failure=real._record_task_failure, block_task=real.block_task)
    fence(endings, found)
    theirs = {"fence_failures": found._record_task_failure, "fence_blocks": found.block_task}
    assert [name for name, function in theirs.items() if not hasattr(function, "_hermes_kanban")] == [switch]


# --- whoever is not the worker -------------------------------------------------------------------------------------


@pytest.fixture
def nested(post: Post) -> tuple[ModuleType, Host]:
    real = Host()
    found = module(_record_task_failure=real._record_task_failure, block_task=real.block_task)
    fence(Bystander(post.lease.task_id), found)
    return found, real


def test_a_bystander_ends_no_run(post: Post, nested: tuple[ModuleType, Host], caplog: pytest.LogCaptureFixture) -> None:
    post.accept()
    found, real = nested
    assert exhaust(found, post.lease.task_id) is False
    assert found.block_task(None, post.lease.task_id, reason="turns used up") is False
    assert (real.calls, post.run()["outcome"]) == ([], None)
    assert caplog.text.count("is not its worker") == 2


def test_a_bystander_may_do_what_is_not_the_runs_end(post: Post, nested: tuple[ModuleType, Host]) -> None:
    found, real = nested
    exhaust(found, "t_00000000")
    exhaust(found, post.lease.task_id, release_claim=False)
    found.block_task(None, "t_00000000", reason="x")
    found.block_task(None, post.lease.task_id, reason="by hand", expected_run_id=7)
    assert len(real.calls) == 4


@pytest.mark.parametrize(
    ("command", "waiting"),
    [
        (["hermes", "chat", "-q", "say something"], ["blocks", "failures"]),
        (["hermes", "cron", "tick"], ["blocks", "failures"]),
        (["hermes", "gateway", "run"], ["failures"]),
        (["hermes", "dashboard"], ["failures"]),
    ],
    ids=lambda value: " ".join(value),
)
def test_a_bystander_is_told_by_the_environment(
    post: Post, monkeypatch: pytest.MonkeyPatch, command: list[str], waiting: list[str]
) -> None:
    """In a gateway and a dashboard a person's block has no run either, and is theirs."""
    monkeypatch.setattr(imports, "_waiting", {})
    monkeypatch.setattr("sys.argv", command)
    bystander.install(None)
    found = {name: sorted(actions) for name, actions in imports._waiting.items()}
    assert found == {"hermes_cli.kanban_db": waiting, "tools.kanban_tools": ["heartbeat bridge"]}
    monkeypatch.setattr(imports, "_waiting", {})
    monkeypatch.delenv("HERMES_KANBAN_TASK")
    bystander.install(None)
    assert imports._waiting == {}


def test_the_hosts_own_bridge_is_silenced_where_it_is_known() -> None:
    known = module(heartbeat_current_worker_from_env=lambda: True)
    heartbeat_bridge.silence_bridge(known)
    assert known.heartbeat_current_worker_from_env() is False
    unknown = module(heartbeat_current_worker_from_env=lambda board: board)
    heartbeat_bridge.silence_bridge(unknown)
    assert unknown.heartbeat_current_worker_from_env(7) == 7
    heartbeat_bridge.silence_bridge(module())  # before 0.16
