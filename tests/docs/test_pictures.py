"""The terminal pictures: each there as picture and as text, and nothing wider than 80 columns."""

from __future__ import annotations

import re
from typing import Any

import pytest
from rich.cells import cell_len

from bench.pictures import COLUMNS

NAMES = ("doctor", "stats", "status", "watch", "why")


def test_the_folder_holds_these_pictures_and_a_page_shows_each(docs: Any) -> None:
    folder = docs.root / "docs" / "pictures"
    assert sorted(path.name for path in folder.iterdir()) == sorted(
        f"{name}.{kind}" for name in NAMES for kind in ("svg", "txt")
    )
    page = docs.page("docs/how-to/look-after-a-board.md").text
    assert [name for name in NAMES if f"../pictures/{name}.svg" not in page] == []


@pytest.mark.parametrize("name", NAMES)
def test_no_line_is_wrapped_and_nothing_of_the_workplace_is_seen(docs: Any, name: str) -> None:
    text = (docs.root / "docs" / "pictures" / f"{name}.txt").read_text(encoding="utf-8")
    lines = text.splitlines()
    assert lines[0].startswith(f"$ hermes-kanban {name}")
    assert len(lines) > 5
    assert max(cell_len(line) for line in lines) <= COLUMNS == 80
    assert "/tmp" not in text
    assert "\x1b" not in text
    assert "Traceback" not in text


@pytest.mark.parametrize("name", NAMES)
def test_a_picture_fetches_nothing(docs: Any, name: str) -> None:
    svg = (docs.root / "docs" / "pictures" / f"{name}.svg").read_text(encoding="utf-8")
    assert "<svg" in svg
    assert re.findall(r"(?:url\(|href=|src=)[\"']?https?:", svg) == []
