"""The first start on a board with a backlog: it is announced, and started step by step."""

from __future__ import annotations

import pytest

from hermes_kanban_plugin import identity, locations
from hermes_kanban_plugin.board import Board
from hermes_kanban_plugin.dispatch.loop import Dispatcher
from hermes_kanban_plugin.manager import Manager
from hermes_kanban_plugin.runtime import Runtime
from hermes_kanban_plugin.store import dispatchers
from hermes_kanban_plugin.testing import FakeClock
from tests.conftest import Workshop


def start(workshop: Workshop, clock: FakeClock) -> Dispatcher:
    """A dispatcher that leads and has looked at its boards for the first time."""
    serving = Dispatcher(Runtime(workshop.home, clock, Manager(discover=False)))
    look(serving)
    return serving


def look(serving: Dispatcher) -> None:
    serving._leadership.note_tick(locations.serving_boards(serving.runtime.root))
    serving._greet_new_boards()


def backlog(board: Board, count: int, assignee: str | None = "lane") -> None:
    for number in range(count):
        board.create_task(title=str(number), assignee=assignee)


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if "are waiting" in record.getMessage()]


def test_an_unknown_backlog_is_announced_and_ramped(
    workshop: Workshop, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    workshop.configure({"lane": "true"})
    backlog(workshop.board, 5)
    serving = start(workshop, clock)
    assert said(caplog) == [
        'action=ramp board=default waiting=5 msg="5 tasks are waiting; they are started ramped: 1, 2, 4 …"'
    ]
    assert serving._slots() == 1
    clock.advance(1)
    assert serving._slots() == 3
    clock.advance(60)
    assert serving._slots() is None
    look(serving)
    assert len(said(caplog)) == 1
    serving.runtime.close()


@pytest.mark.parametrize("count", [0, 1])
def test_one_task_is_no_backlog(
    workshop: Workshop, clock: FakeClock, caplog: pytest.LogCaptureFixture, count: int
) -> None:
    workshop.configure({"lane": "true"})
    backlog(workshop.board, count)
    serving = start(workshop, clock)
    assert (said(caplog), serving._slots()) == ([], None)
    serving.runtime.close()


def test_what_nobody_can_start_is_not_counted(
    workshop: Workshop, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    workshop.configure({"lane": "true"})
    backlog(workshop.board, 3, "somebody-at-a-terminal")
    backlog(workshop.board, 3, None)
    backlog(workshop.board, 1)
    serving = start(workshop, clock)
    assert said(caplog) == []
    serving.runtime.close()


def test_the_default_assignee_counts(workshop: Workshop, clock: FakeClock, caplog: pytest.LogCaptureFixture) -> None:
    workshop.configure({"lane": "true"}, {"default_assignee": "Lane"})
    backlog(workshop.board, 2, None)
    serving = start(workshop, clock)
    assert said(caplog) == [
        'action=ramp board=default waiting=2 msg="2 tasks are waiting; they are started ramped: 1, 2, 4 …"'
    ]
    serving.runtime.close()


def test_a_board_that_was_served_before_starts_at_once(
    workshop: Workshop, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    workshop.configure({"lane": "true"})
    backlog(workshop.board, 5)
    before, _ = dispatchers.begin(workshop.board.writer, identity.capture(1), clock.now())
    dispatchers.end(workshop.board.writer, before, "SIGTERM", clock.now())
    serving = start(workshop, clock)
    assert (said(caplog), serving._slots()) == ([], None)
    serving.runtime.close()
