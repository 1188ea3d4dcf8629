"""Stopping workers beside the tick: each in a thread of its own, so that a stubborn one delays nobody else.

The threads are daemons: a dispatcher that ends does not wait for them. Whatever they left is leased and found again.
"""

from __future__ import annotations

import logging
import threading
import time
from typing import TYPE_CHECKING

from hermes_kanban_plugin.logbook import entry

if TYPE_CHECKING:
    from collections.abc import Callable

Key = tuple[str, int]
# What could not be ended once is looked for seldom: the search goes through all processes of the machine.
RETRY_SECONDS = 30.0
log = logging.getLogger(__name__)


class Stops:
    """The terminations that are under way."""

    def __init__(
        self, when_done: Callable[[], None] | None = None, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._monotonic = monotonic
        self._again_at: dict[Key, float] = {}
        self._threads: dict[Key, threading.Thread] = {}
        self._results: dict[Key, bool] = {}
        self._when_done = when_done

    def begin(self, key: Key, stop: Callable[[], bool]) -> None:
        """Start a termination unless it is under way already; ``stop`` says whether everything is proven gone.

        One that failed is begun again after a while; until then it counts as under way.
        """
        if self.under_way(key):
            return
        thread = threading.Thread(target=self._run, args=(key, stop), name=f"stop-{key[1]}", daemon=True)
        self._threads[key] = thread
        thread.start()

    def under_way(self, key: Key) -> bool:
        """Say whether a termination was begun whose result nobody asked for yet, or failed a short time ago."""
        return key in self._threads or self._monotonic() < self._again_at.get(key, 0.0)

    def result(self, key: Key) -> bool | None:
        """Return whether the run's processes were stopped, or None while that is not known; forgets a known result."""
        if key not in self._results:
            return None
        del self._threads[key]
        stopped = self._results.pop(key)
        self._again_at.pop(key, None)
        if not stopped:
            self._again_at[key] = self._monotonic() + RETRY_SECONDS
        return stopped

    def wait(self) -> None:
        """Wait until every termination that is under way has ended."""
        for thread in list(self._threads.values()):
            thread.join()

    def _run(self, key: Key, stop: Callable[[], bool]) -> None:
        stopped = False
        try:
            stopped = stop()
        except Exception as problem:  # noqa: BLE001 - isolation edge: whatever a plugin raises counts as not stopped
            log.warning(entry("stop_failed", str(problem), run=key[1]))
        finally:
            self._results[key] = stopped
            if self._when_done is not None:
                self._when_done()
