"""The pages hang together: links lead somewhere, versions agree, the targets of make exist."""

from __future__ import annotations

import re
from typing import Any

import hermes_kanban_plugin

LINK = re.compile(r"\[[^\]]+\]\(([^)\s]+)\)")


def anchor_of(heading: str) -> str:
    """Return the anchor that a heading gets on common Git hosts."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def test_every_relative_link_leads_to_a_file_and_a_heading(docs: Any) -> None:
    broken, seen = [], 0
    for page in docs.pages():
        for target in LINK.findall(page.prose()):
            if re.match(r"[a-z]+:", target):
                continue
            seen += 1
            name, _, anchor = target.partition("#")
            path = (page.path.parent / name).resolve() if name else page.path
            if not path.exists() or (
                anchor
                and anchor
                not in {anchor_of(heading) for heading in docs.page(str(path.relative_to(docs.root))).headings()}
            ):
                broken.append((page.path.name, target))
    assert broken == []
    assert seen > 50


def test_every_page_below_docs_is_linked_from_the_start_page(docs: Any) -> None:
    start = docs.page("docs/index.md")
    linked = {(start.path.parent / target.partition("#")[0]).resolve() for target in LINK.findall(start.prose())}
    pages = {path.resolve() for path in (docs.root / "docs").rglob("*.md")} - {start.path}
    assert sorted(path.name for path in pages - linked) == []


def test_the_newest_version_of_the_changelog_is_the_packages(docs: Any) -> None:
    versions = re.findall(r"^## \[(\d+\.\d+\.\d+)\]", docs.page("CHANGELOG.md").text, re.MULTILINE)
    assert versions[0] == hermes_kanban_plugin.__version__


def test_every_make_target_that_a_page_names_exists(docs: Any) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (docs.root / "Makefile").read_text(), re.MULTILINE))
    calls = re.compile(r"(?:^|`)make ([a-z-]+)", re.MULTILINE)
    named = {name for page in docs.pages() for name in calls.findall(page.text)}
    assert {"demo", "test", "check", "help"} <= named
    assert named <= targets


def test_every_test_that_the_guarantees_name_exists(docs: Any) -> None:
    page = docs.page("docs/explanation/guarantees.md")
    named = re.findall(r"`(tests/[\w/.]+)`", page.text)
    assert page.text.count("*Shown by*") == 7
    assert len(named) >= 6
    assert [name for name in named if not (docs.root / name).exists()] == []
