"""Stopping workers beside the tick: each in a thread of its own, so that a stubborn one delays nobody else."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

MAX_AT_ONCE = 64
Key = tuple[str, int]


class Stops:
    """The terminations that are under way."""

    def __init__(self, when_done: Callable[[], None] | None = None) -> None:
        self._pool = ThreadPoolExecutor(MAX_AT_ONCE, thread_name_prefix="stop")
        self._running: dict[Key, Future[bool]] = {}
        self._when_done = when_done

    def begin(self, key: Key, stop: Callable[[], bool]) -> None:
        """Start a termination unless it is under way already; ``stop`` says whether everything is proven gone."""
        if key in self._running:
            return
        future = self._pool.submit(stop)
        self._running[key] = future
        if self._when_done is not None:
            notify = self._when_done
            future.add_done_callback(lambda _: notify())

    def under_way(self, key: Key) -> bool:
        """Say whether a termination was begun whose result nobody asked for yet."""
        return key in self._running

    def result(self, key: Key) -> bool | None:
        """Return whether the run's processes were stopped, or None while that is not known; forgets a known result."""
        future = self._running.get(key)
        if future is None or not future.done():
            return None
        del self._running[key]
        return future.exception() is None and future.result()

    def wait(self) -> None:
        """Wait until every termination that is under way has ended."""
        wait(list(self._running.values()))

    def close(self) -> None:
        """Let the process end without waiting for stubborn workers; they stay leased and are found again."""
        self._pool.shutdown(wait=False, cancel_futures=True)
