"""``export``: everything that is said on the board, one moment, no secrets."""

from __future__ import annotations

import json
import re

from hermes_kanban_plugin.causes import Cause
from hermes_kanban_plugin.maintenance import export
from hermes_kanban_plugin.store.outcomes import ExitFacts, Failure, fail, record_exit
from tests.maintenance.conftest import Keeper

TOKEN = "ghp_" + "a1B2" * 9
KEY = "sk-" + "proj1234" * 4


def by_record(keeper: Keeper) -> dict[str, list[dict[str, object]]]:
    found: dict[str, list[dict[str, object]]] = {}
    for record in export.records(keeper.board):
        found.setdefault(str(record["record"]), []).append(json.loads(export.line_of(record)))
    return found


def test_every_row_is_exported_once_and_in_order(keeper: Keeper) -> None:
    parent = keeper.create("parent", skills=("review",))
    child = keeper.create("child", parents=(parent,))
    keeper.board.comment(parent, "me", "look at this")
    lease = keeper.finish(parent)
    record_exit(keeper.board.writer, lease, ExitFacts(exit_code=0, last_output="bye"), keeper.now)
    add = "INSERT INTO task_attachments (task_id, filename, stored_path, size, created_at) VALUES (?, 'a', '/a', 1, 0)"
    keeper.execute(add, parent)

    records = list(export.records(keeper.board))
    kinds = [record["record"] for record in records]
    found = by_record(keeper)

    assert list(dict.fromkeys(kinds)) == ["board", "task", "link", "run", "comment", "event", "attachment"]
    assert found["board"][0]["rows"] == {
        "tasks": 2, "task_runs": 1, "task_events": 6, "task_comments": 1, "task_links": 1, "task_attachments": 1,
    }  # fmt: skip
    assert len(records) == 1 + 2 + 1 + 6 + 1 + 1 + 1
    assert {task["id"] for task in found["task"]} == {parent, child}
    assert found["link"] == [{"record": "link", "parent_id": parent, "child_id": child}]
    (task,) = [task for task in found["task"] if task["id"] == parent]
    assert task["skills"] == ["review"]
    (run,) = found["run"]
    assert (run["outcome"], run["lane"], run["exit_code"], run["last_output"]) == ("completed", "command", 0, "bye")
    events = [event["kind"] for event in found["event"]]
    assert events == ["created", "created", "commented", "claimed", "completed", "promoted"]
    assert [event["id"] for event in found["event"]] == sorted(event["id"] for event in found["event"])  # type: ignore[type-var]


def test_secrets_are_masked_wherever_they_stand(keeper: Keeper) -> None:
    """Failure mode M4: known token shapes are redacted in the export too."""
    task_id = keeper.create(f"use {TOKEN}", body=f"password: {KEY}")
    keeper.board.comment(task_id, "me", f"the key is {KEY}")
    lease = keeper.claim(task_id)
    keeper.event(task_id, "heartbeat", {"note": f"token {TOKEN}", "api_key": "plain words"}, run_id=lease.run_id)
    fail(keeper.board.writer, lease, Failure(Cause.CRASHED, f"401 with {TOKEN}", {"error": KEY}), keeper.now)
    record_exit(keeper.board.writer, lease, ExitFacts(exit_code=1, last_output=f"Bearer {TOKEN}"), keeper.now)

    text = "\n".join(export.line_of(record) for record in export.records(keeper.board))

    assert TOKEN not in text
    assert KEY not in text
    assert "plain words" not in text
    masks = text.count("***") + len(re.findall(r"\w[\w-]+\.\.\.\w{4}", text))  # ours, and the host's if it is loaded
    assert masks >= 7
    assert task_id in text


def test_claim_locks_are_left_out(keeper: Keeper) -> None:
    lease = keeper.claim(keeper.create())

    text = "\n".join(export.line_of(record) for record in export.records(keeper.board))

    assert lease.lock not in text
    assert f'"run_id": {lease.run_id}' in text


def test_what_is_written_meanwhile_is_not_in_it(keeper: Keeper) -> None:
    keeper.create("first")
    records = export.records(keeper.board)
    assert next(records)["rows"]["tasks"] == 1
    keeper.create("second")

    assert [record["title"] for record in records if record["record"] == "task"] == ["first"]
    assert not keeper.board.reader.in_transaction


def test_a_board_of_a_plain_host_is_exported_too(keeper: Keeper) -> None:
    keeper.finish(keeper.create())
    for (name,) in keeper.rows("SELECT name FROM sqlite_master WHERE type = 'table' AND name LIKE 'kp!_%' ESCAPE '!'"):
        keeper.execute(f"DROP TABLE {name}")
    keeper.execute("DROP TABLE task_attachments")
    keeper.execute("UPDATE task_events SET payload = 'no json' WHERE kind = 'created'")

    found = by_record(keeper)

    assert "lane" not in found["run"][0]
    assert "attachment" not in found
    assert found["event"][0]["payload"] == "no json"


def test_progress_goes_from_nothing_to_everything(keeper: Keeper) -> None:
    for number in range(20):
        keeper.create(f"task {number}")
    told: list[float] = []

    for _ in export.records(keeper.board, lambda what, share: told.append(share)):
        pass

    assert told == sorted(told)
    assert told[-1] == 1.0
