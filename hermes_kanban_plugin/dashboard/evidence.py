"""What shows that something is wrong, in words for the page: stamps as ages, processes with their verdicts. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hermes_kanban_plugin.diagnosis.wording import listed, short, span
from hermes_kanban_plugin.redaction import redact

if TYPE_CHECKING:
    from collections.abc import Mapping

# What the sentence of the finding says already, or what tells a person nothing.
_SILENT = frozenset(
    {"lock", "lease_ended_ago", "reason", "count", "status", "supervisor_pid", "worker_pid", "cycles", "failures",
     "unfinished", "window_seconds", "last_event", "folder", "state", "kind", "since", "run", "cause", "exit_code",
     "exit_signal", "error", "pid", "looked_in", "last_tick_at", "ended_at"}
)  # fmt: skip
LONGEST = 200


def life_of(claim_expires: int | None, last_heartbeat_at: int | None) -> str:
    """Return the signs of life of a claim as one word: it is another word after each renewal and each heartbeat."""
    return f"{claim_expires}/{last_heartbeat_at}"


def headed(title: str | None) -> str:
    """Return a title as the page shows it: one line; a worker may have written a book there."""
    return short(title, LONGEST)


def words_of(evidence: Mapping[str, Any], now: int) -> list[list[str]]:
    """Return label and text of each piece of evidence that says something.

    Args:
        evidence: of a finding.
        now: epoch seconds.
    """
    found = []
    told = {*_SILENT, "last_error"} if evidence.get("last_output") else _SILENT
    for name, value in evidence.items():
        text = None if name in told or value in (None, "", (), []) else _text(name, value, evidence, now)
        if text:
            found.append([_label(name, text), redact(text)])
    return found


def _label(name: str, text: str) -> str:
    if name == "lease_until":
        return "lease ended" if text.endswith("ago") else "lease ends"
    for ending in ("_at", "_until", "_seconds", "_ago"):
        name = name.removesuffix(ending)
    return name.replace("_", " ")


def _text(name: str, value: Any, evidence: Mapping[str, Any], now: int) -> str:
    if name.endswith(("_at", "_until")) and isinstance(value, int):
        return f"{span(now - value)} ago" if value <= now else f"in {span(value - now)}"
    if name in ("supervisor", "worker"):
        pid = evidence.get(f"{name}_pid")
        return f"{value} (pid {pid})" if pid else str(value)
    if name.endswith("_seconds") and isinstance(value, int):
        return span(value)
    if isinstance(value, (list, tuple)):
        return short(listed([str(one) for one in value]), LONGEST)
    if isinstance(value, dict):
        return ""
    lines = str(value).strip().splitlines()
    return short(lines[-1] if lines else "", LONGEST)
