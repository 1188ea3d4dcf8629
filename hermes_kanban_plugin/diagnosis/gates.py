"""Gates that nobody opens, and gates that open and close again and again. Pure. Failure modes K6, J8."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from hermes_kanban_plugin.diagnosis.finding import Finding, Level
from hermes_kanban_plugin.diagnosis.wording import own, short, span
from hermes_kanban_plugin.store.survey import CLOSING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hermes_kanban_plugin.diagnosis.facts import BoardFacts, Case, Gate


def findings(facts: BoardFacts) -> list[Finding]:
    """Return the gates that want a person."""
    by_task: dict[str, list[Gate]] = defaultdict(list)
    for gate in facts.gates:
        by_task[gate.task_id].append(gate)
    cycling = [_cycling(task_id, gates, facts) for task_id, gates in by_task.items()]
    stuck = [_stuck(case, facts) for case in facts.cases]
    return [found for found in (*cycling, *stuck) if found is not None]


def cycles(gates: Sequence[Gate]) -> int:
    """Return how often a gate was closed and opened, or opened and closed again: whichever is more.

    Args:
        gates: the events of one task in the order of the history; several may carry one second.
    """
    opened_again = closed_again = 0
    before = None
    for gate in gates:
        closing = gate.kind in CLOSING
        if before is not None and closing is not before:
            opened_again += not closing
            closed_again += closing
        before = closing
    return max(opened_again, closed_again)


def _cycling(task_id: str, gates: list[Gate], facts: BoardFacts) -> Finding | None:
    """Judge one task: the window ends now, and what is older does not count."""
    limits = facts.thresholds
    since = facts.now - limits.block_cycle_window_seconds
    recent = [gate for gate in gates if gate.at > since]
    number = cycles(recent)
    if number < limits.block_cycle_threshold:
        return None
    reasons = [short(gate.reason, 80) for gate in recent if gate.kind in CLOSING and gate.reason]
    sentence = (
        f"{task_id} was blocked and opened again {number} times within {span(limits.block_cycle_window_seconds)}; "
        "opening it does not settle what blocks it"
    )
    evidence = {"cycles": number, "window_seconds": limits.block_cycle_window_seconds, "reasons": reasons[-5:],
                "last_event": recent[-1].event_id}  # fmt: skip
    return Finding(kind="block_unblock_cycling", level=Level.WARNING, sentence=sentence, task_id=task_id,
                   evidence=evidence, fix=own("events", task_id))  # fmt: skip


def _stuck(case: Case, facts: BoardFacts) -> Finding | None:
    """Judge a blocked task by the time since anybody said anything: a comment starts the time anew."""
    if case.task.status != "blocked":
        return None
    quiet_since = max(case.since, case.commented_at or 0)
    quiet = facts.now - quiet_since
    if quiet < facts.thresholds.blocked_stale_seconds:
        return None
    reason = short(case.turn.word("reason") if case.turn else "")
    sentence = f"{case.task.id} is blocked for {span(facts.now - case.since)} and nobody answered"
    sentence += f": {reason}" if reason else ""
    evidence = {"blocked_at": case.since, "commented_at": case.commented_at, "reason": reason or None,
                "kind": case.task.block_kind}  # fmt: skip
    return Finding(kind="stuck_in_blocked", level=Level.WARNING, sentence=sentence,
                   task_id=case.task.id, evidence=evidence, fix=own("unblock", case.task.id))  # fmt: skip
