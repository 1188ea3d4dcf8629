"""A worker that our dispatcher starts is the one that the host's own would start: same words, same environment."""

from __future__ import annotations

from typing import TYPE_CHECKING

import psutil
import pytest

if TYPE_CHECKING:
    from tests.live.house import LiveHouse

pytestmark = [pytest.mark.host, pytest.mark.xdist_group("live-same")]

PLAIN: tuple[str, ...] = ("--max-runtime", "900", "--tenant", "acme", "--max-retries", "3")
GOAL: tuple[str, ...] = ("--goal", "--goal-max-turns", "4")


def seen(house: LiveHouse, task_id: str) -> tuple[list[str], dict[str, str]]:
    """Return the words and the variables of a task's living worker, without what is another one's each time."""
    worker = psutil.Process(house.parked(task_id))
    run = house.runs(task_id)[-1]
    own = {run["claim_lock"]: "LOCK", task_id: "TASK"}  # the lock has the id in it

    def neutral(text: str) -> str:
        for value, name in own.items():
            text = text.replace(value, name)
        return text

    variables = {name: neutral(value) for name, value in worker.environ().items()}
    variables["HERMES_KANBAN_RUN_ID"] = "RUN" if variables["HERMES_KANBAN_RUN_ID"] == str(run["id"]) else "another"
    return [neutral(word) for word in worker.cmdline()], variables


@pytest.mark.parametrize("flags", [PLAIN, GOAL], ids=["plain", "goal"])
def test_words_and_environment_are_the_hosts(live_house: LiveHouse, flags: tuple[str, ...]) -> None:
    house = live_house
    theirs, ours = (house.create("x", "SLOW=600", "worker", *flags) for _ in range(2))
    house.write("UPDATE tasks SET status = 'blocked' WHERE id = ?", ours)
    house.hermes("kanban", "dispatch")
    words, variables = seen(house, theirs)
    house.kill_everything()
    house.write("UPDATE tasks SET status = 'archived', claim_lock = NULL WHERE id = ?", theirs)
    house.write("UPDATE tasks SET status = 'ready' WHERE id = ?", ours)
    house.start_dispatcher()
    our_words, our_variables = seen(house, ours)
    assert our_words == words
    assert our_variables == variables
