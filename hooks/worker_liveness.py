"""The built-in answer to "does it live": the process table, compared with the recorded identity."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hermes_kanban_plugin import identity
from hermes_kanban_plugin.hookspecs import hookimpl

if TYPE_CHECKING:
    from hermes_kanban_plugin.identity import ProcessIdentity, Verdict


@hookimpl(trylast=True)
def kanban_worker_alive(process: ProcessIdentity, lock: str) -> Verdict:
    """Look the process up and judge it."""
    return identity.judge(process, identity.here(), identity.sight(process.pid, lock))
