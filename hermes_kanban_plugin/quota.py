"""When a provider that refused will serve again: pure, what it said in, a time out.

Providers say it in many ways: epoch seconds, a moment in ISO 8601, seconds from now, or a length such as ``6m0s``.
"""

from __future__ import annotations

import re
from datetime import datetime
from typing import Any, NamedTuple

LONGEST_SECONDS = 86_400
_REASONS = ("rate_limit", "billing", "quota")
TOO_MANY_REQUESTS = 429
# A number this large is a moment, and one that is larger still a moment in milliseconds.
_EPOCH_FROM, _MILLISECONDS_FROM = 1e9, 1e12

_UNITS = {"d": 86_400.0, "h": 3_600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
_UNIT = r"(?:days?|d|hours?|hrs?|h|minutes?|mins?|ms|m|seconds?|secs?|s)(?![a-z])"
_LENGTH = rf"(?:\d+(?:\.\d+)?\s*{_UNIT}[\s,]*(?:and\s+)?)+"
_PART = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|[dhms])", re.IGNORECASE)
_FIELD = re.compile(
    r"""["']?(?:resets?_at|retry[_-]after(?:_seconds)?|resets?_in(?:_seconds)?)["']?\s*[:=]\s*["']?([\w.:+-]+)""",
    re.IGNORECASE,
)
_SENTENCE = re.compile(
    rf"(?:try again|retry|resets?|available(?: again)?)\s+(?:in|after)\s+({_LENGTH}|\d+(?=\W*$))", re.IGNORECASE
)
# How a worker says with its last words that this was why it ended: a failure that names the status, or Hermes' own
# words for an account without credit. What it only writes about limits is none.
_CLOSING = re.compile(
    r"(?:failed|refused)\b[^.]{0,60}\b429\b|\berror(?:\s+code)?\W{0,3}429\b|\b429\W{1,3}too many requests"
    r"|billing or credits exhausted:",
    re.IGNORECASE,
)


class Refusal(NamedTuple):
    """A provider's "not now": what it said, and until when (epoch seconds) if it said so."""

    error: str
    retry_at: int | None


def is_limit(status_code: Any, reason: Any) -> bool:
    """Say whether a failed request means that the provider's limit or the account's credit is used up."""
    return status_code == TOO_MANY_REQUESTS or any(word in str(reason or "").lower() for word in _REASONS)


def refusal(message: str, told: Any, now: int) -> Refusal:
    """Return what a refusal means.

    Args:
        message: the provider's error as text.
        told: when it serves again as the host found it in headers and fields, in any form; None when it did not.
        now: epoch seconds.
    """
    said = retry_at(told, now) if told not in (None, "") else None
    return Refusal(" ".join(message.split())[:500], said if said is not None else _retry_at_in(message, now))


def refusal_in(line: str | None, now: int) -> Refusal | None:
    """Return the refusal that the last words of a worker tell of, or None.

    For a worker that does not say so itself, because it does not load the plugin (failure mode F4).

    Args:
        line: the last line of its output that tells of trouble, or None.
        now: epoch seconds.
    """
    return refusal(line, None, now) if line and _CLOSING.search(line) else None


def retry_at(told: Any, now: int) -> int | None:
    """Return the moment that a value means, in epoch seconds: not in the past, and at most a day ahead."""
    text = str(told).strip()
    moment = _moment(text, now)
    return None if moment is None else max(now, min(int(moment + 0.999), now + LONGEST_SECONDS))


def _moment(text: str, now: int) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return _moment_in_words(text, now)
    if not 0 <= number < 1e15:  # nan and infinity are out too
        return None
    if number >= _MILLISECONDS_FROM:
        return number / 1000
    return number if number >= _EPOCH_FROM else now + number


def _moment_in_words(text: str, now: int) -> float | None:
    if re.fullmatch(_LENGTH, text, re.IGNORECASE):
        return now + _seconds(text)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return moment.timestamp() if moment.tzinfo is not None else None


def _seconds(text: str) -> float:
    return sum(float(amount) * _UNITS[unit.lower()] for amount, unit in _PART.findall(text))


def _retry_at_in(message: str, now: int) -> int | None:
    for pattern in (_FIELD, _SENTENCE):
        found = pattern.search(message)
        said = retry_at(found[1].strip(" ,."), now) if found else None
        if said is not None:
            return said
    return None
