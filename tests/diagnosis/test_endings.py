"""Each way to end has a sentence of its own, with what shows it (failure mode K1)."""

from __future__ import annotations

import pytest

from hermes_kanban_plugin.causes import Cause
from hermes_kanban_plugin.diagnosis import endings
from hermes_kanban_plugin.diagnosis.facts import Ending
from hermes_kanban_plugin.diagnosis.wording import hosts, listed, own, short, span

# What a supervisor of ours stores for each way to die, and what the host alone would store.
WAYS = [
    Ending(id=1, outcome="crashed", cause="crashed", exit_code=3, last_output="Traceback"),
    Ending(id=1, outcome="crashed", cause="crashed", exit_signal=9),
    Ending(id=1, outcome="crashed", cause="crashed", exit_signal=11),
    Ending(id=1, outcome="crashed", error="pid 77 not alive"),
    Ending(id=1, outcome="timed_out", cause="timed_out"),
    Ending(id=1, outcome="timed_out", cause="budget_exhausted"),
    Ending(id=1, outcome="spawn_failed", cause="spawn_failed", error="no such file: codex"),
    Ending(id=1, outcome="crashed", cause="protocol_violation", exit_code=0),
    Ending(id=1, outcome="rate_limited", cause="rate_limited", exit_code=75),
    Ending(id=1, outcome="reclaimed", cause="interrupted", error="interrupted by SIGTERM"),
    Ending(id=1, outcome="reclaimed", cause="infrastructure", error="its supervisor died"),
    Ending(id=1, outcome="stale", cause="heartbeat_stale"),
    Ending(id=1, outcome="reclaimed", cause="superseded"),
]


def test_no_two_ways_to_die_read_the_same() -> None:
    sentences = [endings.sentence(way) for way in WAYS]
    assert len(set(sentences)) == len(WAYS)
    assert all(sentence.startswith(("its ", "the ")) for sentence in sentences)


def test_every_cause_has_a_sentence() -> None:
    assert set(endings._SENTENCES) == set(Cause)


@pytest.mark.parametrize("way", WAYS, ids=endings.sentence)
def test_each_comes_with_evidence(way: Ending) -> None:
    found = endings.evidence(way)
    assert found["run"] == 1
    assert len(found) >= 2
    assert None not in found.values()


def test_what_the_host_booked_is_understood() -> None:
    assert endings.cause_of(Ending(id=1, outcome="gave_up")) is Cause.SPAWN_FAILED
    assert endings.cause_of(Ending(id=1, outcome="crashed", exit_code=0)) is Cause.PROTOCOL_VIOLATION
    assert endings.cause_of(Ending(id=1, outcome="novel")) is None
    assert endings.sentence(Ending(id=1, outcome="novel")) == "its last attempt ended as novel"
    assert endings.sentence(Ending(id=1)) == "its last attempt is still open"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(-5, "0s"), (0, "0s"), (59, "59s"), (60, "1m"), (90, "1m 30s"), (3600, "1h"), (93_600, "1d 2h"), (86_400, "1d")],
)
def test_spans(seconds: int, text: str) -> None:
    assert span(seconds) == text


def test_words_fit_on_a_line_and_into_a_shell() -> None:
    assert short(" two\n lines ") == "two lines"
    assert short("x" * 200, 10) == "xxxxxxxxx…"
    assert listed(["a", "b", "c", "d"]) == "a, b, c and 1 more"
    assert own("unblock", "t_1") == "hermes-kanban unblock t_1"
    assert hosts("assign", "it's; rm") == "hermes kanban assign 'it'\"'\"'s; rm'"
