"""``watch``: a board live in the terminal; a key takes the chosen run's task back.

Drawn again when the board changed and every second, because ages go on. Where there is no terminal one picture is
printed, which is what pipes, logs and chats get.
"""

from __future__ import annotations

import os
import select
import signal
import sqlite3
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from hermes_kanban_plugin.board import Board, open_board
from hermes_kanban_plugin.cli import acting, output, picture
from hermes_kanban_plugin.dispatch import standing
from hermes_kanban_plugin.dispatch.standing import State
from hermes_kanban_plugin.errors import InvalidArgument, KanbanError
from hermes_kanban_plugin.foreign import take_back
from hermes_kanban_plugin.maintenance import overview

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterator, Sequence

    from rich.text import Text

    from hermes_kanban_plugin.maintenance.overview import Overview, RunLine

POLL_SECONDS = 0.1
DRAW_SECONDS = 1.0
KEYS = "up/down choose a run    r take its task back    q quit"
ASK_KEYS = "y yes    n no"
UP, DOWN = "up", "down"
_STATES = {
    State.SERVING: "dispatcher serving",
    State.ELSEWHERE: "dispatcher serving elsewhere",
    State.SILENT: "dispatcher silent",
    State.HERMES: "dispatched by Hermes, not by us",
    State.DEAD: "dispatcher dead",
    State.STOPPED: "dispatcher stopped",
    State.NEVER: "no dispatcher yet",
    State.OTHERS: "the dispatcher serves another board",
}
_SEQUENCES = {"\x1b[A": UP, "\x1bOA": UP, "\x1b[B": DOWN, "\x1bOB": DOWN}
_LETTERS = {"k": UP, "j": DOWN}


class Watch:
    """What a person sees and does: the newest overview, the chosen run, and the question that waits for an answer."""

    def __init__(self, board: Board, actor: Callable[[], str]) -> None:
        self._board = board
        self._actor = actor
        self._chosen: tuple[str, int | None] | None = None
        self._asked: RunLine | None = None
        self.message = ""
        self.over = False
        self.seen: Overview = overview.look(board)
        self.dispatcher, self.serves = _dispatcher(board)

    def look(self) -> None:
        """Look at the board again; one that cannot be read for a moment keeps its last picture."""
        try:
            self.seen = overview.look(self._board)
            self.dispatcher, self.serves = _dispatcher(self._board)
        except (KanbanError, sqlite3.Error) as problem:
            self.message = " ".join(str(problem).split())

    def press(self, key: str) -> None:
        """Do what a key means now."""
        if self._asked is not None:
            asked, self._asked = self._asked, None
            self.message = self._take_back(asked) if key == "y" else "left alone"
            self.look()
        elif key in ("q", "\x03", "\x04"):
            self.over = True
        elif key in (UP, DOWN):
            self._choose(-1 if key == UP else 1)
        elif key == "r":
            self._ask()

    def draw(self, width: int, height: int | None = None, *, live: bool = True) -> Text:
        """Return the picture for a terminal of a size; one that is not ``live`` has no keys."""
        keys = (ASK_KEYS if self._asked else KEYS) if live else ""
        frame = picture.Frame(self.dispatcher, self.serves, self._index() if live else None, self.message, keys)
        return picture.draw(self.seen, frame, self._board.clock.now(), width, height)

    def _index(self) -> int | None:
        """Return where the chosen run stands now; one that is gone leaves the choice to the first."""
        known = [(run.task_id, run.run_id) for run in self.seen.runs]
        if not known:
            return None
        return known.index(self._chosen) if self._chosen in known else 0

    def _choose(self, step: int) -> None:
        index = self._index()
        if index is None:
            return
        chosen = self.seen.runs[min(max(0, index + step), len(self.seen.runs) - 1)]
        self._chosen, self.message = (chosen.task_id, chosen.run_id), ""

    def _ask(self) -> None:
        index = self._index()
        if index is None:
            self.message = "nothing runs"
            return
        self._asked = self.seen.runs[index]
        self.message = f"take {self._asked.task_id} back from run {self._asked.run_id}? Its worker is stopped."

    def _take_back(self, run: RunLine) -> str:
        """Take a task back from the run that was shown; returns what happened in one line."""
        try:
            task = self._board.task(run.task_id)
            if task.current_run_id != run.run_id:
                return f"{run.task_id} is not held by run {run.run_id} any more, nothing was done"
            landed = take_back(self._board, task, None, self._actor())
        except (KanbanError, sqlite3.Error) as problem:
            return " ".join(str(problem).split())
        return f"reclaimed {run.task_id}, it is {landed}"


def watch(args: argparse.Namespace) -> None:
    """Show a board until q is pressed, or once where there is no terminal.

    Raises:
        InvalidArgument: a flag of the host's word of this name, which picks events, was given where ours answers.
    """
    foreign = [f"--{name}" for name in ("assignee", "tenant", "kinds") if getattr(args, name, None) is not None]
    if foreign:
        raise InvalidArgument(f"{foreign[0]} picks events; they are printed by: hermes kanban watch, in a shell")
    with open_board(args.board) as board:
        if args.json:
            return output.print_json(overview.look(board))
        watching = Watch(board, lambda: acting.person_or_worker().profile)
        alive = sys.stdin.isatty() and sys.stdout.isatty() and not output.console().is_dumb_terminal
        if args.once or not alive:
            return _print_once(watching)
        return _live(watching, board)


def _print_once(watching: Watch) -> None:
    console = output.console()
    width = console.width if sys.stdout.isatty() else 80
    for line in watching.draw(width, live=False).split("\n", allow_blank=True):
        line.rstrip()
        console.print(line, no_wrap=True, crop=False)


def _live(watching: Watch, board: Board) -> None:
    from rich.live import Live

    console = output.console()
    # The screen is put back on the way out, which a signal that simply ended us would cut short.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda received, _: sys.exit(128 + received))
    with Live(console=console, screen=True, auto_refresh=False) as live, keyboard() as keys:
        version, drawn = -1, 0.0
        while not watching.over:
            pressed = keys(POLL_SECONDS)
            for key in pressed:
                watching.press(key)
            changed, now = board.data_version(), time.monotonic()
            if pressed or changed != version or now - drawn >= DRAW_SECONDS:
                watching.look()
                size = console.size
                live.update(watching.draw(size.width, size.height), refresh=True)
                version, drawn = changed, now


@contextmanager
def keyboard() -> Iterator[Callable[[float], Sequence[str]]]:
    """Give single keys without Enter: a function that waits up to some seconds and returns what was pressed.

    The terminal is put back whatever happens. Where there are no POSIX terminals it only waits.
    """
    try:
        import termios
        import tty
    except ImportError:

        def wait(seconds: float) -> Sequence[str]:
            time.sleep(seconds)
            return ()

        yield wait
        return
    descriptor = sys.stdin.fileno()
    before = termios.tcgetattr(descriptor)

    def pressed(seconds: float) -> Sequence[str]:
        if not select.select([descriptor], [], [], seconds)[0]:
            return ()
        return split_keys(os.read(descriptor, 256).decode(errors="ignore"))

    try:
        tty.setcbreak(descriptor)
        yield pressed
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)


def split_keys(text: str) -> list[str]:
    """Return the keys in what a terminal sent: arrows by name, letters as they are, other sequences dropped.

    A terminal that hung up sends nothing, which counts as the end.
    """
    if not text:
        return ["q"]
    keys = []
    while text:
        known = next((sequence for sequence in _SEQUENCES if text.startswith(sequence)), None)
        if known:
            keys.append(_SEQUENCES[known])
            text = text[len(known) :]
        elif text[0] == "\x1b":
            break
        else:
            keys.append(_LETTERS.get(text[0], text[0]))
            text = text[1:]
    return keys


def _dispatcher(board: Board) -> tuple[str, bool]:
    """Return how the board is dispatched in a few words, and whether it is."""
    found = standing.look(board.location.root, [board.location], board.clock.now())
    tick = f", last tick {output.span(found.term.last_tick_at, board.clock.now())} ago" if found.term else ""
    return f"{_STATES[found.state]}{tick}", found.serves
