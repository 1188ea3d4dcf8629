"""Removing scratch workspaces of finished tasks, when nobody needs them any more.

Completion only queues a folder. It is removed when no child that may read it is open and no process of the task
lives, and the queue survives a death in between (contract W18, W28). Standard library only: the supervisor uses this
module too.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple

from hermes_kanban_plugin.store import statements
from hermes_kanban_plugin.store.transaction import immediate

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Sequence


class Cleanup(NamedTuple):
    """A folder that may go: the task it belonged to, the run that used it last, and the path."""

    task_id: str
    run_id: int | None
    path: str


def due(connection: sqlite3.Connection) -> list[Cleanup]:
    """Return the queued folders whose task is finished and whose children are too, oldest first."""
    return [Cleanup(*row) for row in connection.execute(statements.DUE_CLEANUPS)]


def remove_due(connection: sqlite3.Connection, roots: Sequence[str]) -> list[Cleanup]:
    """Remove the folders that are due and in which nobody works, and forget them; what is left is tried again.

    Args:
        connection: a writer.
        roots: the managed ``workspaces`` folders; only what lies strictly below one of them is ever removed.

    Returns:
        What was removed, or is not ours to remove.
    """
    import shutil  # late: it brings every compressor along, and a supervisor may never remove anything

    removed = []
    for cleanup in due(connection):
        # The processes of every run of the task must be proven gone.
        if connection.execute(statements.LIVING_RUN, {"task_id": cleanup.task_id}).fetchone() is None:
            if is_managed(cleanup.path, roots):
                shutil.rmtree(cleanup.path, ignore_errors=True)
            if not (is_managed(cleanup.path, roots) and os.path.exists(cleanup.path)):
                removed.append(cleanup)
    if removed:
        with immediate(connection):
            connection.executemany(statements.FORGET_CLEANUP, [cleanup._asdict() for cleanup in removed])
    return removed


def is_managed(path: str, roots: Sequence[str]) -> bool:
    """Say whether a path lies strictly below one of the managed folders, links resolved."""
    real = os.path.realpath(path)
    return any(real.startswith(os.path.realpath(root) + os.sep) for root in roots)
