"""The unfinished hand-off: what an attempt that ended without a final word leaves to the next one.

Pure, standard library only: the supervisor uses this module too. Rule source: failure modes D1, F8, F12.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from hermes_kanban_plugin.causes import Cause

if TYPE_CHECKING:
    from collections.abc import Sequence

AUTHOR = "hermes-kanban"
MAX_FILES = 40
# What is kept of the last words; a model's closing message fits in.
MAX_WORDS = 4000

# Of each comment Hermes shows a worker the first 2,048 characters (0.19.0, build_worker_context).
MAX_BRIEFING = 2000
_ROOM_FOR_ERROR, _ROOM_FOR_FILES, _ROOM_FOR_DIFFERENCE = 200, 500, 300
_LAST_WORDS = "Its last words:\n"
_NEXT = (
    "Next: look at what is there, do only what is missing, then call kanban_complete with a summary, or "
    "kanban_block if it cannot be done."
)

# Ends after which the work may be nearly there, so that the next attempt should see it.
WORTH_KEEPING = frozenset({Cause.PROTOCOL_VIOLATION, Cause.BUDGET_EXHAUSTED, Cause.TIMED_OUT, Cause.CRASHED})


class Changes(NamedTuple):
    """What an attempt left in its workspace: files as paths below it, and a summary of the difference if git has one.

    ``more`` counts the files beyond those that are named.
    """

    files: Sequence[str] = ()
    more: int = 0
    difference: str = ""


class Remains(NamedTuple):
    """What is left of an attempt: its last words, its changes, and how its process ended."""

    last_words: str
    changes: Changes
    exit_code: int | None
    exit_signal: int | None
    runtime_seconds: int

    def facts(self) -> dict[str, Any]:
        """Return it as metadata of the run."""
        return {
            "last_words": self.last_words[-MAX_WORDS:],
            "changed_files": list(self.changes.files),
            "more_changed_files": self.changes.more,
            "difference": self.changes.difference,
            "exit_code": self.exit_code,
            "exit_signal": self.exit_signal,
            "runtime_seconds": self.runtime_seconds,
        }


def briefing(run_id: int, cause: Cause, error: str, remains: Remains) -> str:
    """Return the comment that the next worker of the task reads, and a person if there is no next worker.

    It has every part within what a worker is shown of a comment; the rest is in the facts on the run.
    """
    ending = (
        "ended without kanban_complete or kanban_block"
        if cause is Cause.PROTOCOL_VIOLATION
        else f"did not finish: {_beginning(error, _ROOM_FOR_ERROR)}"
    )
    parts = [f"Run {run_id} {ending}. What it left is still here; do not begin from scratch."]
    if remains.changes.files:
        parts.append(_list_files(remains.changes))
    if remains.changes.difference:
        difference = _beginning(remains.changes.difference, _ROOM_FOR_DIFFERENCE)
        parts.append(f"The difference to the last commit:\n{difference}")
    room = MAX_BRIEFING - len("\n\n".join([*parts, _LAST_WORDS, _NEXT]))
    words = remains.last_words.strip()
    parts.append(f"{_LAST_WORDS}{_end(words, room)}" if words else "It printed nothing.")
    parts.append(_NEXT)
    return "\n\n".join(parts)


def _list_files(changes: Changes) -> str:
    lines: list[str] = []
    for name in changes.files:
        if lines and sum(map(len, lines)) + len(name) > _ROOM_FOR_FILES:
            break
        lines.append(f"- {name}\n")
    left = len(changes.files) - len(lines) + changes.more
    return f"Files it changed:\n{''.join(lines)}{f'- and {left} more' if left else ''}".rstrip()


def _beginning(text: str, room: int) -> str:
    return text if len(text) <= room else f"{text[: room - 1]}…"


def _end(text: str, room: int) -> str:
    return text if len(text) <= room else f"…{text[1 - room :]}"
