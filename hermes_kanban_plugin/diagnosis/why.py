"""The one reason a task is not running now, and what happens next: for every task in every column.

Pure and complete: a status that nobody knows has an answer too. Rule source: docs/explanation/state-machine.md, column
"what happens next, and by whom".
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hermes_kanban_plugin.diagnosis import dependencies, endings, readiness
from hermes_kanban_plugin.diagnosis.answer import Answer, By, NextEvent, answer, by_person, by_tick, by_timer
from hermes_kanban_plugin.diagnosis.finding import Level
from hermes_kanban_plugin.diagnosis.readiness import with_dispatcher
from hermes_kanban_plugin.diagnosis.wording import count, hosts, own, short, span
from hermes_kanban_plugin.dispatch import reaper
from hermes_kanban_plugin.dispatch.reaper import Deed
from hermes_kanban_plugin.identity import Verdict
from hermes_kanban_plugin.rules import Status

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from hermes_kanban_plugin.diagnosis.facts import BoardFacts, Case, Linked
    from hermes_kanban_plugin.dispatch.reaper import Orphan

_NOTHING = NextEvent(by=By.NOTHING, sentence="nothing; it is finished")


def explain(case: Case, facts: BoardFacts) -> Answer:
    """Return why one task is not running now, or that it is, and what happens next."""
    rule = _BY_STATUS.get(case.task.status, _unknown)
    return with_dispatcher(rule(case, facts), facts)


def explain_all(facts: BoardFacts) -> dict[str, Answer]:
    """Return the same for every task of a board that is looked at one by one, by task id; those in line only once."""
    answers = readiness.line_up(facts)
    return answers | {case.task.id: explain(case, facts) for case in facts.cases if case.task.id not in answers}


def _waiting(case: Case, facts: BoardFacts) -> Answer:
    return readiness.line_up(facts)[case.task.id]


# --- waiting for other tasks ----------------------------------------------------------------------------------------


def _todo(case: Case, facts: BoardFacts) -> Answer:
    task_id = case.task.id
    circle = dependencies.circle_above(task_id, facts)
    if circle:
        cut = dependencies.link_to_cut(circle, facts)
        whom = "itself" if task_id in circle else "tasks that wait for each other"
        reason = f"it waits for {whom}: {' -> '.join([*circle, circle[0]])}"
        event = by_person("cut one link of the circle", hosts("unlink", *cut))
        return answer(case, "dependency_cycle", reason, event, Level.ERROR, circle=circle, cut=cut)
    if not case.open_parents:
        event = by_tick("the next tick makes it ready")
        return answer(case, "promotion", "all tasks it waited for are finished", event)
    return _parents(case, facts)


def _parents(case: Case, facts: BoardFacts) -> Answer:
    """Name the parents, and whoever at the end of the chain has to move."""
    parents = sorted(facts.parents.get(case.task.id, ()))
    roots = dependencies.roots_above(case.task.id, facts)
    reason = f"it waits for {count(case.open_parents, 'unfinished task')}"
    if parents:
        reason += f": {', '.join(_named(parent, facts) for parent in parents[:3])}"
    stuck = next((root for root in roots if dependencies.is_gate(root.id, facts)), None)
    held = next((found for root in roots if (found := _held_root(root, facts)) is not None), None)
    if stuck is None and held is not None:
        event = by_person(f"{held.task_id} first: {held.next.sentence}", held.next.command or own("why", held.task_id))
        return answer(
            case, "held_parent", f"{reason}; {held.task_id} cannot run: {held.reason}", event, Level.WARNING,
            parents=parents, roots=[root.id for root in roots],
        )  # fmt: skip
    if stuck is None:
        event = NextEvent(by=By.PARENT, sentence="it becomes ready in the moment the last of them is done")
        return answer(case, "parents", reason, event, parents=parents, roots=[root.id for root in roots])
    event = by_person(_gate_hint(stuck), own("why", stuck.id))
    return answer(
        case, "blocked_parent", f"{reason}; {stuck.id} is {stuck.status} and needs a person", event, Level.WARNING,
        parents=parents, roots=[root.id for root in roots],
    )  # fmt: skip


def _held_root(root: Linked, facts: BoardFacts) -> Answer | None:
    """Return why a task at the end of a chain cannot run before a person does something, or None."""
    case = facts.case(root.id)
    if case is None or root.status not in ("ready", "review"):
        return None
    found = readiness.obstacle(case, facts)
    return found if found is not None and found.next.by is By.PERSON else None


def _named(task_id: str, facts: BoardFacts) -> str:
    linked = facts.linked.get(task_id)
    return f"{task_id} ({linked.status})" if linked else task_id


def _gate_hint(stuck: Linked) -> str:
    return f"somebody opens or finishes {stuck.id}; look at it first"


# --- gates that only a person opens ---------------------------------------------------------------------------------


def _blocked(case: Case, facts: BoardFacts) -> Answer:
    task = case.task
    since = span(facts.now - case.since)
    if case.late_run is not None:
        event = by_person("accept what it reported, or reject it", own("accept", task.id))
        withheld = _reason_of(case) if case.turn and case.turn.payload.get("withheld") else ""
        how = withheld or "it said so just after it was given up"
        reason = f"run {case.late_run} says that it is done, and nobody has accepted that yet: {how}"
        return answer(case, "late_completion", reason, event, Level.WARNING, run=case.late_run)
    if case.lacks_skills:
        lack = readiness.missing_skills(case)
        event = by_person(
            "install it, or take it off the task; then unblock it", own("edit", task.id, "--clear-skills")
        )
        reason = f"the dispatcher blocked it {since} ago: {lack.reason}"
        return answer(case, "missing_skills", reason, event, Level.ERROR, **lack.evidence)
    event = by_person("settle what it waits for, then unblock it", own("unblock", task.id))
    if case.gave_up:
        how = f"; {endings.sentence(case.last)}" if case.last else ""
        reason = f"it was given up {since} ago after {count(task.consecutive_failures, 'failure')} in a row{how}"
        found = endings.evidence(case.last) if case.last else {}
        return answer(case, "gave_up", reason, event, Level.ERROR, **found, failures=task.consecutive_failures)
    why = _reason_of(case)
    who = f" by {case.turn.word('actor')}" if case.turn and case.turn.word("actor") else ""
    reason = f"it was blocked{who} {since} ago: {why}" if why else f"it was blocked{who} {since} ago without a reason"
    return answer(case, "blocked", reason, event, kind=task.block_kind, since=case.since)


def _reason_of(case: Case) -> str:
    said = case.turn.word("reason") if case.turn else ""
    if not said and case.last is not None and case.last.outcome == "blocked":
        said = case.last.summary or ""
    return short(said)


def _triage(case: Case, facts: BoardFacts) -> Answer:
    task_id = case.task.id
    if dependencies.is_parked(case):
        reason = f"it was blocked again for the same reason: {_reason_of(case) or 'none was given'}"
        event = by_person("answer it in a comment, which its next worker reads, then open it", own("unblock", task_id))
        return answer(case, "block_loop", reason, event, Level.WARNING, recurrences=case.task.block_recurrences)
    reason = "it is in triage: what is to be done is not written down yet"
    if facts.decomposes:
        event = by_tick("the dispatcher hands it to the decomposer of Hermes")
    else:
        event = by_person("describe it, or have it described", hosts("specify", task_id))
    return answer(case, "triage", reason, event, since=case.since)


def _scheduled(case: Case, facts: BoardFacts) -> Answer:
    why = _reason_of(case)
    reason = f"it was parked {span(facts.now - case.since)} ago" + (f": {why}" if why else "")
    if case.due_at is None:
        event = by_person("unblock it when its time has come; nothing else wakes it", own("unblock", case.task.id))
    elif case.due_at > facts.now:
        event = by_timer(f"it comes back in {span(case.due_at - facts.now)}", case.due_at)
    else:
        event = by_tick("its time has come; the next tick brings it back")
    return answer(case, "scheduled", reason, event, since=case.since, due_at=case.due_at)


# --- running --------------------------------------------------------------------------------------------------------


def _running(case: Case, facts: BoardFacts) -> Answer:
    orphan = next((one for one in facts.orphans if one.run.task_id == case.task.id), None)
    if orphan is None or orphan.run.run_id is None or any(stray.task_id == case.task.id for stray in facts.runless):
        return _runless(case, facts)
    run, action = orphan.run, reaper.decide(orphan, facts.now)
    found: dict[str, Any] = {"run": run.run_id, "lease_until": run.claim_expires, "worker": str(orphan.worker)}
    if action.deed is not Deed.KEEP:
        again = ", and it waits there while the board is paused" if facts.paused else ", and it runs again"
        event = by_tick(f"the next tick gives it back to its column{again}")
        return answer(case, "orphaned", f"run {run.run_id} does not work: {action.reason}", event, Level.ERROR, **found)
    if run.supervised and run.accepted_at is None:
        event = _deadline(orphan, "its supervisor has until then to take it over")
        return answer(case, "launching", f"run {run.run_id} is being started", event, **found)
    return _works(case, orphan, facts, found)


def _works(case: Case, orphan: Orphan, facts: BoardFacts, found: dict[str, Any]) -> Answer:
    run = orphan.run
    age = f" for {span(facts.now - run.started_at)}" if run.started_at is not None else ""
    if Verdict.DEAD not in (orphan.worker, orphan.supervisor) and Verdict.ALIVE in (orphan.worker, orphan.supervisor):
        event = NextEvent(by=By.WORKER, sentence="its worker completes or blocks it")
        return answer(case, "running", f"it is running{age}, run {run.run_id}", event, **found)
    what = "its worker cannot be seen from here" if orphan.worker is Verdict.UNKNOWN else "its worker has ended"
    event = _deadline(orphan, "without a renewal of its lease it is taken back")
    return answer(case, "unseen", f"it is running{age}, run {run.run_id}; {what}", event, **found)


def _deadline(orphan: Orphan, sentence: str) -> NextEvent:
    run = orphan.run
    at = run.launch_deadline if run.supervised and run.accepted_at is None else run.claim_expires
    return by_timer(sentence, at) if at is not None else by_tick(sentence)


def _runless(case: Case, facts: BoardFacts) -> Answer:
    at = case.task.claim_expires
    reason = "it says that it is running, but it has no open run"
    repair = "its claim ends and it is taken back"
    event = by_timer(repair, at) if at is not None and at > facts.now else by_tick("the next tick takes it back")
    return answer(case, "illegal_pair", reason, event, Level.ERROR, run=case.task.current_run_id)


# --- finished, and what nobody knows --------------------------------------------------------------------------------


def _finished(case: Case, facts: BoardFacts) -> Answer:
    return answer(case, case.task.status, f"it is {case.task.status}", _NOTHING, since=case.since)


def _unknown(case: Case, facts: BoardFacts) -> Answer:
    status = case.task.status
    reason = f"its status {status!r} is not one that this version knows; a newer Hermes may have written it"
    return answer(case, "unknown_status", reason, by_person("look at it", own("show", case.task.id)), Level.WARNING)


_BY_STATUS: dict[str, Callable[[Case, BoardFacts], Answer]] = {
    Status.TRIAGE: _triage,
    Status.TODO: _todo,
    Status.SCHEDULED: _scheduled,
    Status.READY: _waiting,
    Status.RUNNING: _running,
    Status.BLOCKED: _blocked,
    Status.REVIEW: _waiting,
    Status.DONE: _finished,
    Status.ARCHIVED: _finished,
}
