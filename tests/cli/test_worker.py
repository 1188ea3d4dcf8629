"""The verbs of a worker, inside the environment that a dispatcher gives it: fenced by run and lock."""

from __future__ import annotations

import pytest

WORDS = [("heartbeat",), ("complete", "--summary", "done"), ("block", "why")]


def call(command, words: tuple[str, ...], task_id: str, environment: dict[str, str]):
    return command(words[0], task_id, *words[1:], **environment)


@pytest.mark.parametrize("words", WORDS)
def test_the_current_run_may(command, worker, words: tuple[str, ...]) -> None:
    task_id = command.add("x")
    environment = worker(task_id)
    answer = call(command, words, task_id, environment)
    assert answer.status == 0, answer
    expected = {"heartbeat": "running", "complete": "done", "block": "blocked"}[words[0]]
    assert command.state(task_id)[0].status == expected


@pytest.mark.parametrize("words", WORDS)
def test_a_superseded_run_may_not(command, worker, words: tuple[str, ...]) -> None:
    task_id = command.add("x")
    old = worker(task_id)
    command.ok("reclaim", task_id)
    new = worker(task_id)
    before = command.state(task_id)
    call(command, words, task_id, old).refused(2, "run 1", "superseded by run 2")
    mixed = {**new, "HERMES_KANBAN_CLAIM_LOCK": old["HERMES_KANBAN_CLAIM_LOCK"]}
    call(command, words, task_id, mixed).refused(2, "held under another lock")
    assert command.state(task_id) == before
    assert call(command, words, task_id, new).status == 0


@pytest.mark.parametrize("words", WORDS)
def test_a_closed_run_may_not(command, worker, words: tuple[str, ...]) -> None:
    task_id = command.add("x")
    old = worker(task_id)
    command.ok("complete", task_id)
    before = command.state(task_id)
    call(command, words, task_id, old).refused(2, "no longer current")
    assert command.state(task_id) == before


@pytest.mark.parametrize("words", WORDS)
def test_a_worker_may_not_touch_another_task(command, worker, words: tuple[str, ...]) -> None:
    mine, other = command.add("mine"), command.add("other")
    environment = worker(mine)
    before = command.state(other)
    call(command, words, other, environment).refused(2, f"scoped to task {mine}")
    assert command.state(other) == before


@pytest.mark.parametrize("words", WORDS)
@pytest.mark.parametrize(("name", "value"), [("RUN_ID", "seven"), ("RUN_ID", ""), ("CLAIM_LOCK", "")])
def test_a_worker_that_cannot_say_who_it_is(command, worker, words: tuple[str, ...], name: str, value: str) -> None:
    task_id = command.add("x")
    environment = {**worker(task_id), f"HERMES_KANBAN_{name}": value}
    before = command.state(task_id)
    call(command, words, task_id, environment).refused(2, f"HERMES_KANBAN_{name}")
    assert command.state(task_id) == before
