"""What stays wrong is told when it changes and at growing intervals."""

from __future__ import annotations

from itertools import pairwise

from hermes_kanban_plugin.logbook import LONGEST_PAUSE_SECONDS, PAUSE_SECONDS, Complaints


def told(complaints: Complaints, text: str, start: float, seconds: int) -> list[int]:
    return [second for second in range(seconds) if complaints.due("board b", text, start + second)]


def test_the_same_is_told_ever_more_seldom() -> None:
    complaints = Complaints()
    times = told(complaints, "damaged", 5.0, 86_400)
    assert times[:4] == [0, 60, 180, 420]
    assert max(later - earlier for earlier, later in pairwise(times)) == LONGEST_PAUSE_SECONDS
    assert len(times) < 40


def test_news_and_what_comes_back_are_told_at_once() -> None:
    complaints = Complaints()
    assert complaints.due("board b", "damaged", 0)
    assert complaints.due("board c", "damaged", 0)
    assert complaints.due("board b", "locked", 1)
    assert not complaints.due("board b", "locked", PAUSE_SECONDS)
    complaints.settle("board b")
    assert complaints.due("board b", "locked", 3)
