"""The optional Prometheus endpoint of the dispatcher: gauges read when it is asked, counters of what happened.

It listens on 127.0.0.1 only and needs ``prometheus-client`` (``pip install 'hermes-kanban-plugin[metrics]'``). Nobody
who does not ask costs anything: the boards are read by the thread that answers, through readers of its own.
"""

from __future__ import annotations

import logging
import sqlite3
import time
from contextlib import closing
from typing import TYPE_CHECKING, Any

from hermes_kanban_plugin import __version__, locations
from hermes_kanban_plugin.errors import KanbanError
from hermes_kanban_plugin.logbook import entry
from hermes_kanban_plugin.store import connection, panorama
from hermes_kanban_plugin.store.flags import PAUSED, find

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from hermes_kanban_plugin.locations import BoardLocation

log = logging.getLogger(__name__)

ADDRESS = "127.0.0.1"
BUSY_MS = 100
PREFIX = "hermes_kanban"
# Metric, its help, its labels: what docs/reference/metrics.md describes.
GAUGES = {
    "tasks": ("Tasks on a board, by column", ("board", "status")),
    "oldest_ready_seconds": ("Age of the oldest task that may start, since its creation", ("board",)),
    "longest_run_seconds": ("How long the longest run goes on", ("board",)),
    "silent_run_seconds": ("The longest time since the last heartbeat of a run that has one", ("board",)),
    "expired_leases": ("Runs whose lease has ended", ("board",)),
    "paused": ("1 while a board is paused", ("board",)),
    "unreadable": ("1 while a board cannot be read", ("board",)),
    "last_tick_timestamp_seconds": ("When a board was last ticked by this process", ("board",)),
    "build_info": ("1, with the version", ("version",)),
}
COUNTERS = {
    "ticks": ("Ticks of a board by this process", ("board",)),
    "events": ("Rows of the history told by this process, by kind", ("board", "kind")),
}


class Endpoint:
    """The endpoint of one process: it listens where it is told to, and counts what it is told."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._port = 0
        self._server: Any = None
        self._refused: int | None = None
        self._ticks: dict[str, int] = {}
        self._ticked_at: dict[str, float] = {}
        self._events: dict[tuple[str, str], int] = {}

    @property
    def port(self) -> int:
        """Where it listens; 0 when it does not."""
        return self._port if self._server is not None else 0

    def listen(self, port: int) -> None:
        """Listen on a port of this machine, or not at all for 0; one that cannot be had is said once and left.

        Called at every tick, so that the setting can be changed while it runs.
        """
        if port in (self.port, self._refused):
            return
        self.close()
        self._refused = None
        if port == 0:
            return
        try:
            from prometheus_client import CollectorRegistry, start_http_server
        except ImportError:
            self._refuse(port, "prometheus-client is missing; pip install 'hermes-kanban-plugin[metrics]'")
            return
        registry = CollectorRegistry()
        registry.register(self)
        try:
            self._server, _ = start_http_server(port, ADDRESS, registry)
        except OSError as problem:
            self._refuse(port, f"port {port} cannot be had ({problem.strerror}); choose another metrics_port")
            return
        self._port = port
        log.info(entry("metrics", address=f"http://{ADDRESS}:{port}/metrics"))

    def close(self) -> None:
        """Listen no more."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    def note_tick(self, board: str) -> None:
        """Count a tick of a board."""
        self._ticks[board] = self._ticks.get(board, 0) + 1
        self._ticked_at[board] = time.time()

    def note_event(self, board: str, kind: str) -> None:
        """Count a row of the history."""
        key = (board, kind)
        self._events[key] = self._events.get(key, 0) + 1

    def collect(self) -> Iterator[Any]:
        """Return every metric as it is now; called by the thread that answers."""
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

        gauges = {
            name: GaugeMetricFamily(f"{PREFIX}_{name}", about, labels=labels)
            for name, (about, labels) in GAUGES.items()
        }
        gauges["build_info"].add_metric([__version__], 1)
        boards = locations.serving_boards(self._root)
        for location in boards:
            for name, labels, value in read(location, int(time.time())):
                gauges[name].add_metric([location.slug, *labels], value)
        served = {location.slug for location in boards}
        for board, moment in [one for one in list(self._ticked_at.items()) if one[0] in served]:
            gauges["last_tick_timestamp_seconds"].add_metric([board], moment)
        yield from gauges.values()
        ticks, events = (
            CounterMetricFamily(f"{PREFIX}_{name}", about, labels=labels) for name, (about, labels) in COUNTERS.items()
        )
        for board, number in list(self._ticks.items()):
            ticks.add_metric([board], number)
        for (board, kind), number in list(self._events.items()):
            events.add_metric([board, kind], number)
        yield ticks
        yield events

    def describe(self) -> list[Any]:
        """Say nothing about the metrics in advance: what they are is known when they are read."""
        return []

    def _refuse(self, port: int, why: str) -> None:
        self._refused = port
        log.warning(entry("metrics_failed", why, port=port))


def read(location: BoardLocation, now: int) -> list[tuple[str, tuple[str, ...], float]]:
    """Return the gauges of one board: (name, labels after the board, value).

    Args:
        location: the board.
        now: epoch seconds.
    """
    try:
        with closing(connection.open_reader(str(location.database), busy=BUSY_MS)) as reader:
            return [*_of_tasks(reader, now), ("unreadable", (), 0)]
    except (KanbanError, sqlite3.Error) as problem:
        log.debug(entry("measure_failed", str(problem), board=location.slug))
        return [("unreadable", (), 1)]


def _of_tasks(reader: sqlite3.Connection, now: int) -> Iterator[tuple[str, tuple[str, ...], float]]:
    for status, number in panorama.counts(reader).items():
        yield "tasks", (status,), number
    figures = panorama.figures(reader, now)
    for name in ("oldest_ready_seconds", "longest_run_seconds", "silent_run_seconds"):
        moment = figures[name]
        yield name, (), max(0, now - moment) if moment is not None else 0
    yield "expired_leases", (), figures["expired_leases"] or 0
    paused = bool(connection.columns_of(reader, "kp_flags")) and find(reader, PAUSED) is not None
    yield "paused", (), int(paused)
