"""Times as people write them."""

from __future__ import annotations

import argparse
import time
from datetime import datetime

import pytest

from hermes_kanban_plugin.cli.times import chosen, duration, moment
from hermes_kanban_plugin.errors import InvalidArgument

NOON = datetime(2027, 3, 1, 12, 0).timestamp()


@pytest.mark.parametrize(
    ("text", "seconds"), [("300", 300), ("90s", 90), ("30m", 1800), ("2h", 7200), ("1d", 86_400), ("2H", 7200)]
)
def test_how_long(text: str, seconds: int) -> None:
    assert duration(text) == seconds


@pytest.mark.parametrize("text", ["", "0", "-1", "1.5h", "h", "²", "10w", "9" * 30])
def test_no_duration(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="not a duration"):
        duration(text)


@pytest.mark.parametrize(
    ("text", "when"),
    [
        ("2027-03-02", datetime(2027, 3, 2)),
        ("2027-03-02 09:30", datetime(2027, 3, 2, 9, 30)),
        ("2027-03-02T09:30:10", datetime(2027, 3, 2, 9, 30, 10)),
        ("13:00", datetime(2027, 3, 1, 13, 0)),
        ("09:30", datetime(2027, 3, 2, 9, 30)),  # it is noon: the next one
        ("12:00", datetime(2027, 3, 2, 12, 0)),
    ],
)
def test_until_when(text: str, when: datetime) -> None:
    assert moment(text, NOON) == when.timestamp()


def test_a_zone_counts() -> None:
    assert moment("2027-03-02T09:30+00:00", NOON) == 1_803_979_800


@pytest.mark.parametrize("text", ["", "soon", "25:00", "2027-13-01", "2027-02-30", "99999-01-01", "tomorrow 9:30"])
def test_no_time(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="is no time"):
        moment(text, NOON)


def test_one_of_two() -> None:
    assert chosen(None, None, "--at", "--in") is None
    assert chosen(7, None, "--at", "--in") == 7
    assert abs((chosen(None, 60, "--at", "--in") or 0) - time.time() - 60) < 5
    with pytest.raises(InvalidArgument, match="--at and --in"):
        chosen(7, 60, "--at", "--in")
