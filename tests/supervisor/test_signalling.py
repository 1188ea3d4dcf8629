"""A signal to a worker's group reaches each process once: a handler that is at work must not be begun again."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

from hermes_kanban_plugin.supervisor.worker import Worker

# Signals of this kind are queued and not merged, so they can be counted.
FIRST = getattr(signal, "SIGRTMIN", None)
COUNT = (
    "import signal\n"
    "counted, last = signal.SIGRTMIN, signal.SIGRTMIN + 1\n"
    "signal.pthread_sigmask(signal.SIG_BLOCK, {counted, last})\n"
    "print('listening', flush=True)\n"
    "times = 0\n"
    "while signal.sigwait({counted, last}) == counted:\n"
    "    times += 1\n"
    "print(times)\n"
)


@pytest.mark.skipif(FIRST is None, reason="no signals that are queued on this system")
@pytest.mark.parametrize("leads_its_group", [True, False])
def test_a_process_gets_a_signal_once(leads_its_group: bool) -> None:
    """One that does not lead its group yet is still at its gate."""
    child = subprocess.Popen([sys.executable, "-c", COUNT], stdout=subprocess.PIPE, start_new_session=leads_its_group)
    with child:
        assert child.stdout.readline() == b"listening\n"
        worker = Worker(child.pid, gate=-1, error=-1)
        worker.signal_group(FIRST)
        worker.signal_group(FIRST + 1)
        assert child.stdout.read() == b"1\n"
