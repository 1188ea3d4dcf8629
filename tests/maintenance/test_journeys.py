"""The way of a card over the board, from rows of its history."""

from __future__ import annotations

from typing import Any

from hermes_kanban_plugin.maintenance.journeys import Round, Stay, Step, read


def journey(*steps: tuple[int, str, Any] | tuple[int, str], status: str, created: int = 0) -> Any:
    return read([Step(step[1], step[2] if len(step) > 2 else None, step[0]) for step in steps], created, status)


def test_from_created_to_done() -> None:
    found = journey(
        (0, "created", {"status": "ready"}), (10, "claimed"), (11, "spawned"), (15, "heartbeat"), (40, "completed"),
        status="done",
    )  # fmt: skip

    assert found.stays == [Stay("ready", 0, 10), Stay("running", 10, 40), Stay("done", 40, None)]
    assert found.rounds == [Round(0, 10, 40)]


def test_a_lost_run_goes_back_to_its_column_and_the_first_start_counts() -> None:
    found = journey(
        (0, "created", {"status": "ready"}), (10, "claimed"), (20, "reclaimed"), (30, "claimed"), (40, "completed"),
        status="done",
    )  # fmt: skip

    assert [stay.column for stay in found.stays] == ["ready", "running", "ready", "running", "done"]
    assert found.rounds == [Round(0, 10, 40)]


def test_an_unfinished_review_stays_a_review() -> None:
    found = journey((0, "created", {"status": "review"}), (5, "claimed", {"source_status": "review"}), (9, "crashed"),
                    status="review")  # fmt: skip

    assert found.current == Stay("review", 9, None)


def test_a_tripped_breaker_is_blocked() -> None:
    found = journey((0, "created", {"status": "ready"}), (1, "claimed"), (5, "crashed"), (5, "gave_up"),
                    (9, "unblocked", {"actor": "me"}), status="ready")  # fmt: skip

    assert found.stays == [
        Stay("ready", 0, 1), Stay("running", 1, 5), Stay("ready", 5, 5), Stay("blocked", 5, 9), Stay("ready", 9, None),
    ]  # fmt: skip


def test_a_reclaim_after_a_completion_by_hand_does_not_reopen() -> None:
    found = journey((0, "created", {"status": "ready"}), (1, "claimed"), (5, "completed"), (5, "reclaimed"),
                    status="done")  # fmt: skip

    assert found.current == Stay("done", 5, None)


def test_a_card_that_is_opened_again_begins_a_new_round() -> None:
    found = journey(
        (0, "created", {"status": "ready"}), (1, "claimed"), (5, "completed"),
        (100, "status", {"status": "ready"}), (130, "claimed"), (150, "completed"), status="done",
    )  # fmt: skip

    assert found.rounds == [Round(0, 1, 5), Round(100, 130, 150)]


def test_a_completion_by_hand_was_never_started() -> None:
    assert journey((0, "created", {"status": "ready"}), (7, "completed"), status="done").rounds == [Round(0, None, 7)]


def test_a_link_that_sent_a_card_back_to_todo_shows_in_what_follows() -> None:
    promoted = journey((0, "created", {"status": "ready"}), (5, "linked"), (20, "promoted"), status="ready")
    waiting = journey((0, "created", {"status": "ready"}), (5, "linked"), status="todo")
    untouched = journey((0, "created", {"status": "ready"}), (5, "linked"), (9, "claimed"), status="running")

    assert promoted.stays == [Stay("ready", 0, 5), Stay("todo", 5, 20), Stay("ready", 20, None)]
    assert waiting.stays == [Stay("ready", 0, 5), Stay("todo", 5, None)]
    assert untouched.stays == [Stay("ready", 0, 9), Stay("running", 9, None)]


def test_every_gate_of_the_host_is_known() -> None:
    gates = [("scheduled", "scheduled"), ("dependency_wait", "todo"), ("block_loop_detected", "triage"),
             ("specified", "todo"), ("archived", "archived"), ("blocked", "blocked")]  # fmt: skip
    for kind, column in gates:
        assert journey((0, "created", {"status": "ready"}), (3, kind), status=column).current == Stay(column, 3, None)


def test_the_row_wins_over_a_history_that_does_not_know() -> None:
    assert journey(status="blocked", created=50).stays == [Stay("blocked", 50, None)]
    assert journey((60, "unheard_of"), status="ready", created=50).stays == [Stay("ready", 50, None)]
    moved = journey((50, "created", {"status": "ready"}), (60, "claimed"), status="triage", created=50)
    assert moved.current == Stay("triage", 60, None)


def test_a_clock_that_was_set_back_takes_no_time_away() -> None:
    found = journey((100, "created", {"status": "ready"}), (50, "claimed"), (200, "completed"), status="done",
                    created=100)  # fmt: skip

    assert found.stays == [Stay("ready", 100, 100), Stay("running", 100, 200), Stay("done", 200, None)]


def test_seconds_of_a_stay_within_a_window() -> None:
    stay = Stay("ready", 10, 20)

    assert [stay.seconds_within(*window) for window in [(0, 100), (12, 15), (0, 10), (15, 100)]] == [10, 3, 0, 5]
    assert Stay("ready", 10, None).seconds_within(0, 100) == 90
