"""The tables of failure accounting: causes, counts, outages, late completions and flags of the board."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from sqlite_utils import Database
    from sqlite_utils.db import Table


def create(database: Database) -> None:
    """Create them, and the columns beside each run that they lean on."""
    runs = cast("Table", database["kp_runs"])
    for column in ("cause", "signature"):
        runs.add_column(column, str)
    runs.create_index(["signature", "run_id"])
    cast("Table", database["kp_failures"]).create(
        {"task_id": str, "cause": str, "failures": int}, pk=("task_id", "cause"), not_null={"failures"}
    )
    outages = cast("Table", database["kp_outages"])
    outages.create(
        {
            "id": int,
            "signature": str,
            "cause": str,
            "began_at": int,
            "last_seen_at": int,
            "failures": int,
            "failed_probes": int,
            "longest_life": int,
            "next_probe_at": int,
            "probe_task_id": str,
            "probe_after_run": int,
            "probe_run_id": int,
            "closed_at": int,
            "closed_by": str,
        },
        pk="id",
        not_null={"signature", "cause", "began_at", "last_seen_at", "failures", "failed_probes", "longest_life"},
    )
    outages.create_index(["signature", "closed_at"])
    outages.create_index(["closed_at"])
    cast("Table", database["kp_completions"]).create(
        {
            "task_id": str,
            "run_id": int,
            "at": int,
            "summary": str,
            "result": str,
            "metadata": str,
            "artifacts": str,
            "cards": str,
            "decided_at": int,
            "decision": str,
            "actor": str,
        },
        pk=("task_id", "run_id"),
        not_null={"at"},
    )
    cast("Table", database["kp_flags"]).create(
        {"name": str, "value": str, "actor": str, "since": int}, pk="name", not_null={"value", "actor", "since"}
    )
