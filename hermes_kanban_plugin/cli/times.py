"""Times as people write them: how long, and until when."""

from __future__ import annotations

import argparse
import time
from datetime import datetime, timedelta

from hermes_kanban_plugin.errors import InvalidArgument

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def duration(text: str) -> int:
    """Return a duration in seconds, from ``300``, ``90s``, ``30m``, ``2h`` or ``1d``."""
    number, unit = (text[:-1], text[-1:].lower()) if text[-1:].lower() in _UNITS else (text, "s")
    if not (number.isascii() and number.isdigit()) or not 0 < int(number) < 10**9:
        raise argparse.ArgumentTypeError(f"{text!r} is not a duration; write 300, 90s, 30m, 2h or 1d")
    return int(number) * _UNITS[unit]


def moment(text: str, now: float | None = None) -> int:
    """Return a moment in epoch seconds, from a date, a time of day, or both; local unless it names its zone.

    A time of day alone is the next one.
    """
    today = datetime.fromtimestamp(time.time() if now is None else now).astimezone()
    try:
        if "-" not in text:
            clock = datetime.fromisoformat(f"{today.date().isoformat()}T{text.strip()}").astimezone()
            found = clock if clock > today else clock + timedelta(days=1)
        else:
            found = datetime.fromisoformat(text.strip()).astimezone()
        return int(found.timestamp())
    except (ValueError, OverflowError, OSError) as problem:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no time; write 2027-03-01, 09:30, or '2027-03-01 09:30'"
        ) from problem


def chosen(at: int | None, after: int | None, *flags: str) -> int | None:
    """Return the moment that was asked for by one of two flags, epoch seconds, or None.

    Raises:
        InvalidArgument: by both.
    """
    if at is not None and after is not None:
        raise InvalidArgument(f"{' and '.join(flags)} say the same thing twice; leave one out")
    return at if after is None else int(time.time()) + after
