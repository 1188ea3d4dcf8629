"""Words for people: spans of time, numbers of things, shortened texts, commands that can be pasted."""

from __future__ import annotations

import re

_PLAIN = re.compile(r"[A-Za-z0-9_@%+=:,./-]+")
_OURS = re.compile(r"\bhermes-kanban (?=[a-z])(?!resume |pause )")
_UNITS = ((86_400, "d", 3_600, "h"), (3_600, "h", 60, "m"), (60, "m", 1, "s"))


def span(seconds: int) -> str:
    """Return a duration in its two largest units; a negative one is none."""
    left = max(0, seconds)
    for size, unit, smaller, part in _UNITS:
        if left >= size:
            rest = left % size // smaller
            return f"{left // size}{unit} {rest}{part}" if rest else f"{left // size}{unit}"
    return f"{left}s"


def count(number: int, noun: str, plural: str = "") -> str:
    """Return a number with its noun: ``1 task``, ``3 tasks``."""
    return f"{number} {noun if number == 1 else plural or noun + 's'}"


def short(text: str | None, length: int = 160) -> str:
    """Return a text as one line of at most a number of characters."""
    line = " ".join((text or "").split())
    return line if len(line) <= length else f"{line[: length - 1]}…"


def listed(names: list[str] | tuple[str, ...], shown: int = 3) -> str:
    """Return names as a list for people: the first ones, and how many more."""
    more = len(names) - shown
    return ", ".join(names[:shown]) + (f" and {more} more" if more > 0 else "")


def own(*words: str) -> str:
    """Return a command line of ours that can be pasted into a shell."""
    return " ".join(["hermes-kanban", *(_quoted(word) for word in words)])


def hosts(*words: str) -> str:
    """Return a command line of the host's kanban command that can be pasted into a shell."""
    return " ".join(["hermes", "kanban", *(_quoted(word) for word in words)])


def addressed(command: str, board: str) -> str:
    """Return a command of ours or of the host's that names a board; any other command as it is."""
    for program in ("hermes-kanban", "hermes kanban"):
        if command.startswith(f"{program} ") and "--board" not in command:
            return f"{program} --board {board}{command.removeprefix(program)}"
    return command


def addressed_text(text: str, board: str) -> str:
    """Return a text in which every command of ours names a board."""
    return _OURS.sub(f"hermes-kanban --board {board} ", text)


def _quoted(word: str) -> str:
    if _PLAIN.fullmatch(word):
        return word
    return "'" + word.replace("'", "'\"'\"'") + "'"
