"""What a dispatcher tells the gateway that started it: its log lines, and the claims that it made."""

from __future__ import annotations

import json
import logging
import queue
import re
import threading
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

LOGGER = "gateway.hermes_kanban"
log = logging.getLogger(LOGGER)

_LINE = re.compile(r"(?:\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} )?(DEBUG|INFO|WARNING|ERROR|CRITICAL) (.*)")
# A plugin of the host that hangs in its hook must not hold up the dispatcher behind the pipe.
WAITING_CLAIMS = 1000


def read_lines(stream: IO[str], take: Callable[[str], None], name: str) -> threading.Thread:
    """Hand on each line of a stream in a thread of its own, until the stream ends; the stream is closed then.

    Args:
        stream: a pipe from another process.
        take: gets a line without its end; what it raises is logged.
        name: the thread's.
    """

    def read() -> None:
        with stream:
            for line in stream:
                try:
                    take(line.rstrip("\n"))
                except Exception as problem:  # noqa: BLE001 - isolation edge: the pipe must be emptied in any case
                    log.warning("a line of the dispatcher was not understood: %s", problem)

    thread = threading.Thread(target=read, name=name, daemon=True)
    thread.start()
    return thread


def log_line(line: str) -> None:
    """Write a line of the dispatcher's log to the gateway's, at the level that the line names (else as a warning)."""
    found = _LINE.fullmatch(line)
    if found is not None:
        log.log(logging.getLevelNamesMapping()[found[1]], "%s", found[2])
    elif line.strip():
        log.warning("%s", line)


def claims_in(line: str) -> Iterator[dict[str, Any]]:
    """Return the claims of one report that the host would have told its plugins: of ready tasks, not of reviews.

    Rule source: contract section 7, ``kanban_task_claimed``.
    """
    try:
        report = json.loads(line)
    except ValueError:
        return
    for started in report.get("started", ()):
        if not started.get("review"):
            yield {
                "task_id": started["task_id"],
                "board": report["board"],
                "assignee": started["assignee"],
                "run_id": started["run_id"],
            }


class Claims:
    """Tells somebody of each claim, in order and in a thread of its own; what he cannot take in time is dropped."""

    def __init__(self, tell: Callable[[dict[str, Any]], None]) -> None:
        self._tell = tell
        self._waiting: queue.Queue[dict[str, Any]] = queue.Queue(WAITING_CLAIMS)
        self._thread: threading.Thread | None = None
        self._dropping = False

    def take(self, line: str) -> None:
        """Note the claims of one report; never waits."""
        for claim in claims_in(line):
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="hermes-kanban hooks", daemon=True)
                self._thread.start()
            try:
                self._waiting.put_nowait(claim)
                self._dropping = False
            except queue.Full:
                if not self._dropping:
                    log.warning("a plugin hangs in kanban_task_claimed; it is not told of more claims until it returns")
                self._dropping = True

    def _run(self) -> None:
        while True:
            claim = self._waiting.get()
            try:
                self._tell(claim)
            except Exception as problem:  # noqa: BLE001 - isolation edge: the next claim is told all the same
                log.warning("nobody was told of the claim of %s: %s", claim["task_id"], problem)
