"""Houses with the real host in them; see house.py for what can be done in one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.live.house import LiveHouse
from tests.live.model_server import ModelServer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@pytest.fixture(scope="module")
def model_server() -> Iterator[ModelServer]:
    """The scripted model of this module's tests."""
    with ModelServer() as server:
        yield server


@pytest.fixture
def new_house(tmp_path: Path, model_server: ModelServer) -> Iterator[Callable[..., LiveHouse]]:
    """Make houses: ``new_house(plugin=True, kanban={...}, ours={...})``; each is emptied when the test is over."""
    houses: list[LiveHouse] = []

    def build(**options: Any) -> LiveHouse:
        house = LiveHouse(tmp_path / f"house{len(houses)}", model_server, **options)
        houses.append(house)
        return house

    yield build
    for house in houses:
        house.close()


@pytest.fixture
def live_house(new_house: Callable[..., LiveHouse]) -> LiveHouse:
    """A house with our plugin enabled."""
    return new_house()
