"""A board made by us, in every state, under the real host's commands; and then what we read of it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from hermes_kanban_plugin.board import Board
from hermes_kanban_plugin.causes import Cause
from hermes_kanban_plugin.clock import Clock
from hermes_kanban_plugin.handoff import Changes, Remains
from hermes_kanban_plugin.models import Status
from hermes_kanban_plugin.store import outcomes
from hermes_kanban_plugin.store.outcomes import Failure, Handoff
from hermes_kanban_plugin.store.transaction import immediate
from hermes_kanban_plugin.testing import claim_one, make_board, violations

if TYPE_CHECKING:
    from tests.host.conftest import Actor, House

pytestmark = [pytest.mark.host, pytest.mark.xdist_group("our board in host")]

# No verb of ours leads there yet.
SET_ASIDE = "UPDATE tasks SET status = :status WHERE id = :id"
# The task JSON of the host that is a column of the board under the same name (contract section 10).
SAME = (
    "id", "title", "body", "assignee", "status", "priority", "tenant", "workspace_kind", "workspace_path",
    "branch_name", "created_by", "created_at", "started_at", "completed_at", "result", "max_retries",
)  # fmt: skip


@pytest.fixture(scope="module")
def tasks(shared_house: House) -> dict[str, str]:
    """One task per state on a board that only our code has touched; returns their ids by state."""
    with make_board(shared_house.database, Clock()) as board:
        return fill(board)


def fill(board: Board) -> dict[str, str]:
    def create(state: str, **more: Any) -> str:
        return board.create_task(title=f"in {state}", assignee="worker", tenant="acme", created_by="me", **more)

    ids = {state: create(state) for state in ("ready", "running", "done", "scheduled", "review", "archived")}
    ids["todo"] = create("todo", parents=[ids["ready"]], body="after the other", priority=3, skills=["pdf"])
    ids["triage"] = create("triage", triage=True)
    ids["blocked"] = create("blocked", initial_status="blocked")
    claim_one(board, ids["running"], seconds=900, nonce="running")
    lease = claim_one(board, ids["done"], nonce="first")
    board.block_run(lease, "which one?", "needs_input")
    board.unblock(ids["done"], "me")
    board.comment(ids["done"], "me", "the left one")
    lease = claim_one(board, ids["done"], nonce="second")
    board.heartbeat(lease, 60, "half")
    board.complete_run(lease, Handoff("made it", "ok", {"files": ["a"]}))
    with immediate(board.writer) as writer:
        for state in ("scheduled", "review", "archived"):
            writer.execute(SET_ASIDE, {"status": state, "id": ids[state]})
    assert set(ids) == set(Status)
    return ids


@pytest.fixture(scope="module")
def host(shared_house: House, tasks: dict[str, str]) -> Actor:
    return shared_house.host()


def ours(house: House) -> Board:
    return make_board(house.database, Clock())


@pytest.mark.usefixtures("tasks")
def test_host_lists_what_we_list(shared_house: House) -> None:
    seen = {task["id"]: task for task in json.loads(shared_house.hermes("list", "--archived", "--json"))}
    with ours(shared_house) as board:
        own = {task.id: task for task in board.tasks(archived=True)}
    assert set(seen) == set(own)
    for task_id, task in seen.items():
        assert {name: task[name] for name in SAME} == {name: getattr(own[task_id], name) for name in SAME}
        assert task["skills"] == (own[task_id].skill_names or [])


@pytest.mark.parametrize("state", sorted(Status))
def test_host_shows_what_we_show(shared_house: House, host: Actor, tasks: dict[str, str], state: str) -> None:
    shown = json.loads(host.ask(f"kanban('show', {tasks[state]!r}, '--json')"))
    assert shown["task"]["status"] == state
    own = json.loads(shared_house.hermes_kanban("show", tasks[state], "--json"))
    for name in ("parents", "children"):
        assert shown[name] == own[name]
    assert [comment["body"] for comment in shown["comments"]] == [comment["body"] for comment in own["comments"]]
    fields = ("id", "profile", "status", "outcome", "summary", "error", "metadata", "started_at", "ended_at")
    assert [{name: run[name] for name in fields} for run in shown["runs"]] == [
        {name: run[name] for name in fields} for run in own["runs"]
    ]
    assert [(event["kind"], event["payload"]) for event in shown["events"]] == [
        (event["kind"], event["payload"]) for event in own["events"]
    ]


def test_host_shows_our_attempts(shared_house: House, tasks: dict[str, str]) -> None:
    shown = json.loads(shared_house.hermes("runs", tasks["done"], "--json"))
    assert [(run["outcome"], run["summary"]) for run in shown] == [("blocked", "which one?"), ("completed", "made it")]
    assert shown[1]["metadata"] == {"files": ["a"]}


def test_what_the_host_does_with_it_is_what_we_read(house: House) -> None:
    """Each command of the host is a process of its own, as it is for a user."""
    with ours(house) as board:
        tasks = fill(board)
    hermes = house.hermes
    created = json.loads(hermes("create", "from the host", "--body", "text", "--parent", tasks["ready"], "--json"))
    hermes("assign", tasks["todo"], "other")
    hermes("complete", tasks["running"], "--summary", "by hand", "--metadata", '{"n": 1}')
    hermes("block", tasks["ready"], "not", "now", "--kind", "transient")
    with ours(house) as board:
        assert board.task(tasks["ready"]).status == "blocked"
        assert board.task(tasks["ready"]).block_kind == "transient"
        assert board.task(tasks["todo"]).status == "todo"
    hermes("unblock", tasks["ready"])
    hermes("complete", tasks["ready"], "--result", "fine")
    hermes("archive", tasks["scheduled"])
    with ours(house) as board:
        new = board.task(created["id"])
        assert (new.title, new.body, new.status, new.assignee) == ("from the host", "text", "ready", None)
        assert board.task(tasks["todo"]).assignee == "other"
        assert board.task(tasks["todo"]).status == "ready", "its parent was completed by the host"
        running = board.task(tasks["running"])
        assert (running.status, running.claim_lock, running.current_run_id) == ("done", None, None)
        (run,) = board.runs(tasks["running"])
        assert (run.outcome, run.summary, run.metadata) == ("completed", "by hand", {"n": 1})
        assert (board.task(tasks["ready"]).status, board.task(tasks["ready"]).result) == ("done", "fine")
        kinds = [event.kind for event in board.events(tasks["ready"])]
        assert kinds == ["created", "commented", "blocked", "unblocked", "completed"]
        assert board.task(tasks["scheduled"]).status == "archived"
        assert board.task(tasks["blocked"]).status == "blocked", "nobody opened our gate"
    assert violations(house.database) == []


def test_the_next_worker_is_shown_all_parts_of_an_unfinished_hand_off(house: House) -> None:
    """The host cuts each comment of a worker's context; the last words and what to do must not be cut off."""
    changes = Changes([f"{'deep/' * 30}file-{number}.py" for number in range(40)], 0, "d" * 2000)
    remains = Remains("w" * 4000 + " and chapter nine is missing", changes, 0, None, 900)
    with make_board(house.database, Clock()) as board:
        task_id = board.create_task(title="write a book", assignee="worker")
        failure = Failure(Cause.PROTOCOL_VIOLATION, "no final call", {}, remains=remains)
        outcomes.fail(board.writer, claim_one(board, task_id), failure, board.clock.now())
    shown = house.host().ask(f"kb.build_worker_context(conn, {task_id!r})")
    thread = shown[shown.index("## Comment thread") :]
    for part in ("do not begin from scratch", "file-0.py", "chapter nine is missing", "call kanban_complete"):
        assert part in thread
