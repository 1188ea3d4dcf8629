"""What a monitor is told, from how a home stands."""

from __future__ import annotations

import pytest

from hermes_kanban_plugin.dispatch.health import Health, check, paused_note
from hermes_kanban_plugin.dispatch.standing import BoardStanding, Standing, State
from hermes_kanban_plugin.store.flags import Flag

FLAG = Flag("paused", "deploy", "ana", 1)


def standing(state: State = State.SERVING, *boards: BoardStanding) -> Standing:
    return Standing(state, 1, None, None, None, list(boards))


def board(slug: str = "default", paused: Flag | None = None, **counts: int) -> BoardStanding:
    return BoardStanding(slug, f"/{slug}", counts=counts, paused=paused)


@pytest.mark.parametrize(
    ("state", "health"),
    [
        (State.SERVING, Health.HEALTHY),
        (State.ELSEWHERE, Health.HEALTHY),
        (State.SILENT, Health.SILENT),
        (State.HERMES, Health.HERMES),
        (State.DEAD, Health.NOT_SERVED),
        (State.STOPPED, Health.NOT_SERVED),
        (State.NEVER, Health.NOT_SERVED),
    ],
)
def test_every_state_has_a_word(state: State, health: Health) -> None:
    assert check(standing(state), []).health is health


def test_capacity_counts_over_all_boards_and_only_while_something_waits() -> None:
    full = [board(running=2, ready=1), board("other", running=1)]

    assert check(standing(State.SERVING, *full), [3, None]).health is Health.AT_CAPACITY
    assert check(standing(State.SERVING, *full), [4, 3]).health is Health.AT_CAPACITY
    assert check(standing(State.SERVING, *full), [4]).health is Health.HEALTHY
    assert check(standing(State.SERVING, *full), [None, None]).health is Health.HEALTHY
    assert check(standing(State.SERVING, board(running=5)), [3]).health is Health.HEALTHY
    assert check(standing(State.SERVING, board(review=1)), [0]).health is Health.AT_CAPACITY


def test_a_paused_board_counts_when_it_is_asked_about() -> None:
    boards = [board(), board("other", FLAG)]

    assert check(standing(State.SERVING, *boards), []).health is Health.PAUSED
    assert check(standing(State.SERVING, *boards), [], "other").paused == ["other"]
    assert check(standing(State.SERVING, *boards), [], "default").health is Health.HEALTHY
    assert check(standing(State.SILENT, *boards), []).health is Health.SILENT


def test_the_note_names_person_and_reason() -> None:
    assert paused_note(board(paused=FLAG)) == "paused by ana: deploy"
    assert paused_note(board()) is None
