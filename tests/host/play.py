"""The same scripted steps through the host's functions and through ours, and what is on the board afterwards.

Runs inside the host's process (``play_host``) as well as in the test's (``play_ours``). A step is a verb, the name of
its task and options.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from typing import Any

STEPS: list[tuple[str, str, dict[str, Any]]] = [
    ("create", "plain", {"body": "text", "assignee": "Worker", "priority": 3, "tenant": "acme", "skills": ["pdf"]}),
    ("create", "keyed", {"idempotency_key": "k1", "max_runtime_seconds": 60, "max_retries": 4}),
    ("create", "twin", {"idempotency_key": "k1"}),
    ("create", "idea", {"triage": True}),
    ("create", "parent", {"created_by": "planner"}),
    ("create", "child", {"parents": ["parent"]}),
    ("create", "linked", {"goal_mode": True, "goal_max_turns": 5}),
    ("link", "linked", {"parent": "parent"}),
    ("comment", "plain", {"author": "me", "body": "look twice"}),
    ("claim", "plain", {}),
    ("beat", "plain", {"note": "half"}),
    ("complete", "plain", {"summary": "made it\nsecond line", "result": "ok", "metadata": {"n": 1}}),
    ("claim", "parent", {}),
    ("complete", "parent", {"result": "only a result"}),
    # Blocks of every kind, and the way back.
    ("create", "asking", {}),
    ("claim", "asking", {}),
    ("block", "asking", {"reason": "which?", "kind": "needs_input"}),
    ("unblock", "asking", {}),
    ("claim", "asking", {}),
    ("block", "asking", {"reason": "which again?", "kind": "needs_input"}),
    ("create", "nameless", {}),
    ("claim", "nameless", {}),
    ("block", "nameless", {"reason": "stuck", "kind": None}),
    ("create", "base", {}),
    ("create", "waiting", {}),
    ("claim", "waiting", {}),
    ("link", "waiting", {"parent": "base"}),
    ("block", "waiting", {"reason": "needs base", "kind": "dependency"}),
    ("complete_by_hand", "base", {"summary": "by hand"}),
    ("create", "lonely", {}),
    ("claim", "lonely", {}),
    ("block", "lonely", {"reason": "waits for nobody", "kind": "dependency"}),
    # What a person does.
    ("create", "parked", {}),
    ("block_by_hand", "parked", {"reason": "not now", "kind": "transient"}),
    ("complete_by_hand", "parked", {"summary": "anyway"}),
    ("create", "seized", {}),
    ("claim", "seized", {}),
    ("complete_by_hand", "seized", {"summary": "I did it", "metadata": {"by": "me"}}),
    ("create", "taken", {}),
    ("claim", "taken", {}),
    ("beat", "taken", {}),
    ("beat", "taken", {}),
    ("reclaim", "taken", {"reason": "too slow"}),
    ("claim", "taken", {}),
    # What goes wrong.
    ("create", "unlucky", {}),
    ("claim", "unlucky", {}),
    ("fail", "unlucky", {"error": "no such program"}),
    ("claim", "unlucky", {}),
    ("fail", "unlucky", {"error": "no such program"}),
    ("unblock", "unlucky", {}),
    ("create", "gate", {"initial_status": "blocked"}),
    ("promote", "", {}),
]


class Host:
    """The steps through ``hermes_cli.kanban_db``, with the run id wherever the host takes one."""

    def __init__(self, connection: Any) -> None:
        from hermes_cli import kanban_db

        self.kb, self.connection, self.ids = kanban_db, connection, dict[str, str]()

    def _run(self, task_id: str) -> int:
        run_id = self.kb.get_task(self.connection, task_id).current_run_id
        assert run_id
        return int(run_id)

    def create(self, name: str, parents: Sequence[str] = (), **fields: Any) -> None:
        known = [self.ids[parent] for parent in parents]
        self.ids[name] = self.kb.create_task(
            self.connection, title=name, parents=known, **{"created_by": "me", **fields}
        )

    def link(self, name: str, parent: str) -> None:
        self.kb.link_tasks(self.connection, self.ids[parent], self.ids[name])

    def comment(self, name: str, author: str, body: str) -> None:
        self.kb.add_comment(self.connection, self.ids[name], author, body)

    def claim(self, name: str) -> None:
        assert self.kb.claim_task(self.connection, self.ids[name], claimer="here:1")

    def beat(self, name: str, note: str | None = None) -> None:
        task_id = self.ids[name]
        assert self.kb.heartbeat_claim(self.connection, task_id, claimer="here:1")
        assert self.kb.heartbeat_worker(self.connection, task_id, note=note, expected_run_id=self._run(task_id))

    def complete(self, name: str, **handoff: Any) -> None:
        task_id = self.ids[name]
        assert self.kb.complete_task(self.connection, task_id, expected_run_id=self._run(task_id), **handoff)

    def complete_by_hand(self, name: str, **handoff: Any) -> None:
        assert self.kb.complete_task(self.connection, self.ids[name], **handoff)

    def block(self, name: str, **why: Any) -> None:
        task_id = self.ids[name]
        assert self.kb.block_task(self.connection, task_id, expected_run_id=self._run(task_id), **why)

    def block_by_hand(self, name: str, **why: Any) -> None:
        assert self.kb.block_task(self.connection, self.ids[name], **why)

    def unblock(self, name: str) -> None:
        assert self.kb.unblock_task(self.connection, self.ids[name])

    def reclaim(self, name: str, reason: str) -> None:
        assert self.kb.reclaim_task(self.connection, self.ids[name], reason=reason)

    def fail(self, name: str, error: str) -> None:
        self.kb._record_spawn_failure(self.connection, self.ids[name], error)

    def promote(self, _: str) -> None:
        self.kb.recompute_ready(self.connection)


class Ours:
    """The steps through our board."""

    def __init__(self, board: Any) -> None:
        self.board, self.ids, self.leases, self.claims = board, dict[str, str](), dict[str, Any](), 0

    def create(self, name: str, parents: Sequence[str] = (), **fields: Any) -> None:
        fields = {"created_by": "me", **fields, "parents": [self.ids[parent] for parent in parents]}
        self.ids[name] = self.board.create_task(title=name, **fields)

    def link(self, name: str, parent: str) -> None:
        self.board.link(self.ids[parent], self.ids[name])

    def comment(self, name: str, author: str, body: str) -> None:
        self.board.comment(self.ids[name], author, body)

    def claim(self, name: str) -> None:
        from hermes_kanban_plugin.store.leases import ClaimTerms

        self.claims += 1
        terms = ClaimTerms(f"here:1:{self.claims}", self.board.clock.now() + 900, "command")
        (self.leases[name],) = self.board.claim([self.ids[name]], terms)

    def beat(self, name: str, note: str | None = None) -> None:
        self.board.heartbeat(self.leases[name], 900, note)

    def complete(self, name: str, **handoff: Any) -> None:
        from hermes_kanban_plugin.store.outcomes import Handoff

        self.board.complete_run(self.leases[name], Handoff(**handoff))

    def complete_by_hand(self, name: str, **handoff: Any) -> None:
        from hermes_kanban_plugin.store.outcomes import Handoff

        self.board.complete(self.ids[name], Handoff(**handoff), "me")

    def block(self, name: str, reason: str, kind: str | None) -> None:
        self.board.block_run(self.leases[name], reason, kind)

    def block_by_hand(self, name: str, reason: str, kind: str) -> None:
        self.board.block(self.ids[name], reason, kind, "me")

    def unblock(self, name: str) -> None:
        self.board.unblock(self.ids[name], "me")

    def reclaim(self, name: str, reason: str) -> None:
        self.board.reclaim(self.board.task(self.ids[name]), reason, "me")

    def fail(self, name: str, error: str) -> None:
        from hermes_kanban_plugin.causes import Cause
        from hermes_kanban_plugin.store import outcomes

        failure = outcomes.Failure(Cause.SPAWN_FAILED, error, {"error": error})
        outcomes.fail(self.board.writer, self.leases[name], failure, self.board.clock.now())

    def promote(self, _: str) -> None:
        self.board.promote()


def play(player: Host | Ours) -> dict[str, str]:
    """Take every step; returns the ids by name."""
    for verb, name, options in STEPS:
        getattr(player, verb)(name, **options)
    return player.ids


def play_host() -> dict[str, str]:
    from hermes_cli import kanban_db

    return play(Host(kanban_db.connect()))


# What differs between any two boards: identities and moments are compared by whether they are there.
MOMENTS = ("created_at", "started_at", "completed_at", "ended_at", "claim_expires", "last_heartbeat_at", "claim_lock")


def snapshot(path: str, ids: dict[str, str]) -> dict[str, dict[str, Any]]:
    """Return rows of tasks and runs and kinds of events by the task's name, comparable between boards."""
    names = {task_id: name for name, task_id in reversed(ids.items())}
    connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    connection.row_factory = sqlite3.Row
    found: dict[str, dict[str, Any]] = {}
    for row in connection.execute("SELECT * FROM tasks"):
        found[names[row["id"]]] = {"task": comparable(row, names), "runs": [], "events": []}
    for row in connection.execute("SELECT * FROM task_runs ORDER BY id"):
        found[names[row["task_id"]]]["runs"].append(comparable(row, names))
    for row in connection.execute("SELECT * FROM task_events ORDER BY id"):
        found[names[row["task_id"]]]["events"].append(row["kind"])
    connection.close()
    return found


def comparable(row: sqlite3.Row, names: dict[str, str]) -> dict[str, Any]:
    values = {name: names.get(value, value) if isinstance(value, str) else value for name, value in dict(row).items()}
    values |= {name: values[name] is not None for name in MOMENTS if name in values}
    if values.get("metadata"):
        values["metadata"] = json.loads(values["metadata"])
    return values
