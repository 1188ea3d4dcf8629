"""The Prometheus endpoint: this machine only, numbers from the boards, quiet when it cannot listen."""

from __future__ import annotations

import logging
import socket
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from urllib.request import urlopen

import pytest
from prometheus_client.parser import text_string_to_metric_families

from hermes_kanban_plugin.board import create_board
from hermes_kanban_plugin.locations import locate
from hermes_kanban_plugin.maintenance.metrics import COUNTERS, GAUGES, PREFIX, Endpoint
from tests.maintenance.conftest import Keeper


@pytest.fixture
def port() -> int:
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def endpoint(home: Path) -> Iterator[Endpoint]:
    opened = Endpoint(home)
    yield opened
    opened.close()


def scrape(port: int) -> dict[tuple[str, ...], float]:
    """Read the endpoint: the value of each metric by its name and labels."""
    with urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30) as answer:
        text = answer.read().decode()
    return {
        (sample.name.removeprefix(f"{PREFIX}_"), *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_the_gauges_are_those_of_the_board(keeper: Keeper, endpoint: Endpoint, port: int) -> None:
    keeper.create("ready")
    running = keeper.create("runs")
    lease = keeper.claim(running)
    keeper.board.heartbeat(lease, 60)
    keeper.execute("UPDATE tasks SET claim_expires = 1 WHERE id = ?", running)
    endpoint.listen(port)

    found = scrape(port)

    assert found["tasks", "default", "ready"] == 1
    assert found["tasks", "default", "running"] == 1
    assert found["expired_leases", "default"] == 1
    for name in ("oldest_ready_seconds", "longest_run_seconds", "silent_run_seconds"):
        assert found[name, "default"] > 1_000_000  # the board's clock stands in the past
    assert found["paused", "default"] == 0
    assert found["unreadable", "default"] == 0


def test_every_metric_is_there_with_its_labels(keeper: Keeper, endpoint: Endpoint, port: int) -> None:
    keeper.create()
    endpoint.note_tick("default")
    endpoint.note_event("default", "created")
    endpoint.listen(port)

    names = {name for name, *_ in scrape(port)}

    assert names == {*GAUGES, *(f"{name}_total" for name in COUNTERS)}


def test_what_happened_is_counted(keeper: Keeper, endpoint: Endpoint, port: int) -> None:
    endpoint.listen(port)
    for _ in range(3):
        endpoint.note_tick("default")
    for kind in ("claimed", "claimed", "crashed"):
        endpoint.note_event("default", kind)

    found = scrape(port)

    assert found["ticks_total", "default"] == 3
    assert found["events_total", "default", "claimed"] == 2
    assert found["events_total", "default", "crashed"] == 1
    assert found["last_tick_timestamp_seconds", "default"] > 1_700_000_000


def test_a_board_that_cannot_be_read_is_named_and_hides_no_other(
    home: Path, keeper: Keeper, endpoint: Endpoint, port: int
) -> None:
    broken = locate("broken")
    create_board(broken)
    for suffix in ("-wal", "-shm"):
        broken.database.with_name(f"kanban.db{suffix}").unlink(missing_ok=True)
    broken.database.write_bytes(b"no database")
    keeper.create()
    endpoint.listen(port)

    found = scrape(port)

    assert (found["unreadable", "broken"], found["unreadable", "default"]) == (1, 0)
    assert found["tasks", "default", "ready"] == 1


def test_it_is_reached_from_this_machine_only(endpoint: Endpoint, port: int) -> None:
    endpoint.listen(port)

    assert endpoint._server.server_address[0] == "127.0.0.1"


def test_the_port_can_change_while_it_runs(keeper: Keeper, endpoint: Endpoint, port: int) -> None:
    endpoint.listen(port)
    endpoint.listen(port)
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        other = int(probe.getsockname()[1])

    endpoint.listen(other)

    assert endpoint.port == other
    assert scrape(other)
    with pytest.raises(OSError, match="refused"):
        scrape(port)
    endpoint.listen(0)
    assert endpoint.port == 0
    with pytest.raises(OSError, match="refused"):
        scrape(other)


def test_a_port_that_is_taken_is_said_once(endpoint: Endpoint, port: int, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    with closing(socket.socket()) as other:
        other.bind(("127.0.0.1", port))
        other.listen()
        for _ in range(5):
            endpoint.listen(port)

    assert [record.message for record in caplog.records] == [
        f'action=metrics_failed port={port} msg="port {port} cannot be had (Address already in use); '
        'choose another metrics_port"'
    ]
    assert endpoint.port == 0


def test_a_missing_library_is_said_once_with_the_remedy(
    endpoint: Endpoint, port: int, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    for _ in range(5):
        endpoint.listen(port)

    (record,) = caplog.records
    assert "pip install 'hermes-kanban-plugin[metrics]'" in record.message
