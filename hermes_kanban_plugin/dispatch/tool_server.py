"""Whether a process is the tool server of a worker's own agent: its tools, called from outside its process.

On the runtime ``codex_app_server`` the host hands a turn to Codex, and Codex calls the host's tools back through a
server that it starts itself: a descendant of the worker that speaks with the worker's voice. Everything between the two
has to be Codex, because a nested chat on that runtime has such a server as well. Rule source: the host's
``agent/transports/hermes_tools_mcp_server.py``.
"""

from __future__ import annotations

from contextlib import suppress
from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

_MODULE = "agent.transports.hermes_tools_mcp_server"
_RUNTIME = "codex"
_WORDS_OF_PROGRAM = 2  # an interpreter, and what it runs


def serves(pid: int, agents: Collection[int]) -> bool:
    """Say whether a process is the tool server of one of these agents.

    Args:
        pid: the process.
        agents: the pids of the recorded worker and of the agent below it.
    """
    import psutil  # late: only a process that is not the recorded worker is asked about

    with suppress(psutil.Error):
        process = psutil.Process(pid)
        if not is_tool_server(process.cmdline()):
            return False
        for above in process.parents():
            if above.pid in agents:
                return True
            if not is_runtime(above.cmdline()):
                return False
    return False


def is_tool_server(command: Sequence[str]) -> bool:
    """Say whether a command line is that of a tool server."""
    return any(flag == "-m" and name == _MODULE for flag, name in pairwise(command))


def is_runtime(command: Sequence[str]) -> bool:
    """Say whether a command line is that of Codex, run by an interpreter or not."""
    names = (word.replace("\\", "/").rpartition("/")[2].lower() for word in command[:_WORDS_OF_PROGRAM])
    return any(name.startswith(_RUNTIME) for name in names)
