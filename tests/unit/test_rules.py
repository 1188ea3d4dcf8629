from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as some

from hermes_kanban_plugin import rules
from hermes_kanban_plugin.rules import BlockRoute, route_block

KINDS = some.sampled_from([None, *rules.BLOCK_KINDS])


@pytest.mark.parametrize(
    ("kind", "last", "recurrences", "open_parents", "route"),
    [
        ("needs_input", None, 0, False, BlockRoute("blocked", 1, "blocked")),
        ("needs_input", "needs_input", 1, False, BlockRoute("triage", 2, "block_loop_detected")),
        ("needs_input", "capability", 1, False, BlockRoute("blocked", 1, "blocked")),
        ("capability", "capability", 1, True, BlockRoute("triage", 2, "block_loop_detected")),
        (None, None, 0, False, BlockRoute("blocked", 1, "blocked")),
        (None, None, 1, False, BlockRoute("triage", 2, "block_loop_detected")),
        (None, "transient", 1, False, BlockRoute("blocked", 1, "blocked")),
        ("dependency", None, 0, True, BlockRoute("todo", 0, "dependency_wait")),
        ("dependency", "dependency", 1, True, BlockRoute("todo", 1, "dependency_wait")),
        ("dependency", None, 0, False, BlockRoute("blocked", 1, "blocked")),  # nothing would wake it (W10)
        ("dependency", "dependency", 1, False, BlockRoute("triage", 2, "block_loop_detected")),
    ],
)
def test_where_a_block_leads(
    kind: str | None, last: str | None, recurrences: int, open_parents: bool, route: BlockRoute
) -> None:
    assert route_block(kind, last, recurrences, open_parents=open_parents) == route


@given(kind=KINDS, last=KINDS, recurrences=some.integers(0, 50), open_parents=some.booleans())
def test_a_block_always_has_a_next_event(
    kind: str | None, last: str | None, recurrences: int, open_parents: bool
) -> None:
    route = route_block(kind, last, recurrences, open_parents=open_parents)
    assert route.status in ("todo", "blocked", "triage")
    assert (route.status == "todo") == (kind == "dependency" and open_parents)  # only then a parent wakes it
    assert (route.status == "triage") == (route.event == "block_loop_detected")


@given(kind=KINDS)
def test_the_same_block_again_and_again_ends_in_triage(kind: str | None) -> None:
    last, count, seen = None, 0, []
    for _ in range(rules.BLOCK_RECURRENCE_LIMIT + 1):
        route = route_block(kind, last, count, open_parents=False)
        last, count = kind, route.recurrences
        seen.append(route.status)
    assert seen[0] == "blocked"
    assert seen[-1] == "triage"


@pytest.mark.parametrize(
    ("text", "length", "line"),
    [
        (None, 10, None),
        ("", 10, None),
        (" \n\t ", 10, None),
        ("one\ntwo", 10, "one"),
        ("\n\n  first\nsecond", 10, "first"),
        ("abcdef", 3, "abc"),
        ("a\u2028b", 10, "a"),
    ],
)
def test_first_line(text: str | None, length: int, line: str | None) -> None:
    assert rules.first_line(text, length) == line


@given(text=some.text(), length=some.integers(1, 20))
def test_first_line_is_one_short_line(text: str, length: int) -> None:
    line = rules.first_line(text, length)
    if text.strip():
        assert line is not None
        assert len(line) <= length
        assert len(line.splitlines()) == 1
        assert line in text
    else:
        assert line is None


@pytest.mark.parametrize(
    ("text", "ids"),
    [
        ("made t_0a1b2c3d and t_deadbeef.", ["t_0a1b2c3d", "t_deadbeef"]),
        ("t_0a1b2c3d, again t_0a1b2c3d", ["t_0a1b2c3d"]),
        ("t_short1 xt_0a1b2c3d T_0A1B2C3D t_0a1b2c3g", []),
        ("t_0a1b2c3d4e5f", ["t_0a1b2c3d4e5f"]),
        ("", []),
    ],
)
def test_task_references(text: str, ids: list[str]) -> None:
    assert rules.task_references(text) == ids
