"""How an attempt ended, in one sentence of its own for each way to end, with what shows it (failure mode K1)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hermes_kanban_plugin.causes import Cause
from hermes_kanban_plugin.diagnosis.wording import short

if TYPE_CHECKING:
    from collections.abc import Callable

    from hermes_kanban_plugin.diagnosis.facts import Ending

# Signals that people ask about; others are named by their number.
_SIGNALS = {
    1: "HUP", 2: "INT", 3: "QUIT", 4: "ILL", 6: "ABRT", 7: "BUS", 8: "FPE", 9: "KILL", 11: "SEGV", 13: "PIPE",
    14: "ALRM", 15: "TERM", 24: "XCPU", 25: "XFSZ",
}  # fmt: skip
# What the host books, where nobody of us was there to say more.
_BY_OUTCOME = {
    "completed": Cause.COMPLETED,
    "blocked": Cause.BLOCKED,
    "crashed": Cause.CRASHED,
    "timed_out": Cause.TIMED_OUT,
    "spawn_failed": Cause.SPAWN_FAILED,
    "gave_up": Cause.SPAWN_FAILED,
    "rate_limited": Cause.RATE_LIMITED,
    "stale": Cause.HEARTBEAT_STALE,
    "reclaimed": Cause.INTERRUPTED,
}


def cause_of(run: Ending) -> Cause | None:
    """Return why an attempt ended, as far as the board knows; None while it goes on or for a word nobody knows."""
    if run.cause in list(Cause):
        return Cause(str(run.cause))
    if run.outcome == "crashed" and run.exit_code == 0:
        return Cause.PROTOCOL_VIOLATION
    return _BY_OUTCOME.get(run.outcome or "")


def sentence(run: Ending) -> str:
    """Return how an attempt ended, as part of a sentence: "its worker …"."""
    cause = cause_of(run)
    if cause is None:
        return f"its last attempt ended as {run.outcome}" if run.outcome else "its last attempt is still open"
    return _SENTENCES[cause](run)


def evidence(run: Ending) -> dict[str, Any]:
    """Return what shows how an attempt ended; only what is known."""
    found = {
        "run": run.id,
        "cause": cause_of(run),
        "exit_code": run.exit_code,
        "exit_signal": run.exit_signal,
        "error": run.error,
        "last_output": run.last_output,
        "ended_at": run.ended_at,
    }
    return {name: value for name, value in found.items() if value is not None}


def _crashed(run: Ending) -> str:
    if run.exit_signal == 9:
        return "its worker was killed by signal 9 (KILL), which is what a machine short of memory does"
    if run.exit_signal:
        name = _SIGNALS.get(run.exit_signal)
        return f"its worker was ended by signal {run.exit_signal}" + (f" ({name})" if name else "")
    if run.exit_code:
        return f"its worker ended with status {run.exit_code}"
    return f"its worker died{_because(run)}"


def _because(run: Ending) -> str:
    return f": {short(run.error)}" if run.error else ""


_SENTENCES: dict[Cause, Callable[[Ending], str]] = {
    Cause.COMPLETED: lambda run: "its worker completed it",
    Cause.BLOCKED: lambda run: f"its worker blocked it: {short(run.summary) or 'without a reason'}",
    Cause.CRASHED: _crashed,
    Cause.TIMED_OUT: lambda run: "its worker ran longer than its time limit and was stopped",
    Cause.BUDGET_EXHAUSTED: lambda run: "its agent used up its iterations before it was done",
    Cause.SPAWN_FAILED: lambda run: f"its worker could not be started{_because(run)}",
    Cause.PROTOCOL_VIOLATION: lambda run: "its worker ended without saying that it was done or blocked",
    Cause.RATE_LIMITED: lambda run: "its provider refused to serve it for now",
    Cause.INTERRUPTED: lambda run: f"its worker was interrupted, which is not its fault{_because(run)}",
    Cause.INFRASTRUCTURE: lambda run: f"the machine or the supervisor below its worker was lost{_because(run)}",
    Cause.HEARTBEAT_STALE: lambda run: "its worker lived but gave no sign of life for too long and was stopped",
    Cause.SUPERSEDED: lambda run: "its worker lost the task to another run or to a person",
}
