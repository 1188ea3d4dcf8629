"""The table of hosts has a row for each version, a column for each step, and no cell that is a failure."""

from __future__ import annotations

import pytest

from tests.versions import page
from tests.versions.environments import VERSIONS, chosen
from tests.versions.scenario import STEPS


def test_every_version_has_a_row_and_every_step_a_column() -> None:
    cells = page.read()
    assert tuple(cells) == VERSIONS
    assert {tuple(row) for row in cells.values()} == {tuple(step.column for step in STEPS)}


def test_every_step_is_described_as_it_is_in_the_code() -> None:
    assert page.legend() == [(step.column, step.about) for step in STEPS]


def test_no_cell_is_empty_or_a_failure() -> None:
    assert [cell for row in page.read().values() for cell in row.values() if not cell or cell.startswith("no:")] == []


def test_the_newest_version_is_the_one_that_the_suite_runs_with() -> None:
    from importlib.metadata import version

    assert VERSIONS[-1] == version("hermes-agent")


@pytest.mark.parametrize(
    ("asked", "expected"), [("", []), ("all", list(VERSIONS)), ("0.19.0 0.13.0", ["0.19.0", "0.13.0"])]
)
def test_what_is_asked_for(monkeypatch: pytest.MonkeyPatch, asked: str, expected: list[str]) -> None:
    monkeypatch.setenv("HOSTS", asked)
    assert chosen() == expected


def test_a_version_that_is_not_tried_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOSTS", "0.12.0")
    with pytest.raises(ValueError, match=r"0\.12\.0; known are 0\.13\.0"):
        chosen()
