"""What the page shows: the state of one board at one moment, attention first. Reads only; not a byte is changed."""

from __future__ import annotations

import json
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import psutil

from hermes_kanban_plugin import locations
from hermes_kanban_plugin.dashboard.attention import Shown, sort_out
from hermes_kanban_plugin.dashboard.evidence import LONGEST, headed
from hermes_kanban_plugin.diagnosis import surroundings
from hermes_kanban_plugin.diagnosis.finding import Level
from hermes_kanban_plugin.diagnosis.wording import short, span
from hermes_kanban_plugin.dispatch.standing import State
from hermes_kanban_plugin.identity import Verdict
from hermes_kanban_plugin.models import TERMINAL
from hermes_kanban_plugin.redaction import redact
from hermes_kanban_plugin.store import history, snapshots
from hermes_kanban_plugin.store.connection import translating
from hermes_kanban_plugin.store.standins import Pane
from hermes_kanban_plugin.store.values import known
from hermes_kanban_plugin.worker.activity import IDENTICAL_CALLS

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from hermes_kanban_plugin.board import Board
    from hermes_kanban_plugin.diagnosis.facts import BoardFacts, Dispatching
    from hermes_kanban_plugin.dispatch.reaper import Orphan
    from hermes_kanban_plugin.runtime import Runtime
    from hermes_kanban_plugin.settings import HostSettings

COLUMNS = ("running", "ready", "blocked", "todo", "triage", "review", "scheduled")
MAX_RUNS, MAX_ITEMS = 100, 100

# What the facts of a diagnosis do not hold: titles, progress, and how many attempts there were.
RUNS = f"""
SELECT tasks.id AS task_id, tasks.title, tasks.assignee, tasks.current_run_id AS run_id, tasks.claim_expires,
    task_runs.started_at, tasks.last_heartbeat_at, kp_runs.lane, kp_runs.progress_at, kp_runs.repeated_calls,
    tasks.worker_pid, tasks.status, tasks.claim_lock,
    ({history.NUMBER_OF_ATTEMPTS}) AS attempt
FROM tasks
    LEFT JOIN task_runs ON task_runs.id = tasks.current_run_id
    LEFT JOIN kp_runs ON kp_runs.run_id = tasks.current_run_id
WHERE tasks.status = 'running'
ORDER BY task_runs.started_at, tasks.id
LIMIT :limit"""
TITLES = "SELECT id, title FROM tasks WHERE id IN (SELECT value FROM json_each(:ids))"
NEWEST_EVENT = "SELECT COALESCE(max(id), 0) FROM task_events"


def overview(runtime: Runtime, board: Board) -> dict[str, Any]:
    """Return everything that the page shows of one board; all of it is of one moment.

    Raises:
        BoardUnusable: the board cannot be read.
    """
    with translating(board.path), snapshots.one_moment(board.reader) as reader:
        pane = Pane(reader)
        facts = surroundings.look(runtime, board)
        findings = surroundings.diagnose(runtime, facts)
        rows = [known(row) for row in pane.rows(RUNS, limit=MAX_RUNS)]
        named = {finding.task_id for finding in findings if finding.task_id}
        named_rows = map(known, pane.rows(TITLES, ids=json.dumps(sorted(named))))
        titles = {row["id"]: row["title"] for row in named_rows}
        as_of = pane.number(NEWEST_EVENT)
    found = sort_out(facts, findings, titles)
    program = surroundings.addressed_command("hermes-kanban ", board.slug).strip()
    for item in (*found.now, *found.later):
        if item["command"]:
            item["command"] = surroundings.addressed_command(item["command"], board.slug)
    return {
        "now": facts.now,
        "as_of": as_of,
        "board": board.slug,
        "program": program,
        "boards": _with_own(names(runtime), board.slug),
        "archived": bool(locations.metadata_of(board.location).get("archived")),
        "dispatcher": dispatcher(facts.dispatching, facts.now),
        "pause": _pause(facts),
        "counts": {name: facts.counts.get(name, 0) for name in COLUMNS},
        "unfinished": facts.unfinished,
        "cut": list(facts.cut),
        "needs_you": len(found.now) + _blocked_unseen(facts),
        "limits": limits(runtime.settings.host),
        "attention": found.now[:MAX_ITEMS],
        "later": found.later[:MAX_ITEMS],
        "later_count": len(found.later),
        "waiting": found.waiting[:MAX_ITEMS],
        "waiting_count": len(found.waiting),
        "notes": [*found.notes, *_about_settings(runtime)],
        "stale": len(found.stale),
        "running": _running(rows, facts),
    }


def names(runtime: Runtime) -> list[str]:
    """Return the names of the boards that are not archived, default first; none of them is opened."""
    return [location.slug for location in locations.serving_boards(runtime.root)]


def _with_own(boards: list[str], slug: str) -> list[str]:
    """Return names of boards among which is the one that is shown: an archived one is looked at by its address."""
    return boards if slug in boards else [*boards, slug]


def _about_settings(runtime: Runtime) -> list[dict[str, Any]]:
    """Return a note for each part of the settings that does not hold, because there is a slip in it."""
    settings = runtime.settings
    slips = [*settings.ignored, *settings.refused, *([later] if (later := runtime.live_settings.problem) else [])]
    kept = {"kind": "settings", "level": Level.WARNING, "command": "hermes-kanban doctor"}
    return [{**kept, "sentence": f"settings that do not hold: {redact(words)}"} for words in slips]


def _pause(facts: BoardFacts) -> dict[str, Any] | None:
    if facts.paused is None:
        return None
    return {**facts.paused.model_dump(), "value": redact(short(facts.paused.value, LONGEST))}


def _blocked_unseen(facts: BoardFacts) -> int:
    """Return how many blocked tasks were not looked at one by one; each waits for a person all the same."""
    seen = sum(case.task.status == "blocked" for case in facts.cases)
    return max(0, facts.counts.get("blocked", 0) - seen)


def dispatcher(state: Dispatching, now: int) -> dict[str, Any]:
    """Return whether somebody serves the board, in two parts: a word, and the rest of the sentence.

    Args:
        state: of the dispatcher.
        now: epoch seconds.
    """
    tick = f"last tick {span(now - state.last_tick_at)} ago" if state.last_tick_at is not None else "no tick yet"
    said = {
        State.SERVING: ("Dispatcher alive", tick),
        State.ELSEWHERE: ("Dispatcher alive elsewhere", tick),
        State.HERMES: ("Hermes dispatches", "without our rescue; to have it: hermes gateway restart"),
        State.SILENT: ("Dispatcher silent", f"pid {state.pid} lives, {tick}"),
        State.DEAD: ("Dispatcher dead", tick),
        State.STOPPED: ("Dispatcher stopped", tick),
        State.NEVER: ("No dispatcher", "none of ours ever served this board"),
        State.OTHERS: ("Not served", f"the dispatcher, pid {state.pid}, serves another board only"),
    }
    word, rest = said[state.state]
    good = state.state in (State.SERVING, State.ELSEWHERE)
    return {"word": word, "rest": rest, "tone": "good" if good else "warn" if state.serves else "bad"}


def limits(host: HostSettings) -> dict[str, int | None]:
    """Return how much may run at once, in all and for one profile; None for no bound."""
    caps = [cap for cap in (host.max_spawn, host.max_in_progress) if cap is not None]
    return {"running": min(caps, default=None), "per_profile": host.max_in_progress_per_profile}


# --- running work --------------------------------------------------------------------------------------------------


def _running(rows: Iterable[dict[str, Any]], facts: BoardFacts) -> list[dict[str, Any]]:
    orphans = {(orphan.run.task_id, orphan.run.run_id): orphan for orphan in facts.orphans}
    runs = [_run(row, orphans.get((row["task_id"], row["run_id"])), facts.now) for row in rows]
    used = measure([run["pid"] for run in runs if run["verdict"] == Verdict.ALIVE.value])
    unknown = {"cpu_percent": None, "memory_bytes": None}
    return [{**run, **used.get(run["pid"], unknown)} for run in runs]


def _run(row: dict[str, Any], orphan: Orphan | None, now: int) -> dict[str, Any]:
    verdict, pid = _verdict(orphan, row)
    names = ("task_id", "title", "assignee", "run_id", "started_at", "last_heartbeat_at", "progress_at", "attempt")
    return {
        **{name: row[name] for name in names},
        "title": headed(row["title"]),
        "loops": calls if (calls := row["repeated_calls"] or 0) >= IDENTICAL_CALLS - 1 else 0,
        "lease_left": None if row["claim_expires"] is None else row["claim_expires"] - now,
        "pid": pid,
        "verdict": verdict,
        "seen": Shown(row["status"], row["run_id"] or 0, row["claim_lock"] or "").seen,
    }


def _verdict(orphan: Orphan | None, row: dict[str, Any]) -> tuple[str, int | None]:
    """Return how the worker's process stands and which it is; a terminal's claim has none."""
    if row["lane"] == TERMINAL:
        return "terminal", None
    if orphan is None:
        return Verdict.UNKNOWN.value, row["worker_pid"]
    if orphan.run.supervised and orphan.run.accepted_at is None:
        return "starting", None
    return str(orphan.worker), orphan.run.worker_pid or row["worker_pid"]


def measure(pids: Collection[int | None]) -> dict[int, dict[str, float | None]]:
    """Return how much of the machine some workers take, each with all its children, by pid; in one look at all.

    CPU is the mean since the worker started, in per cent of one core; memory is what is resident, bytes.
    """
    if not pids:
        return {}
    everybody = list(psutil.process_iter(["ppid"]))
    below: dict[int, list[psutil.Process]] = {}
    for process in everybody:
        below.setdefault(process.info["ppid"] or 0, []).append(process)
    return {worker.pid: _use_of(worker, below) for worker in everybody if worker.pid in pids}


def _use_of(worker: psutil.Process, below: Mapping[int, list[psutil.Process]]) -> dict[str, float | None]:
    cpu, memory, lived, tree = 0.0, 0, 1.0, [worker]
    for process in tree:  # it grows meanwhile
        tree += below.get(process.pid, ())
        with suppress(psutil.Error):  # it has ended by now
            used = process.cpu_times()
            cpu += used.user + used.system
            memory += process.memory_info().rss
    with suppress(psutil.Error):
        lived = max(1.0, time.time() - worker.create_time())
    return {"cpu_percent": round(100 * cpu / lived, 1), "memory_bytes": memory}


def open_board(runtime: Runtime, slug: str | None) -> Board:
    """Return an open board of this process; it stays open (contract W1).

    Raises:
        UnknownBoard: there is none of this name.
        InvalidArgument: the name cannot be a board's.
    """
    return runtime.open(locations.locate_existing(slug or None))
