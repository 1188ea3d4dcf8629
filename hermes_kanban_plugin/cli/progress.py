"""A bar for work that takes long, on a terminal only; a pipe, a log or a chat sees nothing of it."""

from __future__ import annotations

import io
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from hermes_kanban_plugin.maintenance.progress import silent

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hermes_kanban_plugin.maintenance.progress import Progress

# Work that is done sooner shows no bar.
PATIENCE_SECONDS = 0.3


@contextmanager
def showing(*, quiet: bool = False) -> Iterator[Progress]:
    """Give a place to report progress to, and take the bar away afterwards; drawn on standard error."""
    # In a chat standard output is caught, and the terminal behind standard error is somebody else's.
    if quiet or isinstance(sys.stdout, io.StringIO) or not sys.stderr.isatty():
        yield silent
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description:<28.28}"), BarColumn(24), TaskProgressColumn(), TimeRemainingColumn())
    bar = Progress(*columns, console=Console(stderr=True, highlight=False), transient=True)
    began, row = time.monotonic(), bar.add_task("", total=1.0)

    def report(what: str, share: float) -> None:
        if not bar.live.is_started and time.monotonic() - began >= PATIENCE_SECONDS:
            bar.start()
        bar.update(row, description=what, completed=share)

    try:
        yield report
    finally:
        if bar.live.is_started:
            bar.stop()
