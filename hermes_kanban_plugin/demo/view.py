"""What the demo shows: the columns of the board while it works, and the timeline of its runs afterwards."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich import box
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rich.console import Console, RenderableType

    from hermes_kanban_plugin.models import Run, Task

COLUMNS = ("todo", "ready", "running", "blocked", "done")
COLOURS = {"todo": "white", "ready": "cyan", "running": "yellow", "blocked": "red", "done": "green"}
BAR = 48
HEIGHT = 10


def columns(tasks: Sequence[Task], news: str) -> RenderableType:
    """Return the board as it is, with the latest news below."""
    board = Table(box=box.ROUNDED, caption=Text(news), caption_justify="left", expand=False)
    cells = []
    for name in COLUMNS:
        board.add_column(Text(name, style=COLOURS[name]), min_width=11)
        cards = sorted(task.assignee or task.id for task in tasks if task.status == name)
        cells.append(Text("\n".join(cards + [""] * (HEIGHT - len(cards))), style=COLOURS[name]))
    board.add_row(*cells)
    return board


def timeline(console: Console, runs: Mapping[str, Sequence[Run]]) -> None:
    """Print one bar per run, in the order of their start; a second is the board's unit of time."""
    every = sorted((run for task in runs.values() for run in task), key=lambda run: run.id)
    start = min(run.started_at for run in every)
    end = max(run.ended_at or run.started_at for run in every)
    scale = BAR / max(1, end - start)
    names = {run.id: name for name, task in runs.items() for run in task}
    for run in every:
        left = round((run.started_at - start) * scale)
        length = max(1, round(((run.ended_at or end) - run.started_at) * scale))
        colour = {"completed": "green", "blocked": "magenta"}.get(run.outcome or "", "red")
        line = Text(f"{names[run.id]:>9} run {run.id:<3}")
        line.append(" " * left + "█" * length, style=colour)
        line.append(f" {run.outcome}", style=colour)
        console.print(line)
