"""Tasks that fail again and again, wait for a provider, or finished when nobody listened any more. Pure.

Failure modes D2, F4, F6, K1.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hermes_kanban_plugin.causes import Cause
from hermes_kanban_plugin.diagnosis import endings
from hermes_kanban_plugin.diagnosis.finding import Finding, Level, gathered
from hermes_kanban_plugin.diagnosis.wording import count, own, short, span

if TYPE_CHECKING:
    from hermes_kanban_plugin.diagnosis.facts import BoardFacts, Case, Outage

_NONE_WAITS = "several tasks failed"


def findings(facts: BoardFacts) -> list[Finding]:
    """Return what the attempts at the tasks of a board say."""
    each = [rule(case, facts) for case in facts.cases for rule in (_repeated, _quota, _late)]
    return [*(found for found in each if found is not None), *(_outage(outage, facts) for outage in facts.outages)]


def _repeated(case: Case, facts: BoardFacts) -> Finding | None:
    task = case.task
    few = task.consecutive_failures < facts.thresholds.failure_threshold
    if (few and not case.gave_up) or task.status in ("done", "archived"):
        return None
    how = endings.sentence(case.last) if case.last else short(task.last_failure_error) or "nobody knows why"
    times = f"{task.consecutive_failures} times in a row" if task.consecutive_failures > 1 else "once"
    sentence = f"{task.id} failed {times}{' and was given up' if case.gave_up else ''}"
    evidence = {"failures": task.consecutive_failures, "last_error": task.last_failure_error,
                **(endings.evidence(case.last) if case.last else {})}  # fmt: skip
    fix = own("unblock", task.id) if case.gave_up else own("runs", task.id)
    return Finding(kind="repeated_failures", level=Level.ERROR if case.gave_up else Level.WARNING,
                   sentence=f"{sentence}: {how}", task_id=task.id, run_id=case.last.id if case.last else None,
                   evidence=evidence, fix=fix)  # fmt: skip


def _quota(case: Case, facts: BoardFacts) -> Finding | None:
    last = case.last
    if case.task.status not in ("ready", "review") or last is None or last.ended_at is None:
        return None
    if endings.cause_of(last) is not Cause.RATE_LIMITED:
        return None
    until = last.retry_at if last.retry_at is not None else last.ended_at + facts.cooldown_seconds
    if until <= facts.now:
        return None
    sentence = f"{case.task.id} waits {span(until - facts.now)} more, because its provider refused to serve it"
    return Finding(kind="quota_wait", level=Level.INFO, sentence=sentence, task_id=case.task.id, run_id=last.id,
                   evidence={**endings.evidence(last), "retry_at": until}, fix=own("why", case.task.id))  # fmt: skip


def _late(case: Case, facts: BoardFacts) -> Finding | None:
    if case.late_run is None or case.task.status in ("done", "archived"):
        return None
    sentence = f"{case.task.id} was reported as done by run {case.late_run}, and nobody has accepted that yet"
    return Finding(kind="late_completion", level=Level.WARNING, sentence=sentence, task_id=case.task.id,
                   run_id=case.late_run, evidence={"status": case.task.status},
                   fix=own("accept", case.task.id))  # fmt: skip


def _outage(outage: Outage, facts: BoardFacts) -> Finding:
    waiting = [case.task.id for case in facts.cases if case.last and case.last.signature == outage.signature]
    at = outage.next_probe_at
    when = f"the next try is in {span(at - facts.now)}" if at is not None and at > facts.now else "a try is due"
    if outage.probe_task_id is not None:
        when = f"{outage.probe_task_id} is trying it again"
    tasks = f"{count(len(waiting), 'task')} {'fails' if len(waiting) == 1 else 'fail'}" if waiting else _NONE_WAITS
    sentence = (
        f"{tasks} the same way since {span(facts.now - outage.began_at)}, which is no fault of "
        f"theirs ({short(outage.signature, 80)}); {when}"
    )
    evidence = {**gathered(waiting), "signature": outage.signature, "failures": outage.failures, "next_probe_at": at}
    evidence["outage"] = outage.id
    fix = own("outages", "--close", str(outage.id))
    return Finding(kind="outage", level=Level.ERROR, sentence=sentence, evidence=evidence, fix=fix)
