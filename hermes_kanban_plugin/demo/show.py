"""The demo's course: start the dispatcher, kill one worker, open one gate, wait until all is done, clean up."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.live import Live

from hermes_kanban_plugin.board import Board, open_board
from hermes_kanban_plugin.demo import graph, view
from hermes_kanban_plugin.store import queries
from hermes_kanban_plugin.testing import violations

if TYPE_CHECKING:
    from collections.abc import Iterator

LIMIT_SECONDS = 55.0
LOOK_SECONDS = 0.02


class Show:
    """One performance: what it watches, and what it did on the way."""

    def __init__(self, board: Board, ids: dict[str, str]) -> None:
        self.board = board
        self.ids = ids
        self.news = "the dispatcher starts"
        self.killed_at: float | None = None
        self.rescue_seconds: float | None = None
        self.unblocked = False
        self._victim_runs = 0

    def step(self) -> bool:
        """Look at the board and interfere where the play says so; returns whether all tasks are done."""
        tasks = {task.assignee: task for task in self.board.tasks()}
        self._kill_once()
        self._measure_rescue()
        if tasks["review"].status == "blocked" and not self.unblocked:
            self.board.unblock(self.ids["review"], "demo")
            self.unblocked, self.news = True, "review asked a person; the person said yes"
        return all(task.status == "done" for task in tasks.values())

    def _kill_once(self) -> None:
        """Kill the victim's worker when it has done a part of its work."""
        if self.killed_at is not None:
            return
        run = queries.held_run(self.board.reader, self.ids[graph.VICTIM])
        part = Path(self.board.task(self.ids[graph.VICTIM]).workspace_path or "") / "index.part"
        if run is not None and run.worker_pid and part.exists() and part.stat().st_size > 1000:
            os.kill(run.worker_pid, signal.SIGKILL)
            self.killed_at = time.monotonic()
            self._victim_runs = run.run_id or 0
            self.news = f"worker {run.worker_pid} of {graph.VICTIM!r} was killed with SIGKILL in the middle"

    def _measure_rescue(self) -> None:
        if self.killed_at is None or self.rescue_seconds is not None:
            return
        run = queries.held_run(self.board.reader, self.ids[graph.VICTIM])
        if run is not None and run.run_id != self._victim_runs and run.worker_pid:
            self.rescue_seconds = time.monotonic() - self.killed_at
            self.news = f"its next attempt works {self.rescue_seconds * 1000:.0f} ms after the kill"


def main() -> int:
    """Run the demo; returns 0 when every task is done and every promise was kept, 1 otherwise."""
    console = Console()
    for name in [name for name in os.environ if name.startswith("HERMES_")]:
        del os.environ[name]  # the demo has a board of its own, outside of everybody's home
    root = Path(tempfile.mkdtemp(prefix="hermes-kanban-demo-"))
    os.environ["HERMES_HOME"] = str(root)
    workspace = root / "work"
    graph.write_settings(root)
    with open_board(create=True) as board, _dispatcher(root) as service:
        show = Show(board, graph.add_tasks(board, workspace))
        finished = _watch(show, service, console)
        _conclude(show, console, finished)
    broken = violations(root / "kanban.db")
    for problem in broken:
        console.print(f"broken promise: {problem}", style="red")
    _leave_only_the_board(root)
    console.print(f"the board is kept: HERMES_KANBAN_DB={root / 'kanban.db'} hermes-kanban list")
    return 0 if finished and show.rescue_seconds is not None and show.unblocked and not broken else 1


@contextmanager
def _dispatcher(root: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run a dispatcher for the demo's home, and end it afterwards."""
    with (root / "dispatcher.log").open("wb") as log:
        command = [sys.executable, "-m", "hermes_kanban_plugin.cli.main", "dispatcher"]
        process = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.terminate()
        process.wait(timeout=10)


def _watch(show: Show, service: subprocess.Popen[bytes], console: Console) -> bool:
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
            if service.poll() is not None:
                console.print(f"the dispatcher ended with status {service.returncode}", style="red")
                return False
            time.sleep(LOOK_SECONDS)
    return False


def _conclude(show: Show, console: Console, finished: bool) -> None:
    tasks = show.board.tasks()
    console.print(view.columns(tasks, "all done" if finished else "not finished in time"))
    view.timeline(console, {name: show.board.runs(task_id) for name, task_id in show.ids.items()})
    if show.rescue_seconds is not None:
        console.print(f"rescue: next attempt at work {show.rescue_seconds * 1000:.0f} ms after the SIGKILL")


def _leave_only_the_board(root: Path) -> None:
    """Remove everything that the demo made, but the board."""
    for entry in root.iterdir():
        if entry.is_dir():
            shutil.rmtree(entry)
        elif not entry.name.startswith("kanban.db") or entry.name.endswith(".lock"):
            entry.unlink()
