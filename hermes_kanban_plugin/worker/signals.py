"""Giving the task back when the worker is told to end: before it ends, whatever the host's handlers do.

The host ends a worker inside its own signal handler, without a word to the board (contract W29). The interpreter writes
the number of every signal that it takes into a descriptor the moment it arrives, whoever handles it and whatever the
main thread does then; a thread of ours reads it there. Handlers are made to wait for that thread, because the host's
may end the process at once. Until it has installed one, ours ends the process as the signal would have done; and also
when the board could not be told in time, because the host's would end it with status 0, which hides the signal from its
supervisor. POSIX; elsewhere nothing is installed.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import sqlite3
import threading
from contextlib import suppress
from functools import wraps
from typing import TYPE_CHECKING, Any

from hermes_kanban_plugin.clock import Clock
from hermes_kanban_plugin.errors import CallerMistake, KanbanError
from hermes_kanban_plugin.host.switches import switch
from hermes_kanban_plugin.worker import assignment

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

    from hermes_kanban_plugin.worker.assignment import Assignment

log = logging.getLogger(__name__)

SWITCH = "release_on_signal"
_NAMES = ("SIGTERM", "SIGHUP", "SIGINT")
_WATCHED = {int(getattr(signal, name)): name for name in _NAMES if hasattr(signal, name)}
# Handlers of SIGINT are left as they are: asyncio asks whether its own is still in place.
_PATIENT = {number for number, name in _WATCHED.items() if name != "SIGINT"}
# How long a handler waits for the board before it lets the process end.
RELEASE_SECONDS = 5.0
_MARK = "_hermes_kanban"
_installed: list[Watch] = []
_last_words: list[Callable[[], None]] = []


def install(ctx: Any) -> None:
    """Watch the signals of this worker; once per process, and only where that can be done.

    Args:
        ctx: the host's plugin context; not needed.
    """
    if _installed or os.name != "posix" or threading.current_thread() is not threading.main_thread():
        return
    if not switch(SWITCH):
        return
    watch = Watch(assignment.read(os.environ, os.getpid()))
    watch.begin()
    _installed.append(watch)


def before_end(say: Callable[[], None]) -> None:
    """Have something said to the board before a signal ends this process, once its task was given back.

    Args:
        say: never raises, and takes a moment at most.
    """
    _last_words.append(say)


class Watch:
    """A thread that learns of signals through a socket pair, and gives the task back at the first that ends us."""

    def __init__(self, mine: Assignment) -> None:
        self._assignment = mine
        self._released = threading.Event()
        self._settled = False
        self._ear, self._mouth = socket.socketpair()
        self._process = os.getpid()

    def begin(self) -> None:
        """Take the interpreter's descriptor for signals, start the thread, and stand in for missing handlers.

        Raises:
            RuntimeError: somebody else has that descriptor.
        """
        self._mouth.setblocking(False)
        taken = signal.set_wakeup_fd(self._mouth.fileno(), warn_on_full_buffer=False)
        if taken != -1:
            signal.set_wakeup_fd(taken)
            raise RuntimeError("the descriptor for signals is in use; a stopped worker shows by its end only")
        os.register_at_fork(after_in_child=self._let_go)
        threading.Thread(target=self._listen, name="hermes-kanban-signals", daemon=True).start()
        self._teach_patience()
        for number in _WATCHED:
            if signal.getsignal(number) is signal.SIG_DFL:
                signal.signal(number, self._end)

    def _teach_patience(self) -> None:
        """Have every handler that is installed from now on wait until the task was given back."""
        install = signal.signal

        @wraps(install)
        def install_patient(number: int, handler: Any) -> Any:
            patient = number in _PATIENT and callable(handler) and not hasattr(handler, _MARK)
            return install(number, self._patient(handler) if patient else handler)

        signal.signal = install_patient  # type: ignore[assignment]

    def _patient(self, handler: Callable[[int, FrameType | None], Any]) -> Callable[[int, FrameType | None], Any]:
        def handle(number: int, frame: FrameType | None) -> Any:
            if os.getpid() == self._process:
                self._released.wait(RELEASE_SECONDS)
                if not self._settled:
                    self._end(number, frame)
            return handler(number, frame)

        setattr(handle, _MARK, handler)
        return handle

    def _let_go(self) -> None:
        """Keep a forked child from speaking for us when it gets a signal of its own."""
        with suppress(ValueError, OSError):
            signal.set_wakeup_fd(-1)

    def _listen(self) -> None:
        while True:
            for number in self._ear.recv(64):
                if number in _WATCHED:
                    self._release(_WATCHED[number])
                    return

    def _release(self, name: str) -> None:
        try:
            if assignment.release_interrupted(self._assignment, name, Clock().now()):
                log.info("%s: task %s was given back", name, self._assignment.lease.task_id)
            self._settled = True
        except CallerMistake as refusal:
            log.info("%s: nothing to give back: %s", name, refusal)
            self._settled = True
        except (KanbanError, sqlite3.Error) as problem:
            log.warning("%s: the task was not given back, the end by this signal tells: %s", name, problem)
        except Exception as problem:  # noqa: BLE001 - isolation edge: a thread of its own; the process ends anyway
            log.warning("%s: the task was not given back, the end by this signal tells: %s", name, problem)
        finally:
            for say in _last_words:
                say()
            self._released.set()

    def _end(self, number: int, frame: FrameType | None) -> None:
        """Do what the signal does by itself: where there is no handler, or the board could not be told."""
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)  # in a forked child that is the child
