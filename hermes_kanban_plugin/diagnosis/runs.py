"""Runs that hold a task without working on it, and pairs of task and run that may not exist. Pure.

What the next tick will do about a run is decided by ``dispatch.reaper``; a finding says it before, and says it for good
where nobody ticks. Failure modes A1, A11, A12, E1.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hermes_kanban_plugin.diagnosis.finding import Finding, Level
from hermes_kanban_plugin.diagnosis.wording import own, span
from hermes_kanban_plugin.dispatch import reaper
from hermes_kanban_plugin.dispatch.reaper import Deed
from hermes_kanban_plugin.identity import Verdict

if TYPE_CHECKING:
    from typing import Any

    from hermes_kanban_plugin.diagnosis.facts import BoardFacts, Stray, Unstoppable
    from hermes_kanban_plugin.dispatch.reaper import Orphan
    from hermes_kanban_plugin.store.rows import Unreadable


def findings(facts: BoardFacts) -> list[Finding]:
    """Return what is wrong with the runs of a board."""
    runless = {stray.task_id for stray in facts.runless}
    suspects = [orphan for orphan in facts.orphans if orphan.run.task_id not in runless]
    return [
        *(found for orphan in suspects if (found := _suspect(orphan, facts)) is not None),
        *(found for orphan in facts.lingering if (found := _left_over(orphan, facts)) is not None),
        *(_unstoppable(run, facts) for run in facts.unstoppable),
        *(_unreadable(row, facts) for row in facts.unreadable),
        *(_without_run(stray) for stray in facts.runless),
        *(_stray_lock(stray) for stray in facts.stray_locks),
        *(_stray_run(stray) for stray in facts.stray_runs),
    ]


def _suspect(orphan: Orphan, facts: BoardFacts) -> Finding | None:
    """Judge a run that holds a task: its owner gone, or its lease."""
    run, action = orphan.run, reaper.decide(orphan, facts.now)
    if action.deed is Deed.KEEP:
        return None
    gone = Verdict.DEAD in (orphan.supervisor, orphan.worker)
    kind = "orphaned_run" if gone else "stale_running_claim"
    sentence = f"{run.task_id} is running, but run {run.run_id} does not work on it any more: {action.reason}"
    return Finding(kind=kind, level=Level.ERROR, sentence=sentence, task_id=run.task_id, run_id=run.run_id,
                   evidence=_seen(orphan, facts), fix=own("reclaim", "--stale"))  # fmt: skip


def _left_over(orphan: Orphan, facts: BoardFacts) -> Finding | None:
    """Judge a closed run whose processes live on: nothing starts on its task meanwhile."""
    run = orphan.run
    told = run.run_id in {one.run_id for one in facts.unstoppable}
    if told or not reaper.overstays(orphan, facts.now, facts.lease_seconds):
        return None
    age = span(facts.now - run.closed_at) if run.closed_at else "long"
    sentence = f"run {run.run_id} of {run.task_id} was closed {age} ago, but processes of it still live"
    return Finding(kind="orphaned_run", level=Level.WARNING, sentence=sentence, task_id=run.task_id, run_id=run.run_id,
                   evidence=_seen(orphan, facts), fix=own("scan"))  # fmt: skip


def _unstoppable(run: Unstoppable, facts: BoardFacts) -> Finding:
    """Name what a supervisor may not signal: only somebody who may can end it."""
    which = "process" if len(run.pids) == 1 else "processes"
    pids = ", ".join(run.pids)
    sentence = f"run {run.run_id} of {run.task_id} was told to end, but its {which} {pids} may not be stopped from here"
    evidence = {"pids": list(run.pids), "since": run.at, "ago": facts.now - run.at}
    return Finding(kind="unstoppable_run", level=Level.ERROR, sentence=sentence, task_id=run.task_id, run_id=run.run_id,
                   evidence=evidence, fix=f"kill -KILL {' '.join(run.pids)}")  # fmt: skip


def _seen(orphan: Orphan, facts: BoardFacts) -> dict[str, Any]:
    run = orphan.run
    found = {
        "supervisor": str(orphan.supervisor),
        "supervisor_pid": run.supervisor_pid,
        "worker": str(orphan.worker),
        "worker_pid": run.worker_pid or run.task_worker_pid,
        "lock": run.lock,
        "lease_until": run.claim_expires,
        "last_heartbeat_at": run.last_heartbeat_at,
        "lease_ended_ago": facts.now - run.claim_expires if run.claim_expires else None,
    }
    return {name: value for name, value in found.items() if value is not None}


def _unreadable(row: Unreadable, facts: BoardFacts) -> Finding:
    """Name a value that another program wrote: nobody guesses what it should have been, so the task waits."""
    sentence = f"{row.task_id} cannot be read, so nothing is done with it: {row.sentence}"
    return Finding(kind="unreadable_row", level=Level.ERROR, sentence=sentence, task_id=row.task_id,
                   evidence={"column": row.column, "value": row.value}, fix=row.repair(facts.machine.path))  # fmt: skip


def _without_run(stray: Stray) -> Finding:
    sentence = f"{stray.task_id} is running, but it has no open run"
    evidence = {"status": stray.status, "run": stray.run_id, "lock": stray.lock}
    return Finding(kind="illegal_pair", level=Level.ERROR, sentence=sentence, task_id=stray.task_id,
                   run_id=stray.run_id, evidence=evidence, fix=own("reclaim", stray.task_id))  # fmt: skip


def _stray_run(stray: Stray) -> Finding:
    status = f"is {stray.status}" if stray.status else "does not exist"
    beside = "another run holds it" if stray.status == "running" else f"the task {status}"
    sentence = f"run {stray.run_id} of {stray.task_id} is open although {beside}"
    evidence = {"status": stray.status, "run": stray.run_id}
    return Finding(kind="illegal_pair", level=Level.ERROR, sentence=sentence, task_id=stray.task_id,
                   run_id=stray.run_id, evidence=evidence, fix=own("scan"))  # fmt: skip


def _stray_lock(stray: Stray) -> Finding:
    sentence = f"{stray.task_id} is {stray.status} and still carries a claim"
    sentence += ", so it can never be started" if stray.status in ("ready", "review") else ""
    evidence = {"status": stray.status, "run": stray.run_id, "lock": stray.lock}
    return Finding(kind="stray_lock", level=Level.ERROR, sentence=sentence, task_id=stray.task_id,
                   run_id=stray.run_id, evidence=evidence, fix=own("edit", stray.task_id, "--clear-claim"))  # fmt: skip
