"""What the host says and does in a worker, led to our reports; the only place that knows where it says it.

Each patch looks at what it replaces and leaves unknown code alone. Rule source: contract section 3 (heartbeat bridge,
worker side guards), section 7 (hooks), W2, W7.
"""

from __future__ import annotations

import atexit
import inspect
import logging
import os
import sys
from functools import cached_property, partial, wraps
from typing import TYPE_CHECKING, Any

from hermes_kanban_plugin.host.switches import switch
from hermes_kanban_plugin.imports import after_import
from hermes_kanban_plugin.worker import assignment, signals
from hermes_kanban_plugin.worker.endings import Endings
from hermes_kanban_plugin.worker.reporting import Reporter

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType

log = logging.getLogger(__name__)

_OURS = "_hermes_kanban"
_PARAMETERS_OF_FAILURE = {"conn", "task_id", "error", "outcome", "release_claim", "end_run", "event_payload_extra"}
_seats: list[Seat] = []


class Seat:
    """What this worker process reports with: made once, however often the host registers us."""

    def __init__(self) -> None:
        mine = assignment.read(os.environ, os.getpid())
        self.reporter = Reporter(mine)
        self.endings = Endings(mine)

    def process_ends(self) -> None:
        """Say what is left to say; never raises."""
        self.endings.process_ends()
        self.reporter.process_ends()

    @cached_property
    def bridges(self) -> bool:
        """Whether activity is reported; asked when there is some, because the host's configuration is read for it."""
        return switch("bridge_activity")


def install(ctx: Any) -> None:
    """Lead the host's activity, failures and budget to our reports.

    Args:
        ctx: the host's plugin context.

    Raises:
        MalformedEnvironment: the environment does not say which run this is; the guard has ended such a worker.
    """
    if not _seats:
        _seats.append(Seat())
        atexit.register(_seats[0].process_ends)
        signals.before_end(_seats[0].reporter.process_ends)  # the host ends a worker that is told to without more ado
    seat = _seats[0]
    after_import("hermes_cli.kanban_db", "worker failures", partial(fence_failures, seat.endings))
    after_import("run_agent", "provider limits", partial(note_limits, seat.endings))
    after_import("run_agent", "activity", partial(follow_activity, seat))
    after_import("tools.kanban_tools", "heartbeat bridge", partial(silence_bridge, seat))
    _hook(ctx, "post_api_request", partial(_answered, seat))
    _hook(ctx, "api_request_error", partial(_refused, seat.endings))
    _hook(ctx, "post_tool_call", partial(_called, seat))


def _hook(ctx: Any, name: str, callback: Callable[..., None]) -> None:
    """Register a hook if this host has it; it would warn about an unknown one."""
    known = getattr(sys.modules.get("hermes_cli.plugins"), "VALID_HOOKS", None)
    if known is None or name in known:
        ctx.register_hook(name, callback)


# --- hooks of the host: they get more keywords with each version ---------------------------------------------------


def _answered(seat: Seat, usage: Any = None, **_: Any) -> None:
    seat.endings.provider_answered()
    seat.reporter.answered(usage)
    if seat.bridges:
        seat.reporter.report()


def _refused(endings: Endings, **said: Any) -> None:
    error = said.get("error")
    message = error.get("message") if isinstance(error, dict) else error
    endings.provider_refused(said.get("status_code"), said.get("reason"), str(message or ""))


def _called(seat: Seat, tool_name: str = "", args: Any = None, **_: Any) -> None:
    if seat.bridges:
        seat.reporter.call_ended(tool_name, args if isinstance(args, dict) else {"args": args})


# --- patches -------------------------------------------------------------------------------------------------------


def follow_activity(seat: Seat, module: ModuleType) -> None:
    """Hear what an agent says it is doing, each time that it says so."""
    if not seat.bridges:
        return
    agent = module.AIAgent
    touch = _original(agent._touch_activity)
    if list(inspect.signature(touch).parameters) != ["self", "desc"]:
        log.warning("this host describes its activity otherwise; only tool calls and answers are signs of life")
        return

    @wraps(touch)
    def touched(self: Any, desc: str) -> None:
        touch(self, desc)
        seat.reporter.describe(desc)

    agent._touch_activity = _marked(touched, touch)


def silence_bridge(seat: Seat, module: ModuleType) -> None:
    """Keep the host's own bridge from the board: it also beats while the worker only waits.

    Before 0.16 the host has none.
    """
    bridge = getattr(module, "heartbeat_current_worker_from_env", None)
    if bridge is None or not seat.bridges:
        return
    if inspect.signature(bridge).parameters:
        log.warning("this host's heartbeat bridge takes arguments; it is left alone and beats also while it waits")
        return

    @wraps(bridge)
    def heartbeat_current_worker_from_env() -> bool:
        return False

    module.heartbeat_current_worker_from_env = heartbeat_current_worker_from_env  # type: ignore[attr-defined]


def note_limits(endings: Endings, module: ModuleType) -> None:
    """Hear when a provider that refused will serve again: the host finds it in headers that its hook leaves out."""
    agent = module.AIAgent
    found = getattr(agent, "_extract_api_error_context", None)
    if found is None or len(inspect.signature(found).parameters) != 1:
        return
    extract = _original(found)

    @wraps(extract)
    def extracted(error: Exception) -> Any:
        context = extract(error)
        if isinstance(context, dict):
            endings.reset_told(context.get("reset_at"))
        return context

    agent._extract_api_error_context = staticmethod(_marked(extracted, extract))


def fence_failures(endings: Endings, module: ModuleType) -> None:
    """Let what the host writes about this worker's own end be fenced: a used-up budget, and a goal that is given up.

    Before 0.16 a host has neither.
    """
    if not hasattr(module, "_record_task_failure"):
        return
    record = _original(module._record_task_failure)
    if set(inspect.signature(record).parameters) >= _PARAMETERS_OF_FAILURE:

        @wraps(record)
        def record_task_failure(conn: Any, task_id: str, error: str, **more: Any) -> bool:
            ends = more.get("release_claim") and more.get("end_run") and more.get("outcome") == "timed_out"
            if ends and endings.is_mine(task_id):
                return endings.budget_exhausted(error, more.get("event_payload_extra") or {})
            return bool(record(conn, task_id, error, **more))

        module._record_task_failure = _marked(record_task_failure, record)  # type: ignore[attr-defined]
    else:
        log.warning("this host books a used-up iteration budget otherwise; it is left alone")
    block = _original(module.block_task)
    if "expected_run_id" in inspect.signature(block).parameters:

        @wraps(block)
        def block_task(conn: Any, task_id: str, **more: Any) -> bool:
            if endings.is_mine(task_id) and more.get("expected_run_id") is None:
                more["expected_run_id"] = endings.run_id
            return bool(block(conn, task_id, **more))

        module.block_task = _marked(block_task, block)  # type: ignore[attr-defined]


def _marked(ours: Any, original: Any) -> Any:
    setattr(ours, _OURS, original)
    return ours


def _original(function: Any) -> Any:
    """Return what stood in this place before us, so that a second registration does not wrap our own wrapper."""
    return getattr(function, _OURS, function)
