"""The host's own functions that end a worker's run, led to whoever answers for that run in this process.

They go by the task that the environment names and check neither run nor process, so without this whatever inherited
that environment ends the run that holds the task now. Rule source: contract section 3 (worker side guards), W2.
"""

from __future__ import annotations

import inspect
import logging
from functools import wraps
from typing import TYPE_CHECKING, Any, Protocol

from hermes_kanban_plugin.host.patching import marked, original
from hermes_kanban_plugin.host.switches import switch

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import ModuleType

log = logging.getLogger(__name__)

FAILURES_SWITCH, BLOCKS_SWITCH = "fence_failures", "fence_blocks"
_PARAMETERS_OF_FAILURE = {"conn", "task_id", "error", "outcome", "release_claim", "end_run", "event_payload_extra"}


class Answerer(Protocol):
    """Who answers in this process for the run that its environment names."""

    def is_mine(self, task_id: str) -> bool:
        """Say whether a task is the one that the environment names."""

    def budget_exhausted(self, error: str, payload: Mapping[str, Any]) -> bool:
        """Answer for an agent's used-up iteration budget; says whether the task is given up."""

    def goal_given_up(self, block: Callable[[int], bool]) -> bool:
        """Answer for a goal that is given up, which ``block`` books for a run; says whether it was booked."""


def fence_failures(answerer: Answerer, module: ModuleType) -> None:
    """Let what the host writes about a worker's used-up budget be answered for.

    Before 0.16 a host does not write it.

    Args:
        answerer: whoever answers for the run.
        module: the host's ``hermes_cli.kanban_db``.
    """
    if not hasattr(module, "_record_task_failure") or not switch(FAILURES_SWITCH):
        return
    record = original(module._record_task_failure)
    if not set(inspect.signature(record).parameters) >= _PARAMETERS_OF_FAILURE:
        log.warning("this host books a used-up iteration budget otherwise; it is left alone")
        return

    @wraps(record)
    def record_task_failure(conn: Any, task_id: str, error: str, **more: Any) -> bool:
        ends = more.get("release_claim") and more.get("end_run") and more.get("outcome") == "timed_out"
        if ends and answerer.is_mine(task_id):
            return answerer.budget_exhausted(error, more.get("event_payload_extra") or {})
        return bool(record(conn, task_id, error, **more))

    module._record_task_failure = marked(record_task_failure, record)  # type: ignore[attr-defined]


def fence_blocks(answerer: Answerer, module: ModuleType) -> None:
    """Let a block without a run be answered for: only the host's loop of a goal-mode worker does that.

    Args:
        answerer: whoever answers for the run.
        module: the host's ``hermes_cli.kanban_db``.
    """
    if not hasattr(module, "block_task") or not switch(BLOCKS_SWITCH):
        return
    block = original(module.block_task)
    if "expected_run_id" not in inspect.signature(block).parameters:
        return

    @wraps(block)
    def block_task(conn: Any, task_id: str, **more: Any) -> bool:
        if not answerer.is_mine(task_id) or more.get("expected_run_id") is not None:
            return bool(block(conn, task_id, **more))
        return answerer.goal_given_up(lambda run_id: bool(block(conn, task_id, **{**more, "expected_run_id": run_id})))

    module.block_task = marked(block_task, block)  # type: ignore[attr-defined]
