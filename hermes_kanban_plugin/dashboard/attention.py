"""What needs a person, in the order in which to look at it, each with the one button that helps. Pure.

Facts in, items for the page out. A button carries the row that it was shown for; see ``actions`` for what it does.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

from hermes_kanban_plugin.dashboard.evidence import headed, life_of, words_of
from hermes_kanban_plugin.diagnosis.answer import By
from hermes_kanban_plugin.diagnosis.finding import Finding, Level
from hermes_kanban_plugin.diagnosis.why import explain_all
from hermes_kanban_plugin.diagnosis.wording import short
from hermes_kanban_plugin.dispatch import reaper
from hermes_kanban_plugin.dispatch.reaper import Deed
from hermes_kanban_plugin.dispatch.standing import State
from hermes_kanban_plugin.redaction import redact

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from hermes_kanban_plugin.diagnosis.answer import Answer
    from hermes_kanban_plugin.diagnosis.facts import BoardFacts, Case
    from hermes_kanban_plugin.dispatch.reaper import Orphan

LABELS = {
    "reclaim": "Reclaim",
    "repair": "End what is left",
    "clear-claim": "Clear claim",
    "accept": "Accept finished work",
    "unblock": "Unblock",
    "stop": "Stop",
    "clear-skills": "Clear skills",
    "retry": "Retry now",
    "reset-failures": "Reset failures",
}
# Kind of finding -> the verb that helps; kinds that are not here have a rule below, or no button.
_VERBS = {
    "stray_lock": "clear-claim",
    "late_completion": "accept",
    "stuck_in_blocked": "unblock",
    "block_unblock_cycling": "stop",
    "invalid_task_skills": "clear-skills",
    "outage": "retry",
}
# From which columns a verb leads anywhere; those that are not here are offered only where they do.
_COLUMNS = {
    "unblock": ("blocked", "scheduled"),
    "retry": ("ready", "review"),
    "stop": ("running", "ready", "review"),
    "clear-skills": ("ready", "todo", "blocked", "review", "triage"),
}
# Why a task waits for a person and for nobody else; what holds many tasks at once is told by a finding.
_OWN_GATES = ("gave_up", "blocked", "block_loop", "late_completion", "unknown_status")
_NO_HURRY = ("triage", "scheduled")
# What an item is called that is about the board or about several tasks.
_HEADINGS = {
    "dispatcher_silent": "Nothing is started or rescued",
    "outage": "Several tasks fail the same way",
    "assignee_profile_not_found": "Nobody can be started",
    "invalid_task_skills": "A skill is missing",
    "ready_not_runnable": "Ready, but cannot run",
    "dependency_deadlock": "Nothing can go on",
}
# Waits of one task, which a person may cut short.
_LIFTABLE = ("quota", "backoff", "outage")
UNREADABLE = "unreadable_row"
# Found once for several tasks, although the remedy is each task's own.
_TOLD_APART = ("invalid_task_skills",)


class Shown(NamedTuple):
    """What the page shows of a task, which a button sends back: column, run (0: none), lock.

    ``life`` are the signs of life of a claim that is called stale; None where the button does not depend on them.
    """

    status: str
    run_id: int
    lock: str
    life: str | None = None

    @property
    def seen(self) -> dict[str, Any]:
        """The part that every button sends."""
        return {"status": self.status, "run_id": self.run_id, "lock": self.lock}


class Attention(NamedTuple):
    """What needs a person now, what waits for one without hurry, what waits for its time, and notes about the ground.

    ``stale`` are task and run (0: none) of all that a sweep would take back or repair at once.
    """

    now: list[dict[str, Any]]
    later: list[dict[str, Any]]
    waiting: list[dict[str, Any]]
    notes: list[dict[str, Any]]
    stale: list[tuple[str, int]]


def sort_out(facts: BoardFacts, findings: Sequence[Finding], titles: Mapping[str, str]) -> Attention:
    """Sort what is known of a board by what a person has to do about it.

    Args:
        facts: the board.
        findings: what is wrong, worst first.
        titles: the titles of all tasks that the findings name.
    """
    answers = explain_all(_as_if_served(facts))
    serious = [each for one in findings if one.level.rank >= Level.WARNING.rank for each in _told_apart(one, answers)]
    serious.sort(key=lambda one: one.kind != UNREADABLE)  # no button works on such a task before it is put right
    notes = [one for one in serious if _is_note(one)]
    items: dict[str, dict[str, Any]] = {}
    for finding in serious:
        if not _is_note(finding):
            item = items.setdefault(finding.task_id or finding.kind, _item(finding, facts, titles))
            if item["kind"] != finding.kind:
                item["also"].append(redact(finding.sentence))
    told = {task_id for one in serious for task_id in (one.task_id, *one.evidence.get("tasks", ()))}
    gated = [case for case in facts.cases if case.task.id not in told and _waits_for_person(answers.get(case.task.id))]
    for task_id, item in items.items():
        case, answer = facts.case(task_id), answers.get(task_id)
        if case is not None and answer is not None and _waits_for_person(answer):
            _offer_gate(item, case, answer)
    items |= {case.task.id: _gate(case, answers[case.task.id]) for case in gated}
    needing = sorted(items.values(), key=lambda item: (-Level(item["level"]).rank, item["since"] or 0))
    return Attention(
        now=[item for item in needing if item["kind"] not in _NO_HURRY],
        later=[item for item in needing if item["kind"] in _NO_HURRY],
        waiting=_waiting(facts, answers, set(items)),
        notes=[{"kind": one.kind, "level": one.level, "sentence": one.sentence, "command": one.fix} for one in notes],
        stale=stale(facts),
    )


def _as_if_served(facts: BoardFacts) -> BoardFacts:
    """Return the facts as a dispatcher at work would leave them.

    That nobody dispatches is one finding; beside it, each task still waits for its own reason, which a person may lift.
    """
    return replace(facts, dispatching=facts.dispatching.model_copy(update={"state": State.SERVING}))


def _told_apart(finding: Finding, answers: Mapping[str, Answer]) -> Iterable[Finding]:
    """Return a finding about several tasks as one for each of them, where each has a button of its own."""
    tasks = finding.evidence.get("tasks", ())
    if finding.kind not in _TOLD_APART or finding.task_id or len(tasks) < finding.evidence.get("count", 0):
        return [finding]
    alone = {name: value for name, value in finding.evidence.items() if name not in ("tasks", "count")}
    return [
        finding.model_copy(
            update={
                "task_id": task_id,
                "sentence": f"{task_id} is {answers[task_id].status} but cannot run: {answers[task_id].reason}",
                "evidence": alone,
                "fix": answers[task_id].next.command,
            }
        )
        for task_id in tasks
    ]


def stale(facts: BoardFacts) -> list[tuple[str, int]]:
    """Return task and run (0: none) of all that a sweep would take back or repair at once, without a second look."""
    gone = [(one.run.task_id, one.run.run_id or 0) for one in facts.orphans if _is_gone(one, facts)]
    return gone + [(stray.task_id, stray.run_id or 0) for stray in (*facts.stray_locks, *facts.stray_runs)]


def _is_gone(orphan: Orphan, facts: BoardFacts) -> bool:
    return reaper.decide(orphan, facts.now).deed is not Deed.KEEP and orphan.patience(facts.lease_seconds) == 0


def _is_note(finding: Finding) -> bool:
    """Say whether a finding is about the machine and holds nobody up."""
    return finding.task_id is None and not finding.evidence.get("tasks") and finding.level is Level.WARNING


def _waits_for_person(found: Answer | None) -> bool:
    return found is not None and found.next.by is By.PERSON and found.code in (*_OWN_GATES, *_NO_HURRY)


# --- one item ------------------------------------------------------------------------------------------------------


def _item(finding: Finding, facts: BoardFacts, titles: Mapping[str, str]) -> dict[str, Any]:
    case = facts.case(finding.task_id) if finding.task_id else None
    heading = _HEADINGS.get(finding.kind, finding.kind.replace("_", " ").capitalize())
    action = _action_for(finding, case, facts)
    return {
        "key": f"{finding.kind}:{finding.task_id or ''}:{finding.run_id or ''}",
        "kind": finding.kind,
        "level": finding.level.value,
        "task_id": finding.task_id,
        "title": headed(case.task.title if case else titles.get(finding.task_id or "", finding.task_id or heading)),
        "reason": redact(finding.sentence),
        "also": [],
        "since": _since(finding, case, facts),
        "evidence": words_of(finding.evidence, facts.now),
        "command": finding.fix if action is None else None,
        "action": action,
    }


def _gate(case: Case, found: Answer) -> dict[str, Any]:
    """Make an item of a task that waits for a person although nothing is wrong with it."""
    task, hurry = case.task, found.code not in _NO_HURRY
    level = found.level if found.level.rank >= Level.WARNING.rank or not hurry else Level.WARNING
    action = _gate_action(case)
    return {
        "key": f"{found.code}:{task.id}",
        "kind": found.code,
        "level": level.value,
        "task_id": task.id,
        "title": headed(task.title),
        "reason": redact(found.reason),
        "also": [],
        "since": case.since,
        "evidence": [],
        "command": found.next.command if action is None else None,
        "action": action,
    }


def _gate_action(case: Case) -> dict[str, Any] | None:
    return _action("accept" if case.late_run else "unblock", case.task.id, _of_case(case))


def _offer_gate(item: dict[str, Any], case: Case, found: Answer) -> None:
    """Add to an item what its worker asks and the button that answers; what the finding proposes stays beside it."""
    asked = redact(short(case.turn.word("reason"))) if case.turn else ""
    if asked and not any(asked in said for said in (item["reason"], *item["also"])):
        item["also"].append(redact(found.reason))
    if item["action"] is None:
        item["action"] = _gate_action(case)


def _waiting(facts: BoardFacts, answers: Mapping[str, Answer], told: set[str]) -> list[dict[str, Any]]:
    """Return the tasks that start again by themselves when their time has come, the first one first."""
    found = []
    for case in facts.cases:
        said = answers.get(case.task.id)
        if said is None or said.next.by is not By.TIMER or case.task.id in told:
            continue
        if case.task.status in ("ready", "review", "scheduled"):
            verb = "unblock" if said.code == "scheduled" else "retry" if said.code in _LIFTABLE else None
            found.append(
                {
                    "task_id": case.task.id,
                    "title": headed(case.task.title),
                    "reason": redact(said.reason),
                    "at": said.next.at,
                    "action": _action(verb, case.task.id, _of_case(case)),
                }
            )
    return sorted(found, key=lambda item: item["at"] or 0)


def _since(finding: Finding, case: Case | None, facts: BoardFacts) -> int | None:
    """Return since when it is so, as far as that can be said: of a run, since its last sign of life."""
    for orphan in facts.orphans:
        run = orphan.run
        if (run.task_id, run.run_id) == (finding.task_id, finding.run_id):
            renewed = run.claim_expires - facts.lease_seconds if run.supervised and run.claim_expires else None
            known = [at for at in (run.started_at, run.last_heartbeat_at, renewed) if at is not None]
            return min(facts.now, max(known)) if known else None
    return case.since if case else None


# --- its button ----------------------------------------------------------------------------------------------------


def _action_for(finding: Finding, case: Case | None, facts: BoardFacts) -> dict[str, Any] | None:
    verb, task_id, shown = _VERBS.get(finding.kind), finding.task_id, _of_case(case) if case else None
    if finding.kind in ("stale_running_claim", "orphaned_run", "illegal_pair", "stray_lock"):
        verb, shown = _of_claim(finding, facts, verb)
    elif finding.kind == "repeated_failures" and case is not None:
        verb = _after_failures(case, facts)
    elif finding.kind == "outage":
        ready = [
            one
            for name in finding.evidence.get("tasks", ())
            if (one := facts.case(name)) and one.task.status == "ready"
        ]
        task_id, shown = (ready[0].task.id, _of_case(ready[0])) if ready else (None, None)
    return _action(verb, task_id, shown)


def _of_claim(finding: Finding, facts: BoardFacts, verb: str | None) -> tuple[str | None, Shown | None]:
    """Return what helps against a claim that nobody stands behind, and the claim as it is."""
    pair = (finding.task_id, finding.run_id)
    for orphan in facts.orphans:
        if (orphan.run.task_id, orphan.run.run_id) == pair:
            run = orphan.run
            life = life_of(run.claim_expires, run.last_heartbeat_at)
            return "reclaim", Shown("running", run.run_id or 0, run.lock or "", life)
    for strays, helps in ((facts.runless, "reclaim"), (facts.stray_locks, verb)):
        for stray in strays:
            if (stray.task_id, stray.run_id) == pair:
                return helps, Shown(stray.status or "", stray.run_id or 0, stray.lock or "")
    # What is left of a closed run, or a run that is open beside its task: no row of a task is touched.
    return "repair", Shown("", finding.run_id or 0, "")


def _after_failures(case: Case, facts: BoardFacts) -> str:
    if case.task.status == "blocked":
        return "unblock"
    waits = case.last is not None and (case.last.retry_at or 0) > facts.now
    return "retry" if waits and case.task.status in _COLUMNS["retry"] else "reset-failures"


def _of_case(case: Case) -> Shown:
    task = case.task
    return Shown(task.status, task.current_run_id or 0, task.claim_lock or "")


def _action(verb: str | None, task_id: str | None, shown: Shown | None) -> dict[str, Any] | None:
    """Return a button with the row that it is shown for; None where it would lead nowhere."""
    if verb is None or task_id is None or shown is None:
        return None
    if shown.status not in _COLUMNS.get(verb, (shown.status,)):
        return None
    return {"verb": verb, "label": LABELS[verb], "task_id": task_id, "seen": shown.seen, "life": shown.life}
