"""The demo's course: start the dispatcher, kill each part once, open one gate, wait until all is done, clean up."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.live import Live

from hermes_kanban_plugin.board import open_board
from hermes_kanban_plugin.demo import graph, view
from hermes_kanban_plugin.demo.kills import PLANS, Kill
from hermes_kanban_plugin.demo.service import Service
from hermes_kanban_plugin.testing import violations

if TYPE_CHECKING:
    from hermes_kanban_plugin.board import Board

LIMIT_SECONDS = 55.0
LOOK_SECONDS = 0.01


class Show:
    """One performance: what it watches, and what it did on the way."""

    def __init__(self, board: Board, service: Service, ids: dict[str, str]) -> None:
        self.board = board
        self.service = service
        self.ids = ids
        self.kills = [Kill(plan, ids[plan.task]) for plan in PLANS]
        self.news = "the dispatcher starts"
        self.unblocked = False

    def step(self) -> bool:
        """Look at the board and interfere where the play says so; returns whether all tasks are done."""
        for kill in self.kills:
            self.news = kill.step(self.board, self.service) or self.news
        if not self.unblocked and self.board.task(self.ids["review"]).status == "blocked":
            self.board.unblock(self.ids["review"], "demo")
            self.unblocked, self.news = True, "review asked a person; the person said yes"
        return all(task.status == "done" for task in self.board.tasks())

    @property
    def complete(self) -> bool:
        """Whether everything that the play holds has happened."""
        return self.unblocked and all(kill.seconds is not None for kill in self.kills)


def main() -> int:
    """Run the demo; returns 0 when every task is done and every promise was kept, 1 otherwise."""
    console = Console()
    for name in [name for name in os.environ if name.startswith("HERMES_")]:
        del os.environ[name]  # the demo has a board of its own, outside of everybody's home
    root = Path(tempfile.mkdtemp(prefix="hermes-kanban-demo-"))
    os.environ["HERMES_HOME"] = str(root)
    graph.write_settings(root)
    with open_board(create=True) as board, Service(root / "dispatcher.log") as service:
        show = Show(board, service, graph.add_tasks(board, root / "work"))
        finished = _watch(show, console)
        _conclude(show, console, finished)
    broken = violations(root / "kanban.db")
    for problem in broken:
        console.print(f"broken promise: {problem}", style="red")
    _leave_only_the_board(root)
    console.print(f"the board is kept: HERMES_KANBAN_DB={root / 'kanban.db'} hermes-kanban list", soft_wrap=True)
    return 0 if finished and show.complete and not broken else 1


def _watch(show: Show, console: Console) -> bool:
    """Follow the play until it is over; returns whether it came to its end in time."""
    deadline, said = time.monotonic() + LIMIT_SECONDS, ""
    with Live(console=console, auto_refresh=False, transient=True) as live:
        while time.monotonic() < deadline:
            over = show.step()
            if console.is_terminal:
                live.update(view.columns(show.board.tasks(), show.news), refresh=True)
            elif show.news != said:
                console.print(show.news)
                said = show.news
            if over:
                return True
            status = show.service.failed()
            if status is not None:
                console.print(f"the dispatcher ended with status {status}", style="red")
                return False
            time.sleep(LOOK_SECONDS)
    return False


def _conclude(show: Show, console: Console, finished: bool) -> None:
    console.print(view.columns(show.board.tasks(), "all done" if finished else "not finished in time"))
    view.timeline(console, {name: show.board.runs(task_id) for name, task_id in show.ids.items()})
    for kill in show.kills:
        took = "not recovered" if kill.seconds is None else f"the work went on after {kill.seconds * 1000:.0f} ms"
        console.print(f"rescue: {kill.plan.part} killed with SIGKILL, {took}")


def _leave_only_the_board(root: Path) -> None:
    """Remove everything that the demo made, but the board."""
    for entry in root.iterdir():
        if entry.is_dir():
            shutil.rmtree(entry)
        elif not entry.name.startswith("kanban.db") or entry.name.endswith(".lock"):
            entry.unlink()
