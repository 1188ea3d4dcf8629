"""Which of a task's runs are attempts: the others are a person's words that were kept in a run of no length.

Hermes and we keep the reason of a block, or the summary of a completion, that way when nobody had claimed the task
(contract section 2). Such a run says nothing about the work. Standard library only: the supervisor uses this too.
"""

from __future__ import annotations


def is_attempt(run: str) -> str:
    """Return the condition that a row of ``task_runs``, by its name in the statement, is an attempt."""
    claimed = f"EXISTS (SELECT 1 FROM kp_runs AS claimed WHERE claimed.run_id = {run}.id)"
    return f"({run}.ended_at IS NULL OR {run}.ended_at <> {run}.started_at OR {claimed})"


def newest_attempt(task_id: str) -> str:
    """Return the subquery for the id of a task's newest attempt; the task is named by an expression."""
    return (
        f"(SELECT max(attempt.id) FROM task_runs AS attempt WHERE attempt.task_id = {task_id} "
        f"AND {is_attempt('attempt')})"
    )
