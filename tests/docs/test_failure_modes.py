"""The list of failure modes names every row of its groups once, and tests that exist; no test of a row is left out."""

from __future__ import annotations

import ast
import re
from typing import Any

ROWS = {"D": 11, "E": 17, "F": 12, "J": 10, "K": 8}
STATES = ("handled", "partly", "not handled", "not ours")


def table(docs: Any) -> list[list[str]]:
    sections = docs.page("docs/reference/failure-modes.md").sections()
    return [row for text in sections.values() for row in docs.rows(text) if re.fullmatch(r"[A-Z]\d+", row[0])]


def row_tests(docs: Any) -> set[str]:
    paths = (docs.root / "tests" / "failure_modes").glob("test_*.py")
    return {
        node.name
        for path in paths
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    }


def test_every_row_of_its_groups_stands_there_once(docs: Any) -> None:
    assert [row[0] for row in table(docs)] == [
        f"{group}{n}" for group, last in ROWS.items() for n in range(1, last + 1)
    ]


def test_every_row_has_a_state_and_a_reason_where_it_is_open(docs: Any) -> None:
    for row, _, tests, state in table(docs):
        word = next((one for one in STATES if state.startswith(one)), None)
        assert word, f"{row}: {state}"
        assert word == "handled" or ": " in state, f"{row} does not say why"
        assert bool(tests) or word != "handled", f"{row} is handled by no test"


def test_every_test_that_is_named_exists_and_carries_the_id_of_its_row(docs: Any) -> None:
    existing = row_tests(docs)
    for row, _, tests, _ in table(docs):
        for name in re.findall(r"`(\w+)`", tests):
            assert name in existing, f"{row} names {name}, which does not exist"
    named = {name: row for row, _, tests, _ in table(docs) for name in re.findall(r"`(\w+)`", tests)}
    strangers = {name for name, row in named.items() if f"{row}_" not in name}
    assert strangers == {
        "test_no_sequence_of_ends_starts_a_task_too_often_or_opens_its_breaker",
        "test_I5_no_cause_whatever_starts_a_task_more_often_than_the_bound",
    }


def test_no_test_of_a_row_is_left_out(docs: Any) -> None:
    text = docs.page("docs/reference/failure-modes.md").text
    of_rows = {name for name in row_tests(docs) if re.match(r"test_[DEFJK]\d+_", name)}
    assert len(of_rows) > 40
    assert sorted(name for name in of_rows if f"`{name}`" not in text) == []
