"""The same steps through the host's functions and through ours leave the same board, but for one table."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from hermes_kanban_plugin.clock import Clock
from hermes_kanban_plugin.testing import make_board, violations

if TYPE_CHECKING:
    from tests.host.conftest import House

pytestmark = pytest.mark.host

SCRIPT = Path(__file__).with_name("play.py")

# (task, what) -> (the host, ours), with the reason. Everything that is not named here is equal.
DIFFERENCES: dict[tuple[str, str], tuple[Any, Any]] = {
    # W10: a dependency block without an open parent would be started again at once, for ever; it goes to a person.
    ("lonely", "block_recurrences"): (0, 1),
    ("lonely", "status"): ("ready", "blocked"),
    ("lonely", "events"): (["created", "claimed", "dependency_wait", "promoted"], ["created", "claimed", "blocked"]),
    # Completing under a running worker says in the history that the run was taken from it.
    ("seized", "events"): (["created", "claimed", "completed"], ["created", "claimed", "completed", "reclaimed"]),
    # W17: a claim starts a fresh heartbeat clock.
    ("taken", "last_heartbeat_at"): (True, False),
    # The reason stands alone, and the worker was stopped by its supervisor before, not by this function.
    ("taken", "run 1 error"): ("manual_reclaim: too slow", "too slow"),
    ("taken", "run 1 metadata"): (
        {
            "prev_pid": None,
            "host_local": False,
            "termination_attempted": False,
            "terminated": False,
            "sigkill": False,
        },
        None,
    ),
    # W25: a history row per run and per note, not per heartbeat.
    ("taken", "events"): (
        ["created", "claimed", "heartbeat", "heartbeat", "reclaimed", "claimed"],
        ["created", "claimed", "heartbeat", "reclaimed", "claimed"],
    ),
    # The counters of a failure stand in its event only; the failure that trips the breaker has its own row too.
    ("unlucky", "run 1 metadata"): ({"failures": 1}, None),
    ("unlucky", "run 2 metadata"): (
        {"failures": 2, "trigger_outcome": "spawn_failed", "effective_limit": 2, "limit_source": "dispatcher"},
        None,
    ),
    ("unlucky", "events"): (
        ["created", "claimed", "spawn_failed", "claimed", "gave_up", "unblocked"],
        ["created", "claimed", "spawn_failed", "claimed", "spawn_failed", "gave_up", "unblocked"],
    ),
    # W12: a task created blocked stays blocked.
    ("gate", "status"): ("ready", "blocked"),
    ("gate", "events"): (["created", "promoted"], ["created", "blocked"]),
}


def test_same_steps_same_board(house: House, tmp_path: Path) -> None:
    spec = importlib.util.spec_from_file_location("play", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    play = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(play)
    told = house.host(f"import sys; sys.path.insert(0, {str(SCRIPT.parent)!r}); import play").ask("play.play_host()")
    theirs = play.snapshot(str(house.database), told)
    database = tmp_path / "ours.db"
    with make_board(database, Clock()) as board:
        ours = play.snapshot(str(database), play.play(play.Ours(board)))
    found = dict(differences(theirs, ours))
    assert found == DIFFERENCES, "\n".join(f"    {where}: {pair}," for where, pair in found.items())
    assert violations(database) == []


def differences(theirs: dict[str, Any], ours: dict[str, Any]) -> Any:
    assert list(theirs) == list(ours)
    for name, left in theirs.items():
        right = ours[name]
        for column in sorted(left["task"].keys() | right["task"].keys()):
            yield from differ((name, column), left["task"].get(column), right["task"].get(column))
        yield from differ((name, "runs"), len(left["runs"]), len(right["runs"]))
        for number, (one, other) in enumerate(zip(left["runs"], right["runs"], strict=False), 1):
            for column in sorted(one.keys() | other.keys()):
                yield from differ((name, f"run {number} {column}"), one.get(column), other.get(column))
        yield from differ((name, "events"), left["events"], right["events"])


def differ(where: tuple[str, str], one: Any, other: Any) -> Any:
    if one != other:
        yield where, (one, other)
