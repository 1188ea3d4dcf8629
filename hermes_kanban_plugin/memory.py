"""How much memory the machine has left for one more worker: a sample in, a tier out; pure.

What counts is what programs can still get, not what lies idle, and how long programs already wait for it. A container
has what its control group has. A full swap is no alarm by itself, and neither is its absence. Rule source: failure
mode E11.
"""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

MIB = 1024 * 1024
# A worker of Hermes takes up to this much; with less nothing is started, and with three of them the machine is tight.
WORKER_BYTES = 192 * MIB
CRITICAL_SHARE, TIGHT_SHARE = 0.05, 0.12
# Percent of the last ten seconds in which some, or all, of the programs waited for memory.
TIGHT_STALL, CRITICAL_STALL = 20.0, 20.0
SWAP_FULL_SHARE = 0.05


class Memory(StrEnum):
    """What one more worker would find."""

    AMPLE = "ample"
    TIGHT = "tight"
    CRITICAL = "critical"
    UNKNOWN = "unknown"


class Sample(NamedTuple):
    """What was seen, bytes and percent; None means "could not look"."""

    total: int | None
    available: int | None
    swap_total: int = 0
    swap_free: int = 0
    some_stall: float | None = None
    full_stall: float | None = None


def judge(seen: Sample) -> Memory:
    """Return the tier of a sample. What cannot be seen is unknown, which is not ample."""
    if seen.total is None or seen.available is None or seen.total <= 0:
        return Memory.UNKNOWN
    least = min(WORKER_BYTES, seen.total // 4)  # a small machine may be used, too
    if seen.available < max(least, seen.total * CRITICAL_SHARE) or (seen.full_stall or 0) >= CRITICAL_STALL:
        return Memory.CRITICAL
    scarce = seen.available < max(3 * least, seen.total * TIGHT_SHARE)
    if scarce and seen.swap_total and seen.swap_free < seen.swap_total * SWAP_FULL_SHARE:
        return Memory.CRITICAL  # the next one that asks for much has nowhere to go
    return Memory.TIGHT if scarce or (seen.some_stall or 0) >= TIGHT_STALL else Memory.AMPLE
