"""How a home is dispatched, from what is seen of it: the rule by itself."""

from __future__ import annotations

import pytest

from hermes_kanban_plugin.dispatch.standing import SILENT_SECONDS, BoardStanding, State, board_of, judge
from hermes_kanban_plugin.identity import ProcessIdentity, Verdict
from hermes_kanban_plugin.store.dispatchers import Term

NOW = 1_000_000
ALIVE, DEAD, UNKNOWN = Verdict.ALIVE, Verdict.DEAD, Verdict.UNKNOWN


def board(verdict: Verdict | None, age: int = 1, *, ended: bool = False, pid: int = 7) -> BoardStanding:
    if verdict is None:
        return BoardStanding("b", "/b")
    who = ProcessIdentity("host", "boot", "space", pid, 1.0)
    term = Term(1, who, NOW - 500, NOW - age, NOW - age if ended else None)
    return BoardStanding("b", "/b", term, verdict)


@pytest.mark.parametrize(
    ("boards", "locked", "ours", "state"),
    [
        ([], False, False, State.NEVER),
        ([board(None)], False, False, State.NEVER),
        ([], True, False, State.HERMES),
        ([], True, True, State.SERVING),  # it leads and has not noted a tick yet
        ([board(ALIVE)], True, True, State.SERVING),
        ([board(ALIVE)], False, False, State.SERVING),  # a system that does not tell who holds a lock
        ([board(ALIVE)], True, False, State.HERMES),
        ([board(ALIVE, SILENT_SECONDS + 1)], True, True, State.SILENT),
        ([board(DEAD)], False, False, State.DEAD),
        ([board(DEAD)], True, True, State.SERVING),
        ([board(ALIVE, ended=True)], False, False, State.STOPPED),
        ([board(DEAD, ended=True)], False, False, State.STOPPED),
        ([board(UNKNOWN)], False, False, State.ELSEWHERE),
        ([board(UNKNOWN, SILENT_SECONDS + 1)], False, False, State.DEAD),
        ([board(DEAD, 5), board(ALIVE, 30, pid=8)], True, True, State.SERVING),
        ([board(DEAD, 50), board(DEAD, 5, ended=True)], False, False, State.STOPPED),
        ([board(DEAD, 5), board(DEAD, 50, ended=True)], False, False, State.DEAD),
        ([board(None), board(UNKNOWN)], False, False, State.ELSEWHERE),
    ],
)
def test_the_state(boards: list[BoardStanding], locked: bool, ours: bool, state: State) -> None:
    assert judge(boards, locked, ours, NOW)[0] is state


@pytest.mark.parametrize(("only", "state"), [(None, State.SERVING), ("b", State.SERVING), ("another", State.OTHERS)])
def test_one_that_was_told_to_serve_another_board_does_not_serve_this_one(only: str | None, state: State) -> None:
    assert judge([board(None)], True, True, NOW, only)[0] is state
    assert judge([board(DEAD)], True, True, NOW, only)[0] is state


@pytest.mark.parametrize(
    ("command", "only"),
    [
        ("hermes-kanban dispatcher", None),
        ("hermes-kanban --board two dispatcher", "two"),
        ("python -m hermes_kanban_plugin.cli.main --board=two dispatcher --drain", "two"),
        ("hermes-kanban dispatcher --board", None),
    ],
)
def test_the_board_is_read_from_the_command_line(command: str, only: str | None) -> None:
    assert board_of(command.split()) == only


def test_the_term_is_that_of_the_living_one() -> None:
    _, term = judge([board(DEAD, 1), board(ALIVE, 30, pid=8)], True, True, NOW)
    assert term is not None
    assert term.dispatcher.pid == 8
