"""The pictures of the dashboard: each is shown by its page, and small enough to be kept in the repository."""

from __future__ import annotations

import re
from typing import Any

LARGEST_BYTES = 120_000


def test_each_picture_is_shown_and_is_small(docs: Any) -> None:
    folder = docs.root / "docs" / "screenshots"
    page = docs.page("docs/how-to/use-the-dashboard.md").text
    pictures = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert set(re.findall(r"\.\./screenshots/([\w-]+\.png)", page)) == set(pictures)
    for name, content in pictures.items():
        assert content.startswith(b"\x89PNG"), name
        assert len(content) < LARGEST_BYTES, name


def test_each_picture_has_words_for_those_who_cannot_see_it(docs: Any) -> None:
    page = docs.page("docs/how-to/use-the-dashboard.md").text
    alternatives = re.findall(r"!\[([^\]]*)\]|alt=\"([^\"]*)\"", page)
    assert len(alternatives) >= 5
    assert all(len(one or other) > 20 for one, other in alternatives)
