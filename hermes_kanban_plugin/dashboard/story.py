"""One task on the page: why it is where it is, its attempts as bars, and the end of its workers' output."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hermes_kanban_plugin import redaction, worker_logs
from hermes_kanban_plugin.dashboard.charts import RESCUES
from hermes_kanban_plugin.dashboard.evidence import headed
from hermes_kanban_plugin.diagnosis import surroundings
from hermes_kanban_plugin.diagnosis.why import explain
from hermes_kanban_plugin.diagnosis.wording import short
from hermes_kanban_plugin.store.connection import translating
from hermes_kanban_plugin.store.history import ATTEMPT
from hermes_kanban_plugin.store.standins import Pane
from hermes_kanban_plugin.store.values import known
from hermes_kanban_plugin.supervisor import output

if TYPE_CHECKING:
    from hermes_kanban_plugin.board import Board
    from hermes_kanban_plugin.runtime import Runtime

MAX_RUNS = 100
LONGEST_ERROR = 300
RUNS = f"""
SELECT task_runs.id AS run_id, task_runs.started_at, task_runs.ended_at, substr(task_runs.error, 1, 2000) AS error,
    COALESCE(kp_runs.cause, task_runs.outcome) AS cause
FROM task_runs LEFT JOIN kp_runs ON kp_runs.run_id = task_runs.id
WHERE task_runs.task_id = :task_id AND {ATTEMPT}
ORDER BY task_runs.id DESC
LIMIT :limit"""
NUMBER = f"""
SELECT count(*) FROM task_runs LEFT JOIN kp_runs ON kp_runs.run_id = task_runs.id
WHERE task_runs.task_id = :task_id AND {ATTEMPT}"""


def story(runtime: Runtime, board: Board, task_id: str) -> dict[str, Any]:
    """Return the attempts at a task, oldest first, why it is where it is, what comes next, and its newest output.

    Raises:
        UnknownTask: it is not on the board.
    """
    task = board.task(task_id)
    facts = surroundings.look(runtime, board, task_id)
    case = facts.case(task_id)
    found = explain(case, facts) if case else None
    with translating(board.path):
        pane = Pane(board.reader)
        rows = [known(row) for row in pane.rows(RUNS, task_id=task_id, limit=MAX_RUNS)]
        total = pane.number(NUMBER, task_id=task_id)
    first = total - len(rows) + 1
    return {
        "task_id": task_id,
        "title": headed(task.title),
        "status": task.status,
        "assignee": task.assignee,
        "why": redaction.redact(found.reason) if found else "",
        "also": redaction.redact(str(found.evidence.get("also") or "")) if found else "",
        "next": found.next.sentence if found else "",
        "now": facts.now,
        "runs": [_run(row, first + index) for index, row in enumerate(reversed(rows))],
        "left_out": total - len(rows),
        "log": log_tail(board, task_id),
    }


def _run(row: dict[str, Any], number: int) -> dict[str, Any]:
    error = short(redaction.redact(str(row["error"])), LONGEST_ERROR) if row["error"] else None
    return {**row, "error": error, "number": number, "rescued": row["cause"] in RESCUES}


def log_tail(board: Board, task_id: str) -> str:
    """Return the end of what a task's workers wrote, without secrets; of a plain file among the board's logs only."""
    logs = board.location.logs.resolve()
    path = worker_logs.log_of(logs, task_id).resolve()
    return redaction.redact(output.tail(str(path))) if path.is_relative_to(logs) and path.is_file() else ""
