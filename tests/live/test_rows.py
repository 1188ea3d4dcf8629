"""Every loss of the table of recovery times, with our plugin in a real gateway: how it ends, whatever time it takes.

The rows are staged side by side when the first of them is asked for, and each test looks at one of them.
"""

from __future__ import annotations

import signal
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from bench import rows
from hermes_kanban_plugin.testing import violations
from tests.live.house import LiveHouse

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.live.model_server import ModelServer

pytestmark = [pytest.mark.host, pytest.mark.xdist_group("live-rows"), pytest.mark.timeout(400)]

# Rows at a time: a worker takes seconds of one core before it asks its model for the first time.
SIDE_BY_SIDE = 5


class Row(NamedTuple):
    """How a loss is staged, and how it must end.

    ``outcomes`` are those of all runs, of which ``never_started`` had no worker. ``failures`` are those that were
    counted when the attempt after the loss began.
    """

    stage: Callable[[LiveHouse], rows.Result]
    outcomes: list[str]
    failures: int = 0
    status: str = "done"
    own_house: bool = False
    ours: dict[str, Any] = {}
    never_started: int = 0


def freeze_worker(house: LiveHouse) -> rows.Result:
    house.start_gateway()
    return rows.signal_worker(house, signal.SIGSTOP)


# The longest comes first: a worker that waits for its model gives a sign of life about once a minute.
ROWS = {
    "c worker frozen": Row(
        freeze_worker,
        ["stale", "completed"],
        own_house=True,
        ours={"heartbeat_limit_seconds": 75},
    ),
    "nothing lost": Row(rows.run_undisturbed, ["completed"]),
    "a worker killed": Row(lambda house: rows.signal_worker(house, signal.SIGKILL), ["crashed", "completed"], 1),
    "b worker terminated": Row(lambda house: rows.signal_worker(house, signal.SIGTERM), ["reclaimed", "completed"]),
    "d gateway killed": Row(lambda house: rows.lose_gateway(house, signal.SIGKILL, 0), ["completed"], own_house=True),
    "d' gateway terminated": Row(
        lambda house: rows.lose_gateway(house, signal.SIGTERM, 0), ["completed"], own_house=True
    ),
    "d''' machine lost twice": Row(
        lambda house: rows.lose_machine(house, 2), ["reclaimed", "reclaimed", "completed"], own_house=True
    ),
    "d4 machine lost and renamed": Row(
        lambda house: rows.lose_machine(house, hostname="another"), ["reclaimed", "completed"], own_house=True
    ),
    "d5 owner of two gateways killed": Row(rows.lose_owner, ["crashed", "completed"], 1, own_house=True),
    "e pids reused": Row(rows.reuse_pids, ["reclaimed", "completed"], own_house=True),
    "e' pids reused, time limit": Row(
        lambda house: rows.reuse_pids(house, "--max-runtime", "30"), ["reclaimed", "completed"], own_house=True
    ),
    "f claimed and never started": Row(
        rows.lose_between_claim_and_pid,
        ["reclaimed", "completed"],
        own_house=True,
        ours={"launch_seconds": 8},
        never_started=1,
    ),
    "g every worker killed": Row(
        lambda house: rows.signal_attempts(house, signal.SIGKILL, 3), ["crashed", "crashed"], 1, "blocked"
    ),
    "h every worker terminated": Row(
        lambda house: rows.signal_attempts(house, signal.SIGTERM, 3), [*["reclaimed"] * 3, "completed"]
    ),
    "i every worker leaves without a word": Row(rows.leave_unfinished, ["crashed", "crashed"], 0, "blocked"),
}


class Stagings:
    """Stages rows in a few threads: those that leave the gateway alone in one house, the others in one each."""

    def __init__(self, folder: Any, server: ModelServer) -> None:
        self._folder = folder
        self._server = server
        self._lock = threading.Lock()
        self._pool = ThreadPoolExecutor(SIDE_BY_SIDE)
        self._shared: LiveHouse | None = None
        self._houses: list[LiveHouse] = []
        self._staged: dict[str, Future[tuple[LiveHouse, rows.Result]]] = {}

    def begin(self, names: list[str]) -> None:
        """Start to stage rows, unless that was done."""
        for name in names:
            if name not in self._staged:
                self._staged[name] = self._pool.submit(self._stage, ROWS[name])

    def result(self, name: str) -> tuple[LiveHouse, rows.Result]:
        """Return what came of a row, and its house."""
        return self._staged[name].result()

    def _stage(self, row: Row) -> tuple[LiveHouse, rows.Result]:
        house = self._build(row.ours) if row.own_house else self._serving()
        result = row.stage(house)
        if row.own_house:
            house.kill_everything()  # the cores are for the next one
        return house, result

    def _build(self, ours: dict[str, Any]) -> LiveHouse:
        with self._lock:
            house = LiveHouse(self._folder / f"house{len(self._houses)}", self._server, ours=ours)
            self._houses.append(house)
            return house

    def _serving(self) -> LiveHouse:
        with self._lock:
            if self._shared is None:
                self._shared = LiveHouse(self._folder / "shared", self._server)
                self._houses.append(self._shared)
                self._shared.start_gateway()
            return self._shared

    def close(self) -> None:
        self._pool.shutdown(cancel_futures=True)
        for house in self._houses:
            house.close()


@pytest.fixture(scope="module")
def stagings(tmp_path_factory: pytest.TempPathFactory, model_server: ModelServer) -> Iterator[Stagings]:
    staged = Stagings(tmp_path_factory.mktemp("rows"), model_server)
    yield staged
    staged.close()


def chosen(session: pytest.Session) -> list[str]:
    """The rows that this session is to look at."""
    found = [getattr(item, "callspec", None) for item in session.items if str(item.path) == __file__]
    return [spec.params["name"] for spec in found if spec is not None]


@pytest.mark.parametrize("name", ROWS)
def test_how_a_loss_ends(name: str, stagings: Stagings, request: pytest.FixtureRequest) -> None:
    row = ROWS[name]
    stagings.begin(chosen(request.session))
    house, result = stagings.result(name)
    assert result.status == row.status, result
    assert result.outcomes == row.outcomes, result
    assert result.failures == row.failures, result
    assert (result.most_runs, result.most_workers) == (1, 1), result
    assert result.events.count("spawned") == len(row.outcomes) - row.never_started, result
    assert "promoted" not in result.events, result
    assert result.strangers_live
    assert violations(house.database) == []
