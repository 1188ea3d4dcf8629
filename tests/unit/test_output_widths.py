"""Widths are counted in cells: a character of some scripts takes two."""

from __future__ import annotations

import pytest
from rich.cells import cell_len

from hermes_kanban_plugin.cli import output

WIDE = "世界" * 60 + " done"


@pytest.mark.parametrize("text", [WIDE, "a" * 200, "ä" * 200, "short", "🎉" * 50])
def test_a_shortened_text_fits(text: str) -> None:
    assert cell_len(output.shortened(text, 40)) <= 40
    assert output.shortened("kurz", 40) == "kurz"


@pytest.mark.parametrize("text", [WIDE, "two words " * 30, "世界 " * 60])
def test_labelled_lines_are_no_wider_than_the_terminal(
    text: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    output.print_labelled("why", text, 9)
    lines = capsys.readouterr().out.splitlines()
    assert max(cell_len(line) for line in lines) <= 80
    assert len(lines) > 1
