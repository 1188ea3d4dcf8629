"""The start-up guard: a worker whose run is not current ends before it asks any model, and nothing is booked for it.

So does one whose run has another living worker: a chat that a worker started with its own prompt.

It holds for every worker, whoever started it, because it asks the board and not the one who started it. It runs while
the host loads its plugins, so it loads the standard library only. Rule source: failure modes A1, A9, contract W2.
"""

from __future__ import annotations

import logging
import os
import sqlite3
import sys
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple

from hermes_kanban_plugin.dispatch.ownership import AGENT_VARIABLE
from hermes_kanban_plugin.errors import BoardUnusable, CallerMistake, MalformedEnvironment
from hermes_kanban_plugin.roles import told_task
from hermes_kanban_plugin.rules import EXIT_TRY_LATER
from hermes_kanban_plugin.worker import assignment

if TYPE_CHECKING:
    from collections.abc import Mapping

log = logging.getLogger(__name__)

_started: list[int] = []


class Objection(NamedTuple):
    """Why a worker may not start, and the status it ends with."""

    reason: str
    status: int


def install(ctx: Any) -> None:
    """Let a worker start whose run holds its task; end any other one.

    Once it has started it is not asked again, however often the host registers us: it may have completed its task.

    Args:
        ctx: the host's plugin context; not needed.

    Raises:
        SystemExit: it may not start: with status 0 because there is nothing to do, or 75 when the board cannot be read
            now, which says nothing about the run.
    """
    me = os.getpid()
    if me in _started:
        return
    claim_seat(me)
    objection = examine(os.environ, me, told_task(sys.argv))
    if objection is not None:
        _end(objection)
    _started.append(me)


def examine(environment: Mapping[str, str], pid: int, told: str = "") -> Objection | None:
    """Return what speaks against a start, or None.

    Args:
        environment: of the process.
        pid: its process id.
        told: the task that its prompt names, empty when it names none.
    """
    try:
        named = environment.get("HERMES_KANBAN_TASK", "").strip()
        if told and told != named:
            raise MalformedEnvironment("HERMES_KANBAN_TASK", named)
        mine = assignment.read(environment, pid)
        if not os.path.exists(mine.database):
            return Objection(f"its board {mine.database} does not exist", 0)
        assignment.prove(environment, pid)
    except CallerMistake as mistake:  # a malformed environment, a run that is not current, another living worker
        return Objection(str(mistake), 0)
    except (BoardUnusable, sqlite3.Error) as problem:
        return Objection(str(problem), EXIT_TRY_LATER)
    return None


def claim_seat(pid: int) -> None:
    """Say in the environment that this process is the agent, unless a living process above it is (a nested one).

    Whatever this process starts inherits it, and can so be told from it (dispatch/ownership.py).
    """
    named = os.environ.get(AGENT_VARIABLE, "").strip()
    if not (named.isdecimal() and int(named) in _above()):
        os.environ[AGENT_VARIABLE] = str(pid)


def has_seat(environment: Mapping[str, str], pid: int) -> bool:
    """Say whether a process that was started as a worker is the agent of its environment, and no nested one."""
    return environment.get(AGENT_VARIABLE, "").strip() == str(pid)


def _above() -> set[int]:
    from hermes_kanban_plugin.dispatch.holder import ancestors  # late: only with an inherited name

    return ancestors()


def _end(objection: Objection) -> None:
    task = told_task(sys.argv) or os.environ.get("HERMES_KANBAN_TASK", "").strip()
    text = f"hermes-kanban: worker of {task} not started: {' '.join(objection.reason.split())}"
    if log.hasHandlers():
        log.warning("%s", text)
    with suppress(OSError, ValueError):  # stderr, the task's log, may be gone
        print(text, file=sys.stderr, flush=True)
    if threading.current_thread() is not threading.main_thread():
        os._exit(objection.status)  # an exception would end the thread alone
    raise SystemExit(objection.status)
