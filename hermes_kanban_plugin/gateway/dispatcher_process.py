"""One dispatcher process beside a gateway: started, watched, started again after its death, stopped first at the end.

The gateway holds the dispatcher's standard input. However the gateway ends, that pipe ends with it, and the dispatcher
stops (``--until-eof``). Standard library only, and nothing of the host: see docs/adr/0009-gateway-child.md.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from hermes_kanban_plugin.gateway import output
from hermes_kanban_plugin.requirements import CANNOT_RUN

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

# Below "gateway", because the host writes only such loggers to the gateway's own log file.
log = logging.getLogger(output.LOGGER)

# How often the dispatcher and the gateway's wish are looked at.
POLL_SECONDS = 0.1
# A dispatcher that does not end within this is killed; the host's own stop waits for 10 s.
STOP_SECONDS = 4.0
FIRST_PAUSE_SECONDS = 0.5
LONGEST_PAUSE_SECONDS = 30.0
# One that lived this long is no part of a row of failures.
SETTLED_SECONDS = 60.0
_FAREWELL_SECONDS = 0.5
# A dispatcher says something every few seconds (cli/parentage.py). One that does not is stopped, starved or hangs: that
# is said first, and in the end it is replaced. Whatever it was doing is compare-and-set and goes on with the next one.
SILENCE_TOLD_SECONDS = 45.0
SILENCE_ENDED_SECONDS = 300.0
# A gateway that was itself stopped for an hour has heard nothing, and learned nothing from that.
_LONGEST_LOOK_SECONDS = 1.0
# An upgrade takes files away for a moment; those of a plugin or a package that was removed do not come back.
REMOVED_SECONDS = 10.0
# What holds this package: the folder of installed packages, a checkout or a clone.
FOLDER = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def command() -> list[str]:
    """Return how to start the dispatcher; without the current folder on its path, which may hold anything."""
    return [sys.executable, "-P", "-m", "hermes_kanban_plugin.cli.main", "dispatcher", "--until-eof", "--json"]


def environment(inherited: Mapping[str, str]) -> dict[str, str]:
    """Return the dispatcher's environment: with the folder of this package on its path where it is not installed.

    Args:
        inherited: the gateway's variables.
    """
    folder = unlisted_folder()
    if folder is None:
        return dict(inherited)
    rest = inherited.get("PYTHONPATH", "")
    return {**inherited, "PYTHONPATH": os.pathsep.join(filter(None, [folder, rest]))}


def unlisted_folder() -> str | None:
    """Return the folder of this package if a new interpreter would not find it: in a clone, a directory install."""
    from importlib.metadata import Distribution  # late: only a gateway and its dispatcher pay for it

    lasting = [entry for entry in sys.path if entry and entry != os.getcwd()]
    return None if any(Distribution.discover(name="hermes-kanban-plugin", path=lasting)) else FOLDER


class DispatcherProcess:
    """The one dispatcher of a gateway, kept alive as long as the gateway wants it."""

    def __init__(
        self,
        arguments: Sequence[str],
        variables: Mapping[str, str],
        listener: Callable[[str], None],
        *,
        program: str = __file__,
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """Remember what to start.

        Args:
            arguments: the command line.
            variables: its whole environment.
            listener: gets each line of its standard output, in a thread of its own; must not wait.
            program: a file without which it cannot run.
            monotonic: the clock, seconds.
            sleep: waits so many seconds.
        """
        self._arguments = list(arguments)
        self._variables = dict(variables)
        self._listener = listener
        self._program = program
        self._monotonic = monotonic
        self._sleep = sleep
        self._process: subprocess.Popen[str] | None = None
        self._readers: list[threading.Thread] = []
        self._pause = FIRST_PAUSE_SECONDS
        self._unfit_since: float | None = None
        self._heard = threading.Event()

    @property
    def pid(self) -> int | None:
        """The dispatcher's process id, or None while there is none."""
        return self._process.pid if self._process is not None else None

    async def keep(self, is_wanted: Callable[[], bool]) -> bool:
        """Keep a dispatcher running until it is not wanted any more or this is cancelled; then see it off.

        Args:
            is_wanted: asked before each start and ten times a second; once it says no, nothing is started again.

        Returns:
            False, or True when the dispatcher ended and cannot be run again: its program, or what it needs, is gone.
        """
        try:
            while is_wanted():
                if await self._is_removed(is_wanted):
                    return True
                began = self._monotonic()
                self._start()
                await self._watch(is_wanted)
                if is_wanted():
                    await self._rest(self._bury(self._monotonic() - began), is_wanted)
            return False
        finally:
            await self._see_off()

    async def _is_removed(self, is_wanted: Callable[[], bool]) -> bool:
        """Say whether the program, or a package that it needs, is gone and stays so; an upgrade brings it back."""
        if self._unfit_since is not None and self._monotonic() - self._unfit_since >= REMOVED_SECONDS:
            return True
        until = self._monotonic() + REMOVED_SECONDS
        while not os.path.exists(self._program):
            if self._monotonic() >= until or not is_wanted():
                return is_wanted()
            await self._sleep(POLL_SECONDS)
        return False

    def _start(self) -> None:
        try:
            self._process = subprocess.Popen(
                self._arguments,
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                env=self._variables, text=True, encoding="utf-8", errors="replace", start_new_session=True,
            )  # fmt: skip
        except OSError as problem:
            log.warning("the dispatcher could not be started: %s", problem)
            return
        assert self._process.stdout is not None
        assert self._process.stderr is not None
        self._readers = [
            output.read_lines(self._process.stdout, self._hear(self._listener), "hermes-kanban reports"),
            output.read_lines(self._process.stderr, self._hear(output.log_line), "hermes-kanban log"),
        ]
        log.info("dispatcher pid %d started", self._process.pid)

    def _hear(self, take: Callable[[str], None]) -> Callable[[str], None]:
        """Return what takes a line and notes that there was one; an empty one says no more than that."""

        def heard(line: str) -> None:
            self._heard.set()
            if line:
                take(line)

        return heard

    async def _watch(self, is_wanted: Callable[[], bool]) -> None:
        """Return when the dispatcher is dead or not wanted any more; one that hangs is made dead."""
        silence, looked, told = 0.0, self._monotonic(), False
        self._heard.clear()
        while self._process is not None and self._process.poll() is None and is_wanted():
            await self._sleep(POLL_SECONDS)
            now = self._monotonic()
            silence, looked = silence + min(now - looked, _LONGEST_LOOK_SECONDS), now
            if self._heard.is_set():
                self._heard.clear()
                silence, told = 0.0, False
            if silence >= SILENCE_TOLD_SECONDS and not told:
                told = True
                log.warning(
                    "dispatcher pid %d gives no sign of life for %.0f s: it is stopped, starved or hangs; wake it with "
                    "kill -CONT %d, otherwise it is replaced after %.0f s",
                    self._process.pid, silence, self._process.pid, SILENCE_ENDED_SECONDS,
                )  # fmt: skip
            if silence >= SILENCE_ENDED_SECONDS:
                self._process.kill()  # our own child, not buried yet: its pid is still its own
                with suppress(subprocess.TimeoutExpired):
                    self._process.wait(_FAREWELL_SECONDS)
                silence = 0.0

    def _bury(self, lived: float) -> float:
        """Say that the dispatcher died by itself; returns after how many seconds it is started again."""
        self._pause = FIRST_PAUSE_SECONDS if lived >= SETTLED_SECONDS else self._pause
        pause, self._pause = self._pause, min(2 * self._pause, LONGEST_PAUSE_SECONDS)
        if self._process is not None:
            self._let_go()
            if self._process.returncode != CANNOT_RUN:
                self._unfit_since = None
            elif self._unfit_since is None:
                self._unfit_since = self._monotonic()
            log.warning(
                "dispatcher pid %d %s; workers go on under their supervisors, and it is started again in %.1f s",
                self._process.pid, _describe(self._process.returncode), pause,
            )  # fmt: skip
            self._process = None
        return pause

    async def _rest(self, seconds: float, is_wanted: Callable[[], bool]) -> None:
        until = self._monotonic() + seconds
        while is_wanted() and self._monotonic() < until:
            await self._sleep(min(POLL_SECONDS, seconds))

    async def _see_off(self) -> None:
        """End the dispatcher: ask, wait, kill. The host cancels twice at its end; that must not cut it short."""
        if self._process is None:
            return
        began = self._monotonic()
        if self._process.poll() is None:
            self._process.terminate()
        while self._process.poll() is None and self._monotonic() - began < STOP_SECONDS:
            with suppress(asyncio.CancelledError):
                await self._sleep(POLL_SECONDS / 2)
        if self._process.poll() is None:
            log.warning("dispatcher pid %d did not end within %.0f s and is killed", self._process.pid, STOP_SECONDS)
            self._process.kill()  # our own child, not buried yet: its pid is still its own
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(_FAREWELL_SECONDS)
        self._let_go()
        log.info("dispatcher pid %d %s", self._process.pid, _describe(self._process.returncode))
        self._process = None

    def _let_go(self) -> None:
        """Take in its last words and close our end of its input."""
        for reader in self._readers:
            reader.join(_FAREWELL_SECONDS)
        assert self._process is not None
        assert self._process.stdin is not None
        with suppress(OSError):
            self._process.stdin.close()


def _describe(status: int | None) -> str:
    if status is None:
        return "does not end although it was killed"
    if status >= 0:
        return f"ended with status {status}"
    with suppress(ValueError):
        return f"was killed by {signal.Signals(-status).name}"
    return f"was killed by signal {-status}"
