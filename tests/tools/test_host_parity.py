"""Our tools against the host's own handlers: the same calls on identical boards, answers and rows compared whole.

Each scenario's board is made once and copied; the host plays in a process of its own with its own home, we play here.
``DIFFERENCES`` is the complete list of what may differ, and every line of it must be true.
"""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from hermes_kanban_plugin import toolkit
from hermes_kanban_plugin.board import Board
from hermes_kanban_plugin.manager import Manager
from hermes_kanban_plugin.store.leases import Lease
from hermes_kanban_plugin.testing import claim_one, make_board

pytestmark = pytest.mark.host
HEARTBEAT, BLOCK, COMPLETE = "kanban_heartbeat", "kanban_block", "kanban_complete"
TABLES = ("tasks", "task_runs", "task_events", "task_links", "task_comments", "task_attachments")
# Moments differ between two plays; only whether there is one is compared.
MOMENTS = ("created_at", "started_at", "completed_at", "ended_at", "last_heartbeat_at", "claim_expires")


class Scenario(NamedTuple):
    """What is on the board, who calls, and the calls."""

    prepare: Callable[[Board, Path], Lease | None]
    calls: list[tuple[str, dict[str, Any]]]


def worker(board: Board, home: Path, **fields: Any) -> Lease:
    """A claimed task, a parent of nobody."""
    return claim_one(board, board.create_task(title="count words", assignee="coder", **fields))


def goal_worker(board: Board, home: Path) -> Lease:
    return worker(board, home, goal_mode=True)


def waiting_worker(board: Board, home: Path) -> Lease:
    lease = worker(board, home)
    board.link(board.create_task(title="the parent", assignee="coder"), lease.task_id)
    return lease


def worker_again(board: Board, home: Path) -> Lease:
    """A worker whose task was blocked once for want of a capability."""
    lease = worker(board, home)
    board.block_run(lease, "no key", "capability")
    board.unblock(lease.task_id, "ann")
    return claim_one(board, lease.task_id, nonce="n1")


def worker_with_child(board: Board, home: Path) -> Lease:
    lease = worker(board, home)
    board.create_task(title="the child", assignee="coder", parents=[lease.task_id])
    return lease


def worker_with_files(board: Board, home: Path) -> Lease:
    lease = worker(board, home)
    folder = home / "kanban" / "workspaces" / lease.task_id
    folder.mkdir(parents=True)
    (folder / "report.txt").write_text("42 words")
    board.writer.execute("UPDATE tasks SET workspace_path = ? WHERE id = ?", (str(folder), lease.task_id))
    return lease


def worker_with_cards(board: Board, home: Path) -> Lease:
    lease = worker(board, home)
    board.create_task(title="follow-up", created_by="coder")
    board.create_task(title="not mine", created_by="ann")
    return lease


def failed_worker(board: Board, home: Path) -> Lease:
    lease = worker(board, home)
    board.writer.execute("UPDATE tasks SET consecutive_failures = 1, last_failure_error = 'killed'")
    return lease


def nobody(board: Board, home: Path) -> None:
    """An orchestrator; its task is ready."""
    board.create_task(title="count words", assignee="coder")


def gone_worker(board: Board, home: Path) -> Lease:
    return Lease("t_00000000", 1, "host:1:n0")


ME, REPORT, CARDS = "<me>", "<home>/kanban/workspaces/<me>/report.txt", ["<follow-up>", "<not mine>", "t_00000000"]
SCENARIOS = {
    "beat": Scenario(worker, [(HEARTBEAT, {})]),
    "beat with a note": Scenario(worker, [(HEARTBEAT, {"note": "half done"})]),
    "beats": Scenario(worker, [(HEARTBEAT, {}), (HEARTBEAT, {})]),
    "beat of nobody": Scenario(nobody, [(HEARTBEAT, {"task_id": ME})]),
    "beat for a task that is gone": Scenario(gone_worker, [(HEARTBEAT, {})]),
    "block without kind": Scenario(worker, [(BLOCK, {"reason": "stuck"})]),
    "block for input": Scenario(worker, [(BLOCK, {"reason": "which one?", "kind": "needs_input"})]),
    "block for a capability": Scenario(worker, [(BLOCK, {"reason": "no key", "kind": "capability"})]),
    "block for now": Scenario(worker, [(BLOCK, {"reason": "offline", "kind": "transient"})]),
    "block for a parent": Scenario(waiting_worker, [(BLOCK, {"reason": "wait", "kind": "dependency"})]),
    "block for no parent": Scenario(worker, [(BLOCK, {"reason": "wait", "kind": "dependency"})]),
    "block again": Scenario(worker_again, [(BLOCK, {"reason": "no key", "kind": "capability"})]),
    "block again for something else": Scenario(worker_again, [(BLOCK, {"reason": "?", "kind": "needs_input"})]),
    "block by an orchestrator": Scenario(nobody, [(BLOCK, {"task_id": ME, "reason": "wait"})]),
    "block without a reason": Scenario(worker, [(BLOCK, {})]),
    "block for coffee": Scenario(worker, [(BLOCK, {"reason": "tired", "kind": "coffee"})]),
    "block of a foreign task": Scenario(worker, [(BLOCK, {"task_id": "t_00000000", "reason": "x"})]),
    "block out of the goal": Scenario(goal_worker, [(BLOCK, {"reason": "enough", "kind": "transient"})]),
    "block with a goal": Scenario(goal_worker, [(BLOCK, {"reason": "which?", "kind": "needs_input"})]),
    "complete": Scenario(worker, [(COMPLETE, {"summary": "counted\nall", "result": "42", "metadata": {"n": 42}})]),
    "complete with a result": Scenario(worker, [(COMPLETE, {"result": "42 words"})]),
    "complete with nothing": Scenario(worker, [(COMPLETE, {"metadata": {"n": 1}})]),
    "complete after a failure": Scenario(failed_worker, [(COMPLETE, {"summary": "at last"})]),
    "complete twice": Scenario(worker, [(COMPLETE, {"summary": "one"}), (COMPLETE, {"summary": "two"})]),
    "complete with a child": Scenario(worker_with_child, [(COMPLETE, {"summary": "drafted"})]),
    "complete with cards": Scenario(worker_with_cards, [(COMPLETE, {"summary": "x", "created_cards": CARDS[:1]})]),
    "complete with phantom cards": Scenario(worker_with_cards, [(COMPLETE, {"summary": "x", "created_cards": CARDS})]),
    "complete and name what is not": Scenario(worker, [(COMPLETE, {"summary": "see t_deadbeef"})]),
    "complete with a file": Scenario(worker_with_files, [(COMPLETE, {"summary": "done", "artifacts": [REPORT]})]),
    "complete and name a file": Scenario(worker_with_files, [(COMPLETE, {"summary": f"it is {REPORT}."})]),
    "complete with a missing file": Scenario(
        worker_with_files, [(COMPLETE, {"summary": "done", "artifacts": [REPORT, f"{REPORT}.gz"]})]
    ),
    "complete by an orchestrator": Scenario(nobody, [(COMPLETE, {"task_id": ME, "summary": "by hand"})]),
    "complete an unknown task": Scenario(nobody, [(COMPLETE, {"task_id": "t_00000000", "summary": "x"})]),
}

# scenario -> what differs, as {place: (the host's, ours)}; None means it is not there.
DIFFERENCES: dict[str, dict[str, tuple[Any, Any]]] = {
    # Beats without news are one event, not one each: a row per beat grows the board for ever (contract W25).
    "beats": {
        "task_events.3.created_at": (True, None),
        "task_events.3.id": (4, None),
        "task_events.3.kind": ("heartbeat", None),
        "task_events.3.run_id": (1, None),
        "task_events.3.task_id": (ME, None),
    },
    # Nothing would ever wake it in todo, and the host starts it again at once, for ever (contract W10).
    "block for no parent": {
        "answer.0.status": ("todo", "blocked"),
        "task_events.2.kind": ("dependency_wait", "blocked"),
        "task_events.2.payload.recurrences": (None, 1),
        "tasks.0.block_recurrences": (0, 1),
        "tasks.0.status": ("todo", "blocked"),
    },
    # Who is no worker is named in the history.
    "block by an orchestrator": {"task_events.1.payload.actor": (None, "worker")},
    "complete by an orchestrator": {"task_events.1.payload.actor": (None, "worker")},
}


class Play(NamedTuple):
    """One scenario's board in a home of its own, the caller's environment and the calls as they are made."""

    home: Path
    environment: dict[str, str]
    calls: list[dict[str, Any]]
    names: dict[str, str]

    def outcome(self, answers: list[dict[str, Any]]) -> dict[str, Any]:
        """Return answers and rows as one flat table, with moments and this play's own names taken out."""
        with closing(sqlite3.connect(self.home / "kanban.db")) as board:
            board.row_factory = sqlite3.Row
            rows = {table: board.execute(f"SELECT * FROM {table} ORDER BY rowid").fetchall() for table in TABLES}
        found = {"answer": [{**answer, **({"error": "…"} if "error" in answer else {})} for answer in answers]}
        found |= {table: [_timeless(dict(row)) for row in rows[table]] for table in TABLES}
        found["files"] = sorted(str(path) for path in (self.home / "kanban").rglob("*.txt"))
        text = json.dumps(found)
        for name, value in self.names.items():
            text = text.replace(value, name)
        return dict(_flat("", json.loads(text)))


def _timeless(row: dict[str, Any]) -> dict[str, Any]:
    row = {name: (value is not None) if name in MOMENTS else value for name, value in row.items()}
    for name in ("payload", "metadata"):
        if row.get(name):
            row[name] = json.loads(row[name])
    return row


def _flat(place: str, value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict | list) and value:
        items = value.items() if isinstance(value, dict) else enumerate(value)
        for key, item in items:
            yield from _flat(f"{place}.{key}" if place else str(key), item)
    else:
        yield place, value


def stage(home: Path, name: str) -> Play:
    """Make a scenario's board in a home; two homes get boards that differ in nothing but ids and their own path."""
    scenario = SCENARIOS[name]
    home.mkdir(parents=True)
    with make_board(home / "kanban.db") as board:
        lease = scenario.prepare(board, home)
        tasks = board.tasks()
    me = lease.task_id if lease else tasks[0].id
    names = {"<home>": str(home), "<me>": me, **{f"<{task.title}>": task.id for task in tasks if task.id != me}}
    calls = [{"tool": tool, "arguments": _filled(arguments, names)} for tool, arguments in scenario.calls]
    environment = {"HERMES_HOME": str(home), "HERMES_SESSION_ID": "session-7"}
    if lease:
        proof = {"TASK": lease.task_id, "RUN_ID": str(lease.run_id), "CLAIM_LOCK": lease.lock}
        environment |= {f"HERMES_KANBAN_{key}": value for key, value in proof.items()} | {"HERMES_PROFILE": "coder"}
    return Play(home, environment, calls, names)


def _filled(arguments: dict[str, Any], names: dict[str, str]) -> dict[str, Any]:
    text = json.dumps(arguments)
    for name, value in names.items():
        text = text.replace(name, value)
    filled: dict[str, Any] = json.loads(text)
    return filled


@pytest.fixture(scope="module")
def host_outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """What the host's own handlers do in each scenario."""
    folder = tmp_path_factory.mktemp("host")
    plays = {name: stage(folder / str(number), name) for number, name in enumerate(SCENARIOS)}
    script = Path(__file__).with_name("host_side.py")
    done = subprocess.run(
        [sys.executable, "-P", str(script)],
        input=json.dumps([{"environment": play.environment, "calls": play.calls} for play in plays.values()]),
        env={"HOME": str(folder), "HERMES_HOME": str(folder), "PATH": str(Path(sys.executable).parent)},
        cwd=folder, capture_output=True, text=True, check=True,
    )  # fmt: skip
    answers = json.loads(done.stdout.splitlines()[-1])
    return {name: play.outcome(answer) for (name, play), answer in zip(plays.items(), answers, strict=True)}


@pytest.mark.parametrize("name", SCENARIOS)
def test_tool_does_what_the_host_does(
    name: str, host_outcomes: dict[str, dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    play = stage(tmp_path / "ours", name)
    for key, value in play.environment.items():
        monkeypatch.setenv(key, value)
    manager = Manager(discover=False)
    tools = toolkit.tools_of(manager)
    answers = [json.loads(toolkit.call(tools[call["tool"]], manager, call["arguments"])) for call in play.calls]
    ours, theirs = play.outcome(answers), host_outcomes[name]
    places = sorted({*ours, *theirs})
    found = {at: (theirs.get(at), ours.get(at)) for at in places if theirs.get(at) != ours.get(at)}
    assert found == DIFFERENCES.get(name, {})


def test_every_difference_belongs_to_a_scenario() -> None:
    assert set(DIFFERENCES) <= set(SCENARIOS)


def test_the_host_did_play(host_outcomes: dict[str, dict[str, Any]]) -> None:
    """Guard of the comparison itself: the host did play, and its answers are not all errors."""
    assert host_outcomes["beat"]["answer.0.ok"] is True
    assert host_outcomes["complete with a file"]["task_attachments.0.filename"] == "report.txt"
    assert host_outcomes["complete with phantom cards"]["answer.0.error"] == "…"
