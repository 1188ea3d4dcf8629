"""What a process is for, told by its arguments and its environment."""

from __future__ import annotations

import pytest

from hermes_kanban_plugin.roles import Role, role_of, told_task

WORKER = {"HERMES_KANBAN_TASK": "t_a1", "HERMES_KANBAN_RUN_ID": "1", "HERMES_KANBAN_CLAIM_LOCK": "vm:1"}
PROMPT = "work kanban task t_a1"


@pytest.mark.parametrize(
    "words",
    [
        ["-q", PROMPT],
        ["-q", f" {PROMPT} "],
        ["-q", f"{PROMPT}, now"],
        ["-q", f"{PROMPT}\nand more"],
        [f"-q{PROMPT}"],
        [f"--query={PROMPT}"],
        [f"--que={PROMPT}"],
        ["-z", PROMPT],
    ],
    ids=repr,
)
@pytest.mark.parametrize(
    "missing", [(), ("TASK",), ("TASK", "RUN_ID"), ("TASK", "CLAIM_LOCK"), ("RUN_ID", "CLAIM_LOCK")]
)
def test_a_workers_prompt_in_any_part_of_its_environment_is_a_worker(
    words: list[str], missing: tuple[str, ...]
) -> None:
    environment = {name: value for name, value in WORKER.items() if not name.endswith(missing or "-")}
    command = ["hermes", "-p", "worker", "chat", *words]
    assert (role_of(environment, command), told_task(command)) == (Role.WORKER, "t_a1")


@pytest.mark.parametrize("task", ["", " ", "t_b2", "nonsense"])
def test_whatever_the_environment_names_the_prompt_makes_the_worker(task: str) -> None:
    assert role_of({**WORKER, "HERMES_KANBAN_TASK": task}, ["hermes", "chat", "-q", PROMPT]) is Role.WORKER


@pytest.mark.parametrize(
    ("environment", "command", "role"),
    [
        ({}, ["hermes", "chat", "-q", PROMPT], Role.CHAT),
        ({"HERMES_KANBAN_TASK": " "}, ["hermes", "chat", "-q", PROMPT], Role.CHAT),
        (WORKER, ["hermes", "chat", "-q", "please work kanban task t_a1"], Role.CHAT),
        (WORKER, ["hermes", "chat", "-q", "work kanban task"], Role.CHAT),
        (WORKER, ["hermes"], Role.CHAT),
        (WORKER, ["hermes", "gateway", "run"], Role.GATEWAY),
        (WORKER, ["/x/gateway/run.py"], Role.GATEWAY),
        (WORKER, ["hermes", "dashboard"], Role.DASHBOARD),
        (WORKER, ["hermes", "cron", "tick"], Role.OTHER),
    ],
)
def test_everything_else_is_what_its_words_say(environment: dict[str, str], command: list[str], role: Role) -> None:
    assert role_of(environment, command) is role
