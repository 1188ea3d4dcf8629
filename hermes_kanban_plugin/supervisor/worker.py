"""The worker as a process group: born behind a gate, watched without being touched, ended whole.

The child is forked and waits at a pipe until the claim is accepted; if that is refused it never executes an
instruction of the worker's program. Standard library only (POSIX).
"""

from __future__ import annotations

import os
import signal
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

from hermes_kanban_plugin import identity

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hermes_kanban_plugin.identity import ProcessIdentity

# Exit status of a child that could not become the worker's program (as shells use it).
EXIT_NOT_STARTED = 127
RESET_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD, signal.SIGPIPE)


class Ending(NamedTuple):
    """How the worker ended: exit code or signal, seconds of CPU, bytes of memory at the peak."""

    exit_code: int | None
    exit_signal: int | None
    user_seconds: float
    system_seconds: float
    peak_memory_bytes: int


class Worker:
    """A forked child that leads its own session and process group."""

    def __init__(self, pid: int, gate: int, error: int) -> None:
        self.pid = pid
        self._gate = gate
        self._error = error

    @property
    def identity(self) -> ProcessIdentity:
        """Who the child is; the same before and after it becomes the worker's program."""
        return identity.capture(self.pid)

    def release(self) -> None:
        """Open the gate: the child becomes the worker's program. Nobody waits for it, because it may be stopped."""
        os.write(self._gate, b"!")
        os.close(self._gate)

    def dismiss(self) -> None:
        """Close the gate for good: the child ends without having run the program."""
        os.close(self._gate)
        os.close(self._error)
        os.waitpid(self.pid, 0)

    def has_ended(self) -> bool:
        """Say whether the worker ended, without burying it: until then nobody else can get its pid and group."""
        if not hasattr(os, "waitid"):  # macOS before Python 3.13
            return identity.sight(self.pid).zombie
        options = os.WEXITED | os.WNOHANG | os.WNOWAIT
        return os.waitid(os.P_PID, self.pid, options) is not None

    def bury(self) -> Ending:
        """Return how the worker ended and let its pid go."""
        _, status, usage = os.wait4(self.pid, 0)
        signaled = os.WIFSIGNALED(status)
        return Ending(
            exit_code=None if signaled else os.waitstatus_to_exitcode(status),
            exit_signal=os.WTERMSIG(status) if signaled else None,
            user_seconds=usage.ru_utime,
            system_seconds=usage.ru_stime,
            peak_memory_bytes=usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024),
        )

    def launch_problem(self) -> str | None:
        """Return why the program could not be started, or None when it was; for a worker that ended."""
        with os.fdopen(self._error, "rb") as stream:
            return stream.read().decode(errors="replace") or None

    def signal_group(self, number: int) -> None:
        """Send a signal once to each process of the group, which is ours because its leader was not buried yet.

        Never twice to one: the handler of a worker that is already ending would begin again inside itself.
        """
        try:
            os.killpg(self.pid, number)
        except ProcessLookupError:  # stopped at its gate, the child leads no group yet
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)
        except PermissionError:  # macOS says so of a group of zombies
            pass


def fork(argv: Sequence[str], environment: dict[str, str], directory: str, log: int) -> Worker:
    """Fork the child and leave it waiting at its gate.

    Args:
        argv: program and arguments; the program is looked up on the PATH of ``environment``.
        environment: the worker's whole environment.
        directory: where it starts.
        log: an open descriptor for its output.
    """
    parent = os.getpid()
    gate_read, gate_write = os.pipe()
    error_read, error_write = os.pipe()
    # A signal for the child must not be taken by the handlers that it inherits: it waits until they are gone.
    held = signal.pthread_sigmask(signal.SIG_BLOCK, RESET_SIGNALS)
    pid = os.fork()
    if pid == 0:
        os.close(gate_write)
        os.close(error_read)
        _become(argv, environment, directory, log, gate_read, error_write, parent)
    signal.pthread_sigmask(signal.SIG_SETMASK, held)
    os.close(gate_read)
    os.close(error_write)
    return Worker(pid, gate_write, error_read)


def _become(
    argv: Sequence[str], environment: dict[str, str], directory: str, log: int, gate: int, error: int, parent: int
) -> None:
    """Wait at the gate, then become the worker's program; never returns."""
    try:
        for number in RESET_SIGNALS:
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        os.setsid()
        _die_with_parent(parent)
        if os.read(gate, 1) != b"!":
            os._exit(EXIT_NOT_STARTED)
        null = os.open(os.devnull, os.O_RDONLY)
        os.dup2(null, 0)
        os.dup2(log, 1)
        os.dup2(log, 2)
        os.chdir(directory)
        os.execvpe(argv[0], list(argv), environment)
    except BaseException as problem:  # noqa: BLE001 - the child may never return into the supervisor's code
        os.write(error, f"{argv[0]}: {problem}".encode())
    finally:
        os._exit(EXIT_NOT_STARTED)


def _die_with_parent(parent: int) -> None:
    """Ask the kernel to kill the worker if its supervisor is killed; elsewhere the orphan scan does it later."""
    if sys.platform != "linux":
        return
    import ctypes  # late: only the child pays for it, until it becomes the worker's program

    set_parent_death_signal = 1
    ctypes.CDLL(None).prctl(set_parent_death_signal, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(EXIT_NOT_STARTED)  # it died before the kernel was asked
