"""A process that inherited a worker's environment and is not that worker: a nested chat, a cron job, a tool server.

The host takes it for the worker and lets it give signs of life and end the run. Here it may do neither. Its tools are
refused elsewhere (host/kanban_fence.py, hooks/ownership_check.py). Rule source: contract W2, failure mode A13.
"""

from __future__ import annotations

import logging
import os
import sys
from functools import partial
from typing import TYPE_CHECKING, Any

from hermes_kanban_plugin.host.heartbeat_bridge import silence_bridge
from hermes_kanban_plugin.host.run_endings import fence_blocks, fence_failures
from hermes_kanban_plugin.imports import after_import
from hermes_kanban_plugin.roles import Role, role_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

log = logging.getLogger(__name__)

# There a block is the word of a person, whatever the process was started from.
_PEOPLE_SPEAK = (Role.GATEWAY, Role.DASHBOARD)


class Bystander:
    """Answers for a run that is somebody else's: with a refusal."""

    def __init__(self, task_id: str) -> None:
        self._task_id = task_id

    def is_mine(self, task_id: str) -> bool:
        """Say whether a task is the one that the environment names."""
        return task_id == self._task_id

    def budget_exhausted(self, error: str, payload: Mapping[str, Any]) -> bool:
        """Refuse to book this process's own used-up budget; the task is not given up."""
        del payload
        self._refuse(error)
        return False

    def goal_given_up(self, block: Callable[[int], bool]) -> bool:
        """Refuse to block the task; nothing was booked."""
        del block
        self._refuse("it gave the goal up")
        return False

    def _refuse(self, what: str) -> None:
        log.warning(
            "process %d has inherited the environment of task %s and is not its worker, so this is not the task's "
            "failure, and nothing was changed: %s", os.getpid(), self._task_id, what,
        )  # fmt: skip


def install(ctx: Any) -> None:
    """Keep this process from speaking for the worker whose environment it inherited, if it did.

    Args:
        ctx: the host's plugin context; not needed.
    """
    del ctx
    task_id = os.environ.get("HERMES_KANBAN_TASK", "").strip()
    if not task_id:
        return
    bystander = Bystander(task_id)
    after_import("hermes_cli.kanban_db", "failures", partial(fence_failures, bystander))
    if role_of(os.environ, sys.argv) not in _PEOPLE_SPEAK:
        after_import("hermes_cli.kanban_db", "blocks", partial(fence_blocks, bystander))
    after_import("tools.kanban_tools", "heartbeat bridge", silence_bridge)
