"""The table in docs/reference/hosts.md, from what the last runs found: ``python -m tests.versions.page`` writes it."""

from __future__ import annotations

import json
import re
import sys

from tests.versions.environments import FOLDER, PAGE, VERSIONS
from tests.versions.scenario import STEPS

COLUMNS = [step.column for step in STEPS]
SECTION = re.compile(r"(?<=^## What works\n\n).*?(?=\n## )", re.MULTILINE | re.DOTALL)
LEGEND = re.compile(r"(?<=^## What was tried\n\n).*?(?=\n## )", re.MULTILINE | re.DOTALL)


def read() -> dict[str, dict[str, str]]:
    """Return the cells of the page's table, by version and column."""
    (section,) = SECTION.findall(PAGE.read_text(encoding="utf-8"))
    head, _, *rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in section.split("\n") if line]
    return {row[0]: dict(zip(head[1:], row[1:], strict=True)) for row in rows}


def legend() -> list[tuple[str, str]]:
    """Return what the page says about each column, in its order."""
    (section,) = LEGEND.findall(PAGE.read_text(encoding="utf-8"))
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in section.split("\n") if line]
    return [(column, about) for column, about in rows[2:]]


def write(cells: dict[str, dict[str, str]]) -> None:
    """Put a table and its legend into the page."""
    text = PAGE.read_text(encoding="utf-8")
    table = [["Hermes", *COLUMNS], ["---"] * (len(COLUMNS) + 1)]
    table += [[version, *(found[column] for column in COLUMNS)] for version, found in cells.items()]
    text = SECTION.sub(lambda _: _lines(table), text)
    meaning = [["column", "what was tried"], ["---", "---"], *([step.column, step.about] for step in STEPS)]
    PAGE.write_text(LEGEND.sub(lambda _: _lines(meaning), text), encoding="utf-8")


def _lines(rows: list[list[str]]) -> str:
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def main() -> None:
    """Write the table, or say which version was not run or fails."""
    found = {}
    for version in VERSIONS:
        try:
            found[version] = json.loads((FOLDER / f"{version}.json").read_text(encoding="utf-8"))
        except FileNotFoundError:
            sys.exit(f"{version} was not run yet: make test-hosts HOSTS={version}")
        failed = [column for column, cell in found[version].items() if cell.startswith("no:")]
        if failed:
            sys.exit(f"{version} fails at {', '.join(failed)}: make test-hosts HOSTS={version}")
    write(found)


if __name__ == "__main__":
    main()
