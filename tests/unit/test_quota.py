"""When a provider serves again, in all the ways that providers say it."""

from __future__ import annotations

from typing import Any

import pytest

from hermes_kanban_plugin import quota

NOW = 1_700_000_000


@pytest.mark.parametrize(
    ("message", "seconds"),
    [
        ("Rate limit reached. Please try again in 20s.", 20),
        ("Limit reached, please try again in 6m0s", 360),
        ("try again in 1h2m3.5s", 3724),
        ("You are out of quota. Resets in 1 hour 5 minutes.", 3900),
        ("quota resets after 3 days", quota.LONGEST_SECONDS),
        ("retry after 30", 30),
        ("Error code: 429 - {'error': {'message': 'x', 'resets_at': 1700003600}}", 3600),
        ("{'error': {'retry_after': '7'}}", 7),
        ("Retry-After: 12", 12),
        ("reset_at: 2023-11-14T23:13:20Z", 3600),
        ("{'resets_in_seconds': 90}", 90),
        ("too many requests", None),
        ("retry in 5 parsecs", None),
        ("resets in 1 month", None),
        ("", None),
    ],
)
def test_what_is_read_from_a_message(message: str, seconds: int | None) -> None:
    found = quota.refusal(message, None, NOW)
    assert found.retry_at == (None if seconds is None else NOW + seconds)
    assert found.error == message


@pytest.mark.parametrize(
    ("told", "seconds"),
    [
        (30, 30),
        ("6m0s", 360),
        (1_700_000_060, 60),
        ("1700000060.2", 61),
        (1_700_000_060_000, 60),
        ("2023-11-14T22:14:20+00:00", 60),
        (10_000_000, quota.LONGEST_SECONDS),
        (1_600_000_000, 0),
        ("2023-11-14T22:14:20", None),
        ("nan", None),
        ("inf", None),
        (-5, None),
        ("soon", None),
        (1e300, None),
        ({}, None),
    ],
)
def test_what_the_host_found(told: Any, seconds: int | None) -> None:
    assert quota.retry_at(told, NOW) == (None if seconds is None else NOW + seconds)


def test_what_the_host_found_counts_before_the_text() -> None:
    assert quota.refusal("try again in 20s", 90, NOW).retry_at == NOW + 90
    assert quota.refusal("try again in 20s", "soon", NOW).retry_at == NOW + 20


@pytest.mark.parametrize(
    ("status", "reason", "expected"),
    [
        (429, "unknown", True),
        (None, "rate_limit", True),
        (402, "billing", True),
        (403, "quota_exceeded", True),
        (500, "server_error", False),
        (401, "auth", False),
        (None, None, False),
    ],
)
def test_which_failures_are_limits(status: int | None, reason: str | None, expected: bool) -> None:
    assert quota.is_limit(status, reason) is expected


def test_a_long_message_is_cut_and_one_line() -> None:
    assert len(quota.refusal("x\n" * 5000, None, NOW).error) == 500


@pytest.mark.parametrize(
    ("line", "seconds"),
    [
        ("API call failed after 3 retries: HTTP 429: rate limit reached", None),
        ("API call failed after 3 retries: HTTP 429: slow down, try again in 77s", 77),
        ("│ Error: 429 Too Many Requests (retry-after: 30) │", 30),
        ("openai.RateLimitError: Error code: 429 - {'error': {'resets_in_seconds': 90}}", 90),
        ("Billing or credits exhausted: HTTP 402: top up", None),
    ],
)
def test_the_closing_line_of_a_worker_that_was_refused(line: str, seconds: int | None) -> None:
    found = quota.refusal_in(line, NOW)
    assert found is not None
    assert found.error in line
    assert found.retry_at == (None if seconds is None else NOW + seconds)


@pytest.mark.parametrize(
    "line",
    [
        None, "", "All done!", "I made the client wait when it meets HTTP 429 errors.", "see issue 429: login fails",
        "API call failed after 3 retries: HTTP 503: no quota service", "the rate limit is handled now, no test failed",
    ],
)  # fmt: skip
def test_a_worker_that_only_speaks_of_limits_was_not_refused(line: str | None) -> None:
    assert quota.refusal_in(line, NOW) is None
