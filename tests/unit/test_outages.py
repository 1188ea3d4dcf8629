"""Outages as rules: what makes two failures alike, when to probe, and what a probe says."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as some

from hermes_kanban_plugin import outages
from hermes_kanban_plugin.causes import Cause
from hermes_kanban_plugin.outages import Fate, Probe


def crash(error: str, output: str | None = None) -> str | None:
    return outages.signature(Cause.CRASHED, error, output)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("worker of t_0a1b2c3d died", "worker of t_deadbeef died"),
        ("pid 12345 not alive", "pid 912345 not alive"),
        ("ran 61 s, longer than its limit of 60 s", "ran 3605 s, longer than its limit of 3600 s"),
        ("refused by 10.0.0.1:8080 at 12:34:56", "refused by 10.0.0.2:8081 at 23:59:00"),
        ("request 0f6e1c2a-1111-2222-3333-444455556666 failed", "request 1a6e1c2a-aaaa-bbbb-cccc-ddddeeeeffff failed"),
        ("object at 0x7f32", "object at 0x8a"),
        ("No  Answer\nfrom the server", "no answer from the server"),
    ],
)
def test_what_differs_from_run_to_run_does_not_count(one: str, other: str) -> None:
    assert crash(one) == crash(other) != None  # noqa: E711 - both at once


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("the worker ended with exit status 1", "the worker ended with exit status 3"),
        ("HTTP 503", "HTTP 401"),
        ("no space left on device", "permission denied"),
        ("the worker was killed by signal 9", "the worker was killed by signal 11"),
    ],
)
def test_what_tells_failures_apart_counts(one: str, other: str) -> None:
    assert crash(one) != crash(other)


def test_what_a_crashed_worker_printed_last_tells_it_apart() -> None:
    assert crash("exit status 1", "a\nConnectionError: no route") == crash(
        "exit status 1", "b\nConnectionError: no route"
    )
    assert crash("exit status 1", "KeyError: 'a'") != crash("exit status 1", "ConnectionError: no route")


def test_the_cause_tells_failures_apart() -> None:
    assert outages.signature(Cause.SPAWN_FAILED, "no", None) != outages.signature(Cause.CRASHED, "no", None)


@pytest.mark.parametrize("cause", [cause for cause in Cause if not cause.counts] + [Cause.BUDGET_EXHAUSTED])
def test_what_is_not_counted_and_what_an_agent_did_to_itself_is_no_outage(cause: Cause) -> None:
    assert outages.signature(cause, "the same for all", "the same") is None


CLOSING = """
╭─ ⚕ Hermes ──────────╮
    {said}
╰─────────────────────╯

Resume this session with:
  hermes --resume 20261121_115430_0de656 -p worker

Session:        20261121_115430_0de656
Duration:       9s
Messages:       8 (1 user, 6 tool calls)"""


@pytest.mark.parametrize("output", ["", "All done!", CLOSING.format(said="I leave it at that.")])
def test_models_that_forget_their_final_call_do_so_each_for_itself(output: str) -> None:
    error = "ended with status 0 without calling kanban_complete or kanban_block"
    assert outages.signature(Cause.PROTOCOL_VIOLATION, error, output) is None


def test_of_an_endless_line_only_the_beginning_counts() -> None:
    """Nor is the rest looked at: this is done while the board is locked."""
    assert crash("exit 1", "error x" + "1" * 8000) == crash("exit 1", "error x" + "1" * 8000 + " and more")
    assert crash("exit 1", "error " + "y" * 1000 + " 10.0.0.1") == crash("exit 1", "error " + "y" * 1000 + " other")


def test_workers_that_end_because_of_the_same_trouble_are_alike() -> None:
    """A Hermes worker ends with status 0 whatever its provider did (contract W7)."""
    one, other = (
        outages.signature(
            Cause.PROTOCOL_VIOLATION,
            "status 0",
            f"{n}\nAPI call failed at 12:00:0{n}: HTTP 503\n{CLOSING.format(said=n)}",
        )
        for n in (1, 2)
    )
    assert one == other == "protocol_violation: status 0 | api call failed at #: http 503"


def test_the_line_that_tells_of_trouble_counts_and_not_the_one_behind_it() -> None:
    assert crash("exit 1", "OSError: no space left\ncleaning up 7 files") == crash(
        "exit 1", "OSError: no space left\nbye"
    )
    assert crash("exit 1", "step 1\nstep 2") == "crashed: exit 1 | step 2"


@given(error=some.text(max_size=2000), output=some.none() | some.text(max_size=2000), cause=some.sampled_from(Cause))
def test_a_signature_is_short_and_one_line(error: str, output: str | None, cause: Cause) -> None:
    found = outages.signature(cause, error, output)
    if found is not None:
        assert len(found) <= outages.MAX_SIGNATURE
        assert len(found.splitlines()) == 1
        assert found.startswith(f"{cause.value}: ")


def test_probes_come_less_and_less_often() -> None:
    assert [outages.probe_wait(n) // 60 for n in range(8)] == [1, 2, 4, 8, 16, 30, 30, 30]
    assert outages.probe_wait(10**6) == 1800


@pytest.mark.parametrize(
    ("probe", "longest", "said"),
    [
        (Probe(False, None, False, 5), 3, Fate.UNDECIDED),
        (Probe(False, None, False, 119), 3, Fate.UNDECIDED),
        (Probe(False, None, False, 120), 3, Fate.HEALED),
        (Probe(False, None, False, 3600), 3600, Fate.UNDECIDED),  # the others hung for an hour before they failed
        (Probe(False, None, False, 7200), 3600, Fate.HEALED),
        (Probe(True, "completed", False, 1), 3, Fate.HEALED),
        (Probe(True, "blocked", False, 1), 3, Fate.HEALED),
        (Probe(True, "crashed", True, 1), 3, Fate.FAILED),
        (Probe(True, "crashed", True, 500), 3, Fate.FAILED),
        (Probe(True, "crashed", False, 1), 3, Fate.LOST),
        (Probe(True, "interrupted", False, 1), 3, Fate.LOST),
        (Probe(True, None, False, 1), 3, Fate.LOST),
    ],
)
def test_what_a_probe_says(probe: Probe, longest: int, said: Fate) -> None:
    assert outages.fate(probe, longest) is said


@given(waiting=some.integers(1, 2000))
def test_after_an_outage_the_tasks_come_back_one_by_one_within_five_minutes(waiting: int) -> None:
    waits = [outages.return_wait(place, waiting) for place in range(waiting)]
    assert waits[0] == 0
    assert waits == sorted(waits)
    assert waits[-1] <= outages.RETURN_SECONDS
    if waiting <= 30:
        assert waits == list(range(0, 10 * waiting, 10))
