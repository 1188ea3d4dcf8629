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

from hermes_kanban_plugin.host.heartbeat_bridge import SWITCH, silence_bridge
from hermes_kanban_plugin.host.patching import marked, original
from hermes_kanban_plugin.host.run_endings import fence_blocks, fence_failures
from hermes_kanban_plugin.host.switches import switch
from hermes_kanban_plugin.imports import after_import
from hermes_kanban_plugin.worker import assignment, signals, subagents
from hermes_kanban_plugin.worker.endings import Endings
from hermes_kanban_plugin.worker.reporting import Reporter

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType

log = logging.getLogger(__name__)

LIMITS_SWITCH = "note_limits"
SUBAGENTS_SWITCH = "fence_subagents"
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
        return switch(SWITCH)


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
    after_import("hermes_cli.kanban_db", "failures", partial(fence_failures, seat.endings))
    after_import("hermes_cli.kanban_db", "blocks", partial(fence_blocks, seat.endings))
    after_import("run_agent", "provider limits", partial(note_limits, seat.endings))
    after_import("run_agent", "activity", partial(follow_activity, seat))
    after_import("tools.kanban_tools", "heartbeat bridge", silence_bridge)
    after_import("agent.turn_finalizer", "subagents", tell_subagents)
    _hook(ctx, "subagent_start", _delegated)
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


def _delegated(child_session_id: Any = None, **_: Any) -> None:
    if switch(SUBAGENTS_SWITCH):
        subagents.note(str(child_session_id or ""))


# --- patches -------------------------------------------------------------------------------------------------------


def follow_activity(seat: Seat, module: ModuleType) -> None:
    """Hear what an agent says it is doing, each time that it says so."""
    if not seat.bridges:
        return
    agent = module.AIAgent
    touch = original(agent._touch_activity)
    if list(inspect.signature(touch).parameters) != ["self", "desc"]:
        log.warning("this host describes its activity otherwise; only tool calls and answers are signs of life")
        return

    @wraps(touch)
    def touched(self: Any, desc: str) -> None:
        touch(self, desc)
        seat.reporter.describe(desc)

    agent._touch_activity = marked(touched, touch)


def note_limits(endings: Endings, module: ModuleType) -> None:
    """Hear when a provider that refused will serve again: the host finds it in headers that its hook leaves out."""
    agent = module.AIAgent
    found = getattr(agent, "_extract_api_error_context", None)
    if found is None or len(inspect.signature(found).parameters) != 1 or not switch(LIMITS_SWITCH):
        return
    extract = original(found)

    @wraps(extract)
    def extracted(error: Exception) -> Any:
        context = extract(error)
        if isinstance(context, dict):
            endings.reset_told(context.get("reset_at"))
        return context

    agent._extract_api_error_context = staticmethod(marked(extracted, extract))


def tell_subagents(module: ModuleType) -> None:
    """Have it known whose end it is that the host books: the worker's own, or that of a subagent in its process."""
    finalize = original(getattr(module, "finalize_turn", None))
    if finalize is None or not switch(SUBAGENTS_SWITCH):
        return
    if next(iter(inspect.signature(finalize).parameters), None) != "agent":
        log.warning("this host ends a turn otherwise; a subagent's used-up budget is taken for the worker's")
        return

    @wraps(finalize)
    def finalize_turn(agent: Any, *arguments: Any, **more: Any) -> Any:
        with subagents.ending(getattr(agent, "_delegate_depth", 0)):
            return finalize(agent, *arguments, **more)

    module.finalize_turn = marked(finalize_turn, finalize)  # type: ignore[attr-defined]
