"""The demo's dispatcher process: started, killed, started again as a service manager would, ended."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType


class Service:
    """One dispatcher at a time, its output in a file."""

    def __init__(self, log: Path) -> None:
        self._log = log
        self._process = self._start()

    @property
    def pid(self) -> int:
        """The process id of the dispatcher there is now."""
        return self._process.pid

    def failed(self) -> int | None:
        """Return the status with which the dispatcher ended by itself, or None while it serves."""
        return self._process.poll()

    def kill_and_restart(self) -> None:
        """Kill the dispatcher with SIGKILL and start the next one."""
        self._process.kill()
        self._process.wait()
        self._process = self._start()

    def __enter__(self) -> Service:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.terminate()
        self._process.wait(timeout=30)

    def _start(self) -> subprocess.Popen[bytes]:
        # Its workers end with it, so that the demo leaves nothing running even when it is interrupted.
        command = [sys.executable, "-m", "hermes_kanban_plugin.cli.main", "dispatcher", "--stop-workers"]
        with self._log.open("ab") as log:
            return subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
