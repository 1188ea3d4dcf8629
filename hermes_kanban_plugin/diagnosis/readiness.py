"""Why a task that is ready does not run: everything that the dispatcher asks before it starts one, in its order.

Pure: facts in, answers out. The conditions are those of ``statements.CANDIDATES`` and ``dispatch.admission``; a test
holds them against what a real tick would start.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hermes_kanban_plugin import breaker
from hermes_kanban_plugin.causes import Cause
from hermes_kanban_plugin.diagnosis import endings
from hermes_kanban_plugin.diagnosis.answer import Answer, By, NextEvent, answer, by_person, by_tick, by_timer
from hermes_kanban_plugin.diagnosis.finding import Level
from hermes_kanban_plugin.diagnosis.wording import count, hosts, own, short, span
from hermes_kanban_plugin.dispatch.admission import admit, in_order
from hermes_kanban_plugin.dispatch.standing import State
from hermes_kanban_plugin.identity import Verdict

if TYPE_CHECKING:
    from collections.abc import Callable

    from hermes_kanban_plugin.diagnosis.facts import BoardFacts, Case, Outage
    from hermes_kanban_plugin.models import Skipped

    Rule = Callable[[Case, BoardFacts], Answer | None]

STARTS_AT_TICK = by_tick("the dispatcher starts it at its next tick")


def line_up(facts: BoardFacts) -> dict[str, Answer]:
    """Return for every task that waits to be started why it does not run, by task id."""
    waiting = [case for case in facts.cases if case.task.status in ("ready", "review")]
    answers = {case.task.id: found for case in waiting if (found := obstacle(case, facts)) is not None}
    free = [case for case in waiting if case.task.id not in answers]
    lanes = {case.assignee: case.lane for case in free}
    line = in_order([case.task for case in free], facts.now, facts.aging_seconds)
    admission = admit(line, facts.running, facts.limits, lanes.get)
    held_up = {skipped.task_id: skipped for skipped in admission.skipped}
    for case in free:
        skipped = held_up.get(case.task.id)
        answers[case.task.id] = _starts(case) if skipped is None else _held_up(case, facts, skipped)
    return {task_id: with_dispatcher(found, facts) for task_id, found in answers.items()}


def obstacle(case: Case, facts: BoardFacts) -> Answer | None:
    """Return what keeps one waiting task from being started, besides the caps; the first obstacle counts."""
    for rule in RULES:
        found = rule(case, facts)
        if found is not None:
            return found
    return None


def with_dispatcher(found: Answer, facts: BoardFacts) -> Answer:
    """Return the answer, or that nobody dispatches if that is what the next event would need."""
    state = facts.dispatching
    if found.next.by not in (By.TICK, By.TIMER) or state.serves:
        return found
    last = state.last_tick_at
    when = f"the last tick was {span(facts.now - last)} ago" if last else "none of ours ever did"
    if state.state is State.OTHERS:
        when = f"the dispatcher, pid {state.pid}, serves another one only"
    if found.status == "running" and found.code not in ("orphaned", "illegal_pair"):
        also = f"nobody dispatches this board ({when})"
        event = by_person(f"start the dispatcher; then {found.next.sentence}", own("dispatcher"))
        return found.model_copy(update={"next": event, "evidence": {**found.evidence, "also": also}})
    return found.model_copy(
        update={
            "code": "no_dispatcher",
            "level": Level.CRITICAL,
            "reason": f"nobody dispatches this board ({when})",
            "next": by_person(f"start the dispatcher; then {found.next.sentence}", own("dispatcher")),
            "evidence": {**found.evidence, "also": found.reason, "last_tick_at": last, "dispatcher_pid": state.pid},
        }
    )


def _starts(case: Case) -> Answer:
    return answer(case, "starting", "nothing holds it", STARTS_AT_TICK, assignee=case.assignee, lane=case.lane)


def _held_up(case: Case, facts: BoardFacts, skipped: Skipped) -> Answer:
    """Name the cap; waiting for a slot is how a cap works and nothing to be alarmed about (failure mode E8)."""
    reason = skipped.reason
    if skipped.code == "memory":
        event = by_tick("it starts when there is memory again, or when a running task ends")
        return answer(case, "memory", reason, event, Level.WARNING, memory=facts.limits.memory.value)
    event = NextEvent(by=By.WORKER, sentence="it starts when a running task ends, in the order of priority and age")
    running = sum(facts.running.values())
    own_running = facts.running.get(case.assignee, 0)
    return answer(
        case, "capacity", reason, event, running=running, running_for_assignee=own_running, assignee=case.assignee,
        limits=facts.limits.named(),
    )  # fmt: skip


# --- one rule each, in the order in which they are asked ------------------------------------------------------------


def _stray_claim(case: Case, facts: BoardFacts) -> Answer | None:
    task = case.task
    if task.claim_lock is None and task.current_run_id is None:
        return None
    lock, run = task.claim_lock, task.current_run_id
    what = f"it is {task.status} but carries the claim of a run that does not hold it any more"
    return answer(case, "stray_claim", what, by_tick("the next tick clears the claim"), Level.ERROR, lock=lock, run=run)


def _late_completion(case: Case, facts: BoardFacts) -> Answer | None:
    if case.late_run is None:
        return None
    reason = f"run {case.late_run} says that it is done, and nobody has accepted that yet"
    event = by_person("accept that, or reject it and let it run again", own("accept", case.task.id))
    return answer(case, "late_completion", reason, event, Level.WARNING, run=case.late_run)


def _unproven_run(case: Case, facts: BoardFacts) -> Answer | None:
    if case.unproven_run is None:
        return None
    left = next((orphan for orphan in facts.lingering if orphan.run.run_id == case.unproven_run), None)
    if left is not None and Verdict.ALIVE in (left.supervisor, left.worker):
        what, event = "still live", NextEvent(by=By.WORKER, sentence="it starts when they have ended")
    else:
        what, event = "were not proven gone yet", by_tick("the next sweep looks at them again")
    reason = f"processes of its run {case.unproven_run} {what}, and nothing starts beside them"
    return answer(case, "unproven_run", reason, event, run=case.unproven_run)


def _parents(case: Case, facts: BoardFacts) -> Answer | None:
    if not case.open_parents or case.task.status != "ready":
        return None
    reason = f"it waits for {count(case.open_parents, 'unfinished task')}"
    parents = sorted(facts.parents.get(case.task.id, ()))
    event = NextEvent(by=By.PARENT, sentence="it may start when they are done")
    return answer(case, "parents", reason, event, parents=parents)


def _paused(case: Case, facts: BoardFacts) -> Answer | None:
    pause = facts.paused
    if pause is None:
        return None
    why = f": {short(pause.value, 80)}" if pause.value else ""
    reason = f"the board is paused by {pause.actor} since {span(facts.now - pause.since)}{why}"
    event = by_person("resume the board", own("resume", facts.board))
    return answer(case, "paused", reason, event, by=pause.actor, since=pause.since)


def _assign(case: Case) -> str:
    """Return the command with a gap: pasted as it stands the shell refuses it, and nobody is called PROFILE."""
    return f"{hosts('assign', case.task.id)} <PROFILE>"


def _nobody(case: Case, facts: BoardFacts) -> Answer | None:
    if case.assignee:
        return None
    reason = "it has no assignee, and kanban.default_assignee is not set"
    return answer(case, "no_assignee", reason, by_person("assign it", _assign(case)), Level.ERROR)


def _no_lane(case: Case, facts: BoardFacts) -> Answer | None:
    if case.lane is not None:
        return None
    reason = f"its assignee {case.assignee!r} is neither a profile nor a lane in the settings"
    event = by_person(
        f"assign it to somebody else, create the profile {case.assignee!r}, or claim it from a terminal",
        _assign(case),
    )
    return answer(case, "assignee_not_found", reason, event, Level.ERROR, assignee=case.assignee)


def _skills(case: Case, facts: BoardFacts) -> Answer | None:
    return missing_skills(case) if case.missing_skills else None


def missing_skills(case: Case) -> Answer:
    """Return which skills a task's worker would not find, and what to do about them."""
    names = [skill.name for skill in case.missing_skills]
    toolsets = [skill.name for skill in case.missing_skills if skill.is_toolset]
    reason = f"the profile {case.assignee!r} does not have the skill{'s' if len(names) > 1 else ''} {', '.join(names)}"
    if toolsets:
        reason += f" ({', '.join(toolsets)}: a name for tools, which belong into the profile's configuration)"
    event = by_person("install the skill, or take it off the task", own("edit", case.task.id, "--clear-skills"))
    looked = sorted({place for skill in case.missing_skills for place in skill.looked_in})
    return answer(
        case, "missing_skills", reason, event, Level.ERROR, skills=names, toolsets=toolsets, looked_in=looked,
        assignee=case.assignee,
    )  # fmt: skip


def _outage(case: Case, facts: BoardFacts) -> Answer | None:
    signature = case.last.signature if case.last else None
    found = next((outage for outage in facts.outages if signature and outage.signature == signature), None)
    if found is None or found.lets_in(case.task.id):
        return None
    reason = f"several tasks fail the same way since {span(facts.now - found.began_at)} ({short(signature, 80)})"
    return answer(case, "outage", reason, _probe(found, facts), Level.WARNING, outage=found.id, signature=signature)


def _probe(outage: Outage, facts: BoardFacts) -> NextEvent:
    """Say when somebody tries whether it works again."""
    if outage.probe_task_id is not None:
        return by_tick(f"{outage.probe_task_id} tries whether it works again; when it does, all come back")
    if outage.next_probe_at is None or outage.next_probe_at <= facts.now:
        return by_tick("the next tick chooses one of them to try whether it works again")
    wait = span(outage.next_probe_at - facts.now)
    return by_timer(f"in {wait} one of them tries whether it works again", outage.next_probe_at)


def _waits(case: Case, facts: BoardFacts) -> Answer | None:
    """Hold a task whose last run named a time before which it may not start again."""
    last = case.last
    if last is None or last.ended_at is None:
        return None
    quota = endings.cause_of(last) is Cause.RATE_LIMITED
    at = last.retry_at
    if at is None and last.outcome == "rate_limited":
        at = last.ended_at + facts.cooldown_seconds
    if at is None or at <= facts.now or last.ended_at > facts.now:
        return None
    event = by_timer(f"it is tried again in {span(at - facts.now)}", at)
    return answer(
        case, "quota" if quota else "backoff", endings.sentence(last), event, **endings.evidence(last), retry_at=at
    )


def _too_often(case: Case, facts: BoardFacts) -> Answer | None:
    bound = facts.max_starts_per_hour
    if bound is None or len(case.starts) < bound:
        return None
    at = breaker.earliest_start(case.starts, bound, facts.now)
    reason = f"it was started {len(case.starts)} times within an hour (max_starts_per_hour {bound})"
    event = by_timer(f"it may start again in {span(at - facts.now)}", at)
    return answer(case, "starts_per_hour", reason, event, Level.WARNING, starts=list(case.starts), bound=bound)


def _held(case: Case, facts: BoardFacts) -> Answer | None:
    if case.held_by is None:
        return None
    return answer(case, "held", f"a plugin holds it: {case.held_by}", by_tick("the plugin is asked again at each tick"))


RULES: tuple[Rule, ...] = (
    _stray_claim, _late_completion, _unproven_run, _parents, _paused, _nobody, _no_lane, _skills, _outage, _waits,
    _too_often, _held,
)  # fmt: skip
