"""Tasks that are ready and do not run: the answers of ``readiness`` as findings, gathered where one cause holds many.

Waiting for a slot is information and no alarm (failure mode E8). Pure. Failure modes E9, E15.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from hermes_kanban_plugin.diagnosis import readiness
from hermes_kanban_plugin.diagnosis.finding import Finding, Level, gathered
from hermes_kanban_plugin.diagnosis.wording import count, own, span

if TYPE_CHECKING:
    from hermes_kanban_plugin.diagnosis.answer import Answer
    from hermes_kanban_plugin.diagnosis.facts import BoardFacts

# Told by a finding of their own elsewhere: late completions and stray claims, quotas, and the missing dispatcher.
_TOLD_ELSEWHERE = ("late_completion", "stray_claim", "quota", "no_dispatcher", "outage")


def findings(facts: BoardFacts) -> list[Finding]:
    """Return why tasks that are ready do not run."""
    by_cause: dict[tuple[str, str], list[Answer]] = defaultdict(list)
    for answer in readiness.line_up(facts).values():
        if answer.code == "capacity":
            by_cause[answer.code, ""].append(answer)
        elif answer.code not in _TOLD_ELSEWHERE:
            by_cause[answer.code, answer.reason].append(answer)
    for case in facts.cases:
        if case.lacks_skills:
            answer = readiness.missing_skills(case)
            by_cause[answer.code, answer.reason].append(answer)
    found: list[Finding] = []
    for (code, _), answers in by_cause.items():
        if code == "starting":
            found += _unexplained(answers, facts)
        elif code == "capacity":
            found.append(_cap_reached(answers, facts))
        else:
            found.append(_gathered(answers))
    return found


def _gathered(answers: list[Answer]) -> Finding:
    """Make one finding of all tasks that wait for the same thing."""
    first, ids = answers[0], [answer.task_id for answer in answers]
    kind = {"assignee_not_found": "assignee_profile_not_found", "missing_skills": "invalid_task_skills"}
    who = f"{first.task_id} is" if len(ids) == 1 else f"{count(len(ids), 'task')} are"
    return Finding(
        kind=kind.get(first.code, "ready_not_runnable"),
        level=first.level,
        sentence=f"{who} {first.status} but cannot run: {first.reason}",
        task_id=ids[0] if len(ids) == 1 else None,
        evidence={**gathered(ids), "reason": first.code, **first.evidence},
        fix=first.next.command or own("why", ids[0]),
    )


def _cap_reached(answers: list[Answer], facts: BoardFacts) -> Finding:
    running = sum(facts.running.values())
    ids = [answer.task_id for answer in answers]
    waiting = f"{count(len(ids), 'task')} {'waits' if len(ids) == 1 else 'wait'}"
    sentence = f"{waiting} for a slot: {answers[0].reason}; {running} running"
    return Finding(
        kind="cap_reached",
        level=Level.INFO,
        sentence=sentence,
        evidence={**gathered(ids), "running": running, "limits": answers[0].evidence["limits"]},
    )


def _unexplained(answers: list[Answer], facts: BoardFacts) -> list[Finding]:
    """Name tasks that nothing holds and that a working dispatcher leaves lying for long: our own fault, most likely."""
    found = []
    for answer in answers:
        case = facts.case(answer.task_id)
        waited = facts.now - case.since if case else 0
        if waited < facts.thresholds.stranded_seconds:
            continue
        sentence = f"{answer.task_id} is {answer.status} for {span(waited)} and nothing is known that holds it"
        found.append(
            Finding(
                kind="ready_not_runnable",
                level=Level.ERROR,
                sentence=sentence,
                task_id=answer.task_id,
                evidence={"reason": "unknown", "since": case.since if case else None, **answer.evidence},
                fix=own("dispatch", "--dry-run"),
            )
        )
    return found
