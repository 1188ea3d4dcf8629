"""The circuit breaker of a task: what is counted, when it trips, and how long the next attempt waits.

Pure, standard library only: the supervisor uses this module too. Failures are counted apart by cause; the host's
counter holds the highest count. A tripped breaker is a blocked task, which only a person opens. Rule source:
contract section 3 and W5, W21; failure modes F3, F5, F6, F9.
"""

from __future__ import annotations

import itertools
import zlib
from typing import TYPE_CHECKING, NamedTuple

from hermes_kanban_plugin.causes import Cause

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

DEFAULT_FAILURE_LIMIT = 2
# What the host's own promotion takes for the limit where nobody tells it another one.
HOST_FAILURE_LIMIT = 2
# A worker that ends without a final word is resumed once; the second time a person decides.
UNFINISHED_LIMIT = 2
HOUR = 3600
DAY = 24 * HOUR
DEFAULT_STARTS_PER_HOUR = 10
LAUNCH_WAIT_SECONDS, LONGEST_LAUNCH_WAIT_SECONDS = 10, 600


class Terms(NamedTuple):
    """What the settings say about failures; durations in seconds.

    ``failure_limit`` trips the breaker of tasks without a limit of their own. ``retry_base`` is the wait after the
    second failure, doubled with each further one up to ``retry_cap``. ``cooldown`` is the wait after a provider's
    refusal without a reset time, doubled likewise up to an hour. ``outage_tasks`` is how many tasks must fail the same
    way to be one outage; 0 means never.
    """

    failure_limit: int = DEFAULT_FAILURE_LIMIT
    retry_base: int = 30
    retry_cap: int = 900
    cooldown: int = 300
    outage_tasks: int = 3


class Tally(NamedTuple):
    """What a counted failure does to a task.

    ``counts`` are the failures by cause after it, ``failures`` the highest of them (the host's counter), ``tripped``
    whether the task is given up, ``limit`` the limit it was held against and ``source`` whose limit that is.
    ``reopenable`` says that the host's own promotion would open the tripped task again (contract W5, W21).
    """

    counts: dict[str, int]
    failures: int
    tripped: bool
    limit: int
    source: str
    reopenable: bool


def count(cause: Cause, counts: Mapping[str, int], failures: int, max_retries: int | None, limit: int) -> Tally:
    """Count one failure of a cause against the task's own limit or else the dispatcher's.

    Every place that counts uses this rule with the same limit (contract W21).

    Args:
        cause: why the attempt failed.
        counts: failures by cause as we wrote them; believed only as far as they agree with ``failures``.
        failures: the host's counter, which others count too, and which a success or a person sets to 0.
        max_retries: the task's limit, or None.
        limit: ``kanban.failure_limit``.
    """
    known = standing(counts, failures)
    # What others counted, whose cause we do not know, may well have been this one.
    unexplained = failures - max(known.values(), default=0)
    known[cause.value] = known.get(cause.value, 0) + max(0, unexplained) + 1
    bound, source = (max_retries, "task") if max_retries is not None else (limit, "dispatcher")
    if cause is Cause.PROTOCOL_VIOLATION and bound > UNFINISHED_LIMIT:
        bound, source = UNFINISHED_LIMIT, "unfinished hand-off"
    highest = max(known.values())
    tripped = known[cause.value] >= bound
    hosts = max_retries if max_retries is not None else max(limit, HOST_FAILURE_LIMIT)
    return Tally(known, highest, tripped, bound, source, reopenable=tripped and highest < hosts)


def standing(counts: Mapping[str, int], failures: int) -> dict[str, int]:
    """Return the counts that still stand beside the host's counter.

    A counter below the highest of them was set to 0 in between, by a success or a person: they are of the past.
    """
    real = {cause: number for cause, number in counts.items() if number > 0}
    return real if real and 0 < max(real.values()) <= failures else {}


def take_back(cause: Cause, counts: Mapping[str, int], failures: int, times: int) -> tuple[dict[str, int], int]:
    """Return counts and counter of a task whose last failures turned out not to be its own (an outage)."""
    left = standing(counts, failures)
    unexplained = failures - max(left.values(), default=0)
    left[cause.value] = max(0, left.get(cause.value, 0) - times)
    left = {name: number for name, number in left.items() if number}
    return left, max(left.values(), default=0) + unexplained


def retry_wait(counts: Mapping[str, int], terms: Terms, task_id: str, run_id: int) -> int:
    """Return how many seconds after a failure the next attempt may start.

    None at all after the first failure; then from half to the whole of a wait that doubles, so that tasks that
    failed together do not come back together (failure mode F9). The same run always gets the same wait.
    """
    failed = sum(counts.values())
    if failed < 2:
        return 0
    whole = int(min(terms.retry_base * 2 ** min(failed - 2, 40), terms.retry_cap))
    return whole - int(whole * spread(task_id, run_id) / 2)


def launch_streak(causes: Iterable[str | None]) -> int:
    """Return how many launches in a row came to nothing through no fault of the task, newest first; None for others."""
    return sum(1 for _ in itertools.takewhile(lambda cause: cause == Cause.INFRASTRUCTURE, causes))


def launch_wait(streak: int, task_id: str, run_id: int) -> int:
    """Return how many seconds after a launch that came to nothing the next one may be tried.

    A machine that is short of something for a moment must not cost a task all its starts of an hour within that moment.

    Args:
        streak: how many launches in a row came to nothing through no fault of the task, this one included. The first
            one is tried again at once.
        task_id: with ``run_id`` it draws apart what failed together, as after failures.
        run_id: the run that was to be launched.
    """
    if streak < 2:
        return 0
    whole = int(min(LAUNCH_WAIT_SECONDS * 2 ** min(streak - 2, 40), LONGEST_LAUNCH_WAIT_SECONDS))
    return whole - int(whole * spread(task_id, run_id) / 2)


def spread(task_id: str, run_id: int) -> float:
    """Return a number from 0 to just below 1 that is the same for the same run and even over many."""
    # Neighbouring checksums of neighbouring runs are drawn apart by a multiplication (Knuth's).
    return zlib.crc32(f"{task_id}/{run_id}".encode()) * 2_654_435_761 % 2**32 / 2**32


def refusal_streak(causes: Iterable[str | None]) -> int:
    """Return how many runs in a row the provider refused, newest first; what nobody is to blame for is passed over."""
    passed_over = {Cause.INTERRUPTED, Cause.INFRASTRUCTURE, Cause.SUPERSEDED}
    refused = 0
    for cause in causes:
        if cause == Cause.RATE_LIMITED:
            refused += 1
        elif cause not in passed_over:
            break
    return refused


def refusal_wait(streak: int, terms: Terms) -> int:
    """Return how many seconds to wait after the nth refusal in a row when the provider names no time."""
    return int(min(terms.cooldown * 2 ** min(max(streak, 1) - 1, 40), max(HOUR, terms.cooldown)))


def refusals_persist(streak: int, terms: Terms) -> bool:
    """Say whether this refusal is the first one after which the wait does not grow any more: time to tell a person."""
    longest = max(HOUR, terms.cooldown)
    return refusal_wait(streak, terms) == longest and (streak <= 1 or refusal_wait(streak - 1, terms) < longest)


def retry_after_refusal(now: int, reset_at: int | None, streak: int, terms: Terms) -> int:
    """Return from when on a task whose provider refused may start again, epoch seconds.

    Args:
        now: epoch seconds.
        reset_at: when the provider said that it would serve again, or None.
        streak: how many refusals in a row, this one included. The named time alone counts for the first one; a
            provider that goes on refusing is asked less and less often whatever it names.
        terms: the settings.
    """
    grown = now + refusal_wait(streak, terms)
    if reset_at is None:
        return grown
    named = min(max(reset_at, now), now + DAY)
    return named if streak <= 1 else max(named, grown)


def earliest_start(starts: Iterable[int], bound: int, now: int) -> int:
    """Return from when on one more attempt keeps to the bound of starts per hour, epoch seconds (failure mode I5).

    Args:
        starts: when earlier attempts started, epoch seconds, in any order.
        bound: how many may start within any hour.
        now: epoch seconds.
    """
    recent = sorted(start for start in starts if now - HOUR < start <= now)
    return now if len(recent) < bound else recent[-bound] + HOUR
