"""What a worker used: added up, written with its signs of life and when it ends (failure mode K5)."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING, Any

import pytest

from hermes_kanban_plugin.store.outcomes import Handoff
from hermes_kanban_plugin.worker import assignment
from hermes_kanban_plugin.worker.reporting import Reporter
from hermes_kanban_plugin.worker.usage import Usage

if TYPE_CHECKING:
    from tests.worker.conftest import Post

ANSWER = {"prompt_tokens": 100, "input_tokens": 20, "output_tokens": 7, "total_tokens": 107}


@pytest.mark.parametrize(
    ("said", "sum_"),
    [
        (ANSWER, (100, 7)),  # what came from a cache was sent too
        ({"input_tokens": 5, "completion_tokens": 6.0}, (5, 6)),
        (None, (0, 0)),
        ([], (0, 0)),
        ({"prompt_tokens": "many", "output_tokens": -3}, (0, 0)),
        ({"prompt_tokens": True, "output_tokens": float("inf")}, (0, 0)),
        ({"prompt_tokens": float("nan")}, (0, 0)),
    ],
)
def test_what_a_host_says_is_added_as_far_as_it_is_numbers(said: Any, sum_: tuple[int, int]) -> None:
    assert Usage().plus(said) == sum_
    assert Usage(1, 2).plus(said) == (1 + sum_[0], 2 + sum_[1])


def noted(post: Post) -> tuple[int | None, int | None]:
    known = post.known()
    return known["input_tokens"], known["output_tokens"]


def test_it_is_written_with_the_signs_of_life(post: Post) -> None:
    post.accept()
    reporter = Reporter(post.assignment, post.clock)
    reporter.answered(ANSWER)
    reporter.report()
    assert noted(post) == (100, 7)
    reporter.answered(ANSWER)
    reporter.report()  # within the same minute nothing is written
    assert noted(post) == (100, 7)
    post.clock.advance(61)
    reporter.report()
    assert noted(post) == (200, 14)


def test_the_rest_is_written_when_the_process_ends_although_its_run_ended_before(post: Post) -> None:
    post.accept()
    reporter = Reporter(post.assignment, post.clock)
    reporter.answered(ANSWER)
    post.board.complete_run(post.lease, Handoff("done"))
    reporter.process_ends()
    assert noted(post) == (100, 7)


def test_where_nothing_is_new_nothing_is_written(post: Post, mocker: Any) -> None:
    post.accept()
    note = mocker.spy(assignment, "note_usage")
    reporter = Reporter(post.assignment, post.clock)
    reporter.process_ends()
    reporter.answered(ANSWER)
    reporter.report()
    reporter.process_ends()
    assert note.call_count == 0


def test_a_board_that_cannot_be_written_does_not_keep_a_process_from_its_end(post: Post, mocker: Any) -> None:
    mocker.patch.object(assignment, "note_usage", side_effect=sqlite3.OperationalError("database is locked"))
    reporter = Reporter(post.assignment, post.clock)
    reporter.answered(ANSWER)
    reporter.process_ends()


def test_another_run_of_the_task_keeps_its_own(post: Post) -> None:
    post.accept()
    reporter = Reporter(post.assignment, post.clock)
    reporter.answered(ANSWER)
    forged = post.assignment._replace(lease=post.assignment.lease._replace(lock="other:1:x"))
    assignment.note_usage(forged, Usage(9, 9))
    assert noted(post) == (None, None)
