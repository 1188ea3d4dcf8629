"""What of a worker's doings is work, and when it is written to the board: facts and times in, decisions out.

Proof of life comes from work: chunks of a model's answer, results of tools, answered requests, a command that runs.
Waiting is none, however long the host says so. Progress is less than that: a tool call that repeats the one before
is none, and from the third in a row on, nothing that happens is a sign of life until something differs. Rule source:
contract section 3 (heartbeat bridge), failure modes A5, B7.
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

BEAT_SECONDS = 60.0
# After a write that failed; a locked board may be free again.
RETRY_SECONDS = 10.0
IDENTICAL_CALLS = 3
# Says that the worker lives and is neither a step forward nor an interruption of a loop.
HEARTBEAT_TOOL = "kanban_heartbeat"

# How the host describes what it does (its activity description); a command or script in the foreground has a time
# limit of its own.
_WORK = ("receiving stream response", "tool completed", "terminal command running", "modal command running",
         "execute_code running")  # fmt: skip
_ANSWERED = ("API call #", " completed")


class Activity(NamedTuple):
    """What a worker did so far.

    ``call`` is the digest of its last tool call, ``progress_at`` when that was new (epoch seconds), ``repeated_calls``
    how often it was repeated since; ``next_write`` is when something may be written again (monotonic seconds).
    """

    progress_at: int
    call: str = ""
    repeated_calls: int = 0
    next_write: float = 0.0

    @property
    def is_looping(self) -> bool:
        """Whether the worker made the same call so often in a row that nothing it does is a sign of life."""
        return self.repeated_calls >= IDENTICAL_CALLS - 1


def is_work(description: str) -> bool:
    """Say whether what the host says it is doing is work, and not waiting for some."""
    first, last = _ANSWERED
    return description.startswith(_WORK) or (description.startswith(first) and description.endswith(last))


def digest(tool: str, arguments: Mapping[str, Any] | None) -> str:
    """Return what stands for a tool call; equal calls have equal digests."""
    text = json.dumps([tool, arguments or {}], sort_keys=True, default=repr)
    return hashlib.blake2b(text.encode(errors="surrogatepass"), digest_size=16).hexdigest()


def after_call(activity: Activity, tool: str, arguments: Mapping[str, Any] | None, now: int) -> Activity:
    """Return the activity after a tool call, at ``now`` in epoch seconds."""
    if tool == HEARTBEAT_TOOL:
        return activity
    call = digest(tool, arguments)
    if call == activity.call:
        return activity._replace(repeated_calls=activity.repeated_calls + 1)
    return activity._replace(call=call, repeated_calls=0, progress_at=now)


def is_due(activity: Activity, monotonic: float) -> bool:
    """Say whether the board may be written now."""
    return monotonic >= activity.next_write


def after_write(activity: Activity, monotonic: float, *, written: bool) -> Activity:
    """Return the activity after a write that succeeded or not."""
    return activity._replace(next_write=monotonic + (BEAT_SECONDS if written else RETRY_SECONDS))
