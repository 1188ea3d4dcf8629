"""All rules together: facts in, findings out, the worst first. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hermes_kanban_plugin.diagnosis import dependencies, failures, gates, ground, runs, waiting
from hermes_kanban_plugin.diagnosis.finding import Finding, worst_first

if TYPE_CHECKING:
    from hermes_kanban_plugin.diagnosis.facts import BoardFacts

# Every kind of finding; docs/reference/diagnostics.md explains each.
KINDS = (
    "assignee_profile_not_found", "backup_missing", "block_unblock_cycling", "cap_reached", "clock_trouble",
    "database_on_network_file_system", "dependency_cycle", "dependency_deadlock", "dispatcher_silent", "illegal_pair",
    "invalid_task_skills", "late_completion", "looked_at_in_part", "orphaned_run", "outage", "quota_wait",
    "ready_not_runnable", "repeated_failures", "sqlite_version_risk", "stale_running_claim", "stray_lock",
    "stuck_in_blocked", "unreadable_row", "unstoppable_run",
)  # fmt: skip
_MODULES = (ground, runs, gates, failures, dependencies, waiting)


def diagnose(facts: BoardFacts) -> list[Finding]:
    """Return everything that is wrong on a board; of one task alone if the facts are about one."""
    found = worst_first(finding for module in _MODULES for finding in module.findings(facts))
    return found if facts.only is None else [finding for finding in found if finding.concerns(facts.only)]
