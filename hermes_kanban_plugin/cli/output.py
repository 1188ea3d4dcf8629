"""What people see: tables and lines with rich, or JSON. Text from the board is shown as text, whatever it contains."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import sys
import textwrap
import time
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from pydantic import BaseModel
    from rich.console import Console
    from rich.text import Text

# What moves the cursor, and what lets a text be read in another order than it is written in (or not at all).
_CONTROLS = re.compile(
    "[\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f\u061c\u200b\u200e\u200f\u202a-\u202e\u2060\u2066-\u2069\ufeff]"
)
_SPACES = re.compile(r"\s")
LEAST_WIDTH, MOST_WIDTH = 40, 100
_LONG = ("title", "error", "why")
COLUMNS = ("running", "ready", "review", "blocked", "triage", "todo", "scheduled", "done")
STYLES = {
    "ready": "cyan",
    "running": "yellow",
    "done": "green",
    "blocked": "red",
    "triage": "magenta",
    "completed": "green",
    "crashed": "red",
    "timed_out": "red",
    "gave_up": "red",
    "reclaimed": "yellow",
    "critical": "bold red",
    "error": "red",
    "warning": "yellow",
    "info": "cyan",
}


@cache
def _terminal() -> type[Console]:
    from rich.console import Console  # late: most of a quick command's time would go into this import

    class Terminal(Console):
        """A console that leaves a broken pipe to the command's entry, which knows the exit status."""

        def on_broken_pipe(self) -> None:
            """Let whoever ends the process know."""
            raise BrokenPipeError

    return Terminal


def console() -> Console:
    """Return the console for standard output; what a chat captures is text, whatever colours the terminal has."""
    captured = isinstance(sys.stdout, io.StringIO)
    return _terminal()(highlight=False, soft_wrap=True, force_terminal=False if captured else None)


def clean(value: object) -> str:
    """Return a value as one line of text that can neither steer the terminal nor pass for a line of ours."""
    return "" if value is None else _SPACES.sub(" ", _CONTROLS.sub("\ufffd", str(value)))


def addressed(text: str, board: str | None) -> str:
    """Return a text whose commands of ours name a board, unless it is the current one (or None)."""
    from hermes_kanban_plugin import locations
    from hermes_kanban_plugin.diagnosis.wording import addressed_text
    from hermes_kanban_plugin.errors import KanbanError

    try:
        current = locations.locate().slug
    except KanbanError:
        current = None  # what is being explained may be just that
    return text if board in (None, "", current) else addressed_text(text, str(board))


def plain(value: object) -> Text:
    """Return a value as text that cannot style itself nor steer the terminal."""
    from rich.text import Text

    text = clean(value)
    return Text(text, style=STYLES.get(text, ""))


def print_json(value: BaseModel | Sequence[BaseModel] | dict[str, Any] | list[Any]) -> None:
    """Print models or plain values as JSON."""
    print(json.dumps(value, default=lambda model: model.model_dump(mode="json"), ensure_ascii=False, indent=2))


def print_table(columns: Sequence[str], rows: Iterable[Sequence[object]], empty: str) -> None:
    """Print a table, or a sentence when there is nothing to show; for a file or a program no row is folded."""
    listed = list(rows)
    if not listed:
        return print_line(empty)
    if not (_is_bounded() or isinstance(sys.stdout, io.StringIO)):
        return _print_plainly(columns, listed)
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, no_wrap=column not in _LONG, overflow="fold")
    for row in listed:
        table.add_row(*(plain(cell) for cell in row))
    return console().print(table)


def _print_plainly(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print aligned columns without rich, which takes long for a board of many thousand tasks."""
    from rich.cells import cell_len

    lines = [list(columns), *([clean(cell) for cell in row] for row in rows)]
    widths = [
        max(len(cell) if cell.isascii() else cell_len(cell) for cell in cells) for cells in zip(*lines, strict=True)
    ]
    for line in lines:
        padded = (cell + " " * (width - cell_len(cell)) for cell, width in zip(line, widths, strict=True))
        print("  ".join(padded).rstrip())


def print_line(*parts: object) -> None:
    """Print one line made of values, each shown as text; in a terminal the words for a status have a colour."""
    if not sys.stdout.isatty():
        return print(" ".join(clean(part) for part in parts))
    from rich.text import Text

    return console().print(Text(" ").join(plain(part) for part in parts))


def print_text(label: str, value: object) -> None:
    """Print a text that may have several lines; all but the first are indented, so that none passes for one of ours."""
    first, *more = str(value).splitlines() or [""]
    print_line(label, first)
    for line in more:
        print_line(f"    {line}")


def moment(seconds: int | None) -> str:
    """Return an epoch second as local date and time."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds)) if seconds else ""


def counted(counts: Mapping[str, int]) -> str:
    """Return how many tasks each column holds, those that nobody knows too: ``2 running, 1 ready``."""
    names = [*(name for name in COLUMNS if name in counts), *sorted(set(counts) - set(COLUMNS))]
    return ", ".join(f"{counts[name]} {clean(name)}" for name in names if counts[name])


def span(start: int | None, end: int | None) -> str:
    """Return the time between two epoch seconds for people."""
    if start is None or end is None:
        return ""
    seconds = max(0, end - start)
    for size, unit, smaller, part in ((86400, "d", 3600, "h"), (3600, "h", 60, "m"), (60, "m", 1, "s")):
        if seconds >= size:
            return f"{seconds // size}{unit} {seconds % size // smaller}{part}"
    return f"{seconds}s"


def print_labelled(label: str, text: str, indent: int) -> None:
    """Print a text beside a label, further lines of it below; one line where nobody says how wide it may be."""
    whole = " ".join(clean(text).split())
    lines = _wrapped(whole, width() - indent) if _is_bounded() else [whole]
    print_line(label, " " * (indent - len(label) - 1) + (lines[0] if lines else ""))
    for line in lines[1:]:
        print_line(f"{'':<{indent}}{line}")


def _wrapped(text: str, cells: int) -> list[str]:
    """Break a text into lines of so many cells at most; a character of some scripts takes two."""
    if text.isascii():
        return textwrap.wrap(text, cells, break_on_hyphens=False)
    from rich.text import Text

    return [line.plain.rstrip() for line in Text(text).wrap(console(), cells)]


def print_command(command: str, indent: int) -> None:
    """Print a command below a text, in one piece, so that it can be copied; in a terminal it has a colour."""
    line = f"{'':<{indent}}{clean(command)}"
    if not sys.stdout.isatty():
        return print(line)
    from rich.text import Text

    return console().print(Text(line, style="cyan"))


def width() -> int:
    """Return how wide a line may be: the terminal's width, within reason."""
    return max(LEAST_WIDTH, min(shutil.get_terminal_size().columns, MOST_WIDTH))


def _is_bounded() -> bool:
    return sys.stdout.isatty() or bool(os.environ.get("COLUMNS"))


def cut(text: str, cells: int) -> str:
    """Return a text that fits, with an ellipsis where it was cut; whole where nobody says how wide it may be."""
    return shortened(text, cells) if _is_bounded() else text


def shortened(text: str, cells: int) -> str:
    """Return a text of at most so many cells, with an ellipsis where it was cut."""
    if text.isascii() and len(text) <= cells:
        return text
    from rich.cells import cell_len, set_cell_size

    if cell_len(text) <= cells:
        return text
    return f"{set_cell_size(text, max(0, cells - 1)).rstrip()}\u2026"
