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
    from collections.abc import Iterable, Sequence

    from pydantic import BaseModel
    from rich.console import Console
    from rich.text import Text

_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
LEAST_WIDTH, MOST_WIDTH = 40, 100
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
    """Return a value as text that cannot steer the terminal."""
    return "" if value is None else _CONTROLS.sub("\ufffd", str(value))


def plain(value: object) -> Text:
    """Return a value as text that cannot style itself nor steer the terminal."""
    from rich.text import Text

    text = clean(value)
    return Text(text, style=STYLES.get(text, ""))


def print_json(value: BaseModel | Sequence[BaseModel] | dict[str, Any] | list[Any]) -> None:
    """Print models or plain values as JSON."""
    print(json.dumps(value, default=lambda model: model.model_dump(mode="json"), ensure_ascii=False, indent=2))


def print_table(columns: Sequence[str], rows: Iterable[Sequence[object]], empty: str) -> None:
    """Print a table, or a sentence when there is nothing to show."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, no_wrap=column != "title" and column != "error", overflow="fold")
    for row in rows:
        table.add_row(*(plain(cell) for cell in row))
    if table.row_count:
        console().print(table)
    else:
        console().print(empty)


def print_line(*parts: object) -> None:
    """Print one line made of values, each shown as text; in a terminal the words for a status have a colour."""
    if not sys.stdout.isatty():
        return print(" ".join(clean(part) for part in parts))
    from rich.text import Text

    return console().print(Text(" ").join(plain(part) for part in parts))


def moment(seconds: int | None) -> str:
    """Return an epoch second as local date and time."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds)) if seconds else ""


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
    lines = textwrap.wrap(whole, width() - indent, break_on_hyphens=False) if _is_bounded() else [whole]
    print_line(label, " " * (indent - len(label) - 1) + (lines[0] if lines else ""))
    for line in lines[1:]:
        print_line(f"{'':<{indent}}{line}")


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
    return text if len(text) <= cells or not _is_bounded() else f"{text[: max(0, cells - 1)].rstrip()}\u2026"
