"""What the tests of the documentation share: the pages, their sections, tables and code blocks."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parents[2]
_FENCE = re.compile(r"^( *)```(\w*)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)


class Page(NamedTuple):
    """One Markdown file."""

    path: Path
    text: str

    def code(self, language: str) -> list[str]:
        """Return the code blocks of one language, in order."""
        return [body for _, named, body in _FENCE.findall(self.text) if named == language]

    def prose(self) -> str:
        """Return the page without its code blocks."""
        return _FENCE.sub("", self.text)

    def headings(self) -> list[str]:
        return re.findall(r"^#+ (.+)$", self.prose(), re.MULTILINE)

    def sections(self) -> dict[str, str]:
        """Return the text below each heading of the second level, by the heading."""
        parts = re.split(r"^## (.+)$", self.prose(), flags=re.MULTILINE)
        return dict(zip(parts[1::2], parts[2::2], strict=True))


def rows_of(text: str) -> list[list[str]]:
    """Return the cells of all table rows of a text, without heads and rules."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    heads = {number - 1 for number, line in enumerate(lines) if set(line) <= set("|-: ")}
    rules = {number + 1 for number in heads}
    kept = (line for number, line in enumerate(lines) if number not in heads | rules)
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in kept]


class Documentation(NamedTuple):
    """The repository's pages."""

    root: Path

    def page(self, name: str) -> Page:
        path = self.root / name
        return Page(path, path.read_text(encoding="utf-8"))

    def pages(self) -> list[Page]:
        """Return every page of the repository: those at its top and those below docs/."""
        paths = [*self.root.glob("*.md"), *(self.root / "docs").rglob("*.md")]
        return [self.page(str(path.relative_to(self.root))) for path in sorted(paths)]

    def rows(self, text: str) -> list[list[str]]:
        return rows_of(text)


@pytest.fixture
def docs() -> Documentation:
    return Documentation(ROOT)
