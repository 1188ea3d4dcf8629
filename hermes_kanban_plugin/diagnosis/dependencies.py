"""Tasks that wait for each other: circles, and gates that hold up everything behind them. Pure.

Each finding names the link to cut (failure mode J3). Only links between unfinished tasks count.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from hermes_kanban_plugin.diagnosis.finding import Finding, Level, gathered
from hermes_kanban_plugin.diagnosis.wording import count, hosts, own, short, span
from hermes_kanban_plugin.rules import task_references

if TYPE_CHECKING:
    from collections.abc import Iterable

    from hermes_kanban_plugin.diagnosis.facts import BoardFacts, Case, Linked

# Columns that only a person takes a task out of.
GATES = ("blocked", "triage", "scheduled")
# How many tasks above one are looked at, how many behind a gate are counted, and how many gates are told.
REACH = 10_000
BEHIND = 200
TOLD = 50


def findings(facts: BoardFacts) -> list[Finding]:
    """Return the circles, and the gates with tasks waiting behind them."""
    return [*_cycles(facts), *_deadlocks(facts)]


# --- circles --------------------------------------------------------------------------------------------------------


def _cycles(facts: BoardFacts) -> list[Finding]:
    found = []
    for circle in circles(facts.links)[:TOLD]:
        parent, child = link_to_cut(circle, facts)
        waiting = f"{count(len(circle), 'task')} {'waits' if len(circle) == 1 else 'wait'} for each other for ever"
        sentence = f"{waiting if len(circle) > 1 else f'{circle[0]} waits for itself for ever'}: {drawn(circle)}"
        evidence = {**gathered(circle), "cut": [parent, child]}
        found.append(Finding(kind="dependency_cycle", level=Level.ERROR, sentence=short(sentence, 300),
                             evidence=evidence, fix=hosts("unlink", parent, child)))  # fmt: skip
    return found


def drawn(circle: list[str]) -> str:
    """Return a circle for people: each task before the one that waits for it."""
    return " -> ".join([*circle, circle[0]])


def circle_above(task_id: str, facts: BoardFacts) -> list[str]:
    """Return the circle that a task is part of or waits behind, in the order of its links, or nothing."""
    above = ancestors(task_id, facts)
    if task_id in above:
        return _shortest_circle(task_id, facts)
    return next((circle for circle in circles(facts.links) if above.intersection(circle)), [])


def ancestors(task_id: str, facts: BoardFacts) -> set[str]:
    """Return every unfinished task that a task waits for, directly or not; itself only if it is on a circle."""
    met: set[str] = set()
    queue = [task_id]
    while queue and len(met) < REACH:
        fresh = [parent for parent in facts.parents.get(queue.pop(), ()) if parent not in met]
        met.update(fresh)
        queue += fresh
    return met


def _shortest_circle(task_id: str, facts: BoardFacts) -> list[str]:
    ways = [[task_id]]
    met: set[str] = set()
    for way in ways:
        for child in sorted(facts.children.get(way[-1], ())):
            if child == task_id:
                return way
            if child not in met:
                met.add(child)
                ways.append([*way, child])
    return []


def circles(links: Iterable[tuple[str, str]]) -> list[list[str]]:
    """Return one circle for each knot of tasks that wait for each other, parents before their children.

    What has no open parent, and what nobody open waits for, is on no circle; it is taken away until nothing of the
    kind is left. The rest is walked.
    """
    below = _core(links)
    found: list[list[str]] = []
    seen: set[str] = set()
    for start in sorted(below):
        path: list[str] = []
        here = start
        while here not in seen and here in below:
            seen.add(here)
            path.append(here)
            here = min(below[here])
        if here in path:
            found.append(path[path.index(here) :])
    return found


def _core(links: Iterable[tuple[str, str]]) -> dict[str, set[str]]:
    """Return children by parent of the part of the graph in which everybody has a parent and a child."""
    below: dict[str, set[str]] = defaultdict(set)
    above: dict[str, set[str]] = defaultdict(set)
    for parent, child in links:
        below[parent].add(child)
        above[child].add(parent)
    free = [task for task in {*below, *above} if not below.get(task) or not above.get(task)]
    while free:
        task = free.pop()
        for child in below.pop(task, set()):
            above[child].discard(task)
            if not above[child] and child in below:
                free.append(child)
        for parent in above.pop(task, set()):
            below[parent].discard(task)
            if not below[parent] and parent in above:
                free.append(parent)
    return {parent: children for parent, children in below.items() if children}


def link_to_cut(circle: list[str], facts: BoardFacts) -> tuple[str, str]:
    """Return the link of a circle that was most likely added by mistake.

    A task usually waits for older ones, so the link from the youngest parent to a task older than itself goes.
    """
    ages = {task_id: facts.linked[task_id].created_at for task_id in circle if task_id in facts.linked}
    pairs = list(zip(circle, [*circle[1:], circle[0]], strict=True))
    return max(pairs, key=lambda pair: (ages.get(pair[0], 0) - ages.get(pair[1], 0), pair))


# --- gates ----------------------------------------------------------------------------------------------------------


def roots_above(task_id: str, facts: BoardFacts) -> list[Linked]:
    """Return the unfinished tasks at the top of a task's chains that hold the rest; gates come first."""
    above = [facts.linked[name] for name in ancestors(task_id, facts) - {task_id} if name in facts.linked]
    roots = [one for one in above if not facts.parents.get(one.id) or is_gate(one.id, facts)]
    return sorted(roots, key=lambda root: (not is_gate(root.id, facts), root.id))


def _deadlocks(facts: BoardFacts) -> list[Finding]:
    """Look behind the gates whose reason is known, and behind those that most tasks wait for directly."""
    gates = sorted((name for name in facts.children if is_gate(name, facts)), key=lambda name: _crowd(name, facts))
    chosen = dict.fromkeys([*gates[:TOLD], *(name for name in gates if facts.case(name) is not None)])
    found = [_deadlock(facts.linked[gate], _behind(gate, facts), facts) for gate in chosen]
    return sorted(found, key=lambda one: (-one.level.rank, -one.evidence["count"], one.task_id or ""))[:TOLD]


def _crowd(task_id: str, facts: BoardFacts) -> tuple[int, str]:
    return -len(facts.children[task_id]), task_id


def is_gate(task_id: str, facts: BoardFacts) -> bool:
    """Say whether only a person moves a task: blocked, parked without a time, or in triage where nobody takes it."""
    status = facts.linked[task_id].status if task_id in facts.linked else ""
    case = facts.case(task_id)
    if status == "scheduled" and facts.linked[task_id].due_at is not None:
        return False
    if status == "triage" and facts.decomposes:
        return case is not None and is_parked(case)
    return status in GATES


def is_parked(case: Case) -> bool:
    """Say whether the loop breaker put a card into triage, where the decomposer leaves it alone (contract W11)."""
    return case.turn is not None and case.turn.kind == "block_loop_detected"


def _behind(gate: str, facts: BoardFacts) -> list[str]:
    """Return the tasks that wait for a gate, nearest first, up to a bound."""
    met, queue = {gate}, [gate]
    for here in queue:
        if len(met) > BEHIND:
            break
        children = dict.fromkeys(facts.children.get(here, ()))
        fresh = [child for child in children if child not in met and child in facts.linked]
        met.update(fresh)
        queue += fresh
    return queue[1:]


def _deadlock(gate: Linked, behind: list[str], facts: BoardFacts) -> Finding:
    """Judge a gate with tasks behind it: one that waits for a task behind itself is a deadlock for sure."""
    case = facts.case(gate.id)
    said = case.turn.word("reason") if case and case.turn else ""
    awaited = _awaited(said, behind, facts)
    evidence = {**gathered(behind), "parent": gate.id, "status": gate.status, "reason": said or None}
    if awaited is not None:
        sentence = f"{gate.id} is {gate.status} until {awaited} is done, and {awaited} waits for {gate.id}"
        cut = _last_link(gate.id, awaited, facts)
        return Finding(kind="dependency_deadlock", level=Level.ERROR, sentence=sentence, task_id=gate.id,
                       evidence={**evidence, "cut": list(cut)}, fix=hosts("unlink", *cut))  # fmt: skip
    since = facts.now - case.since if case else 0
    level = Level.WARNING if since >= facts.thresholds.blocked_stale_seconds else Level.INFO
    age = f" for {span(since)}" if case else ""
    waiting = f"{count(len(behind), 'task')} {'waits' if len(behind) == 1 else 'wait'}"
    sentence = f"{waiting} for {gate.id}, which is {gate.status}{age} and needs a person"
    return Finding(kind="dependency_deadlock", level=level, sentence=sentence, task_id=gate.id,
                   evidence=evidence, fix=own("why", gate.id))  # fmt: skip


def _awaited(said: str, behind: list[str], facts: BoardFacts) -> str | None:
    """Return the task behind a gate that the gate itself waits for: named in its reason, or the review it asks for."""
    named = [task_id for task_id in task_references(said) if task_id in behind]
    if named:
        return named[0]
    if "review" not in said.lower():
        return None
    reviews = [task_id for task_id in behind if "review" in facts.linked[task_id].title.lower()]
    return reviews[0] if reviews else None


def _last_link(gate: str, awaited: str, facts: BoardFacts) -> tuple[str, str]:
    """Return the last link of the way from a gate to the task it waits for."""
    parents = facts.parents.get(awaited, ())
    return (gate if gate in parents else min(parents, default=gate)), awaited
