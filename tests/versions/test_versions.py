"""Each version of the host, with our wheel in its own environment, does what docs/reference/hosts.md says of it."""

from __future__ import annotations

import json
import traceback
from typing import TYPE_CHECKING, ClassVar, NamedTuple

import pytest

from tests.live.model_server import ModelServer
from tests.versions import page
from tests.versions.environments import FOLDER, Environment, build_wheel, chosen
from tests.versions.scenario import STEPS, VersionHouse

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = [pytest.mark.host, pytest.mark.timeout(900)]


class Outcome(NamedTuple):
    """What a step returned, or how it failed."""

    cell: str
    trace: str


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_wheel(tmp_path_factory.mktemp("dist"))


@pytest.fixture(scope="session")
def played() -> dict[str, dict[str, Outcome]]:
    """What was found so far, by version: whatever order the tests come in, a scenario is played once."""
    return {}


def play(version: str, wheel: Path, folder: Path) -> dict[str, Outcome]:
    """Play the whole scenario; keeps the cells of the table in a file, for tests/versions/page.py."""
    environment = Environment(version)
    with environment.alone(), ModelServer() as server:
        environment.prepare()
        environment.pip("install", "--no-deps", "--no-index", "--force-reinstall", str(wheel))
        house = VersionHouse(folder / version, server, environment)
        try:
            found = {step.column: try_out(step.run, house) for step in STEPS}
        finally:
            house.close()
    cells = {column: outcome.cell for column, outcome in found.items()}
    (FOLDER / f"{version}.json").write_text(json.dumps(cells, indent=1), encoding="utf-8")
    return found


def try_out(run: Callable[[VersionHouse], str], house: VersionHouse) -> Outcome:
    """Run a step; whatever it raises is its outcome, and the next step is tried all the same."""
    try:
        return Outcome(run(house), "")
    except Exception as problem:  # noqa: BLE001 - the test of this step shows it
        return Outcome(f"no: {type(problem).__name__}", traceback.format_exc())


class Scenario:
    """What is the same for every version; the class of each version is made below, so that one process plays it."""

    version: ClassVar[str]

    @pytest.mark.parametrize("column", [step.column for step in STEPS])
    def test_a_step_ends_as_the_table_says(
        self,
        column: str,
        played: dict[str, dict[str, Outcome]],
        wheel: Path,
        tmp_path_factory: pytest.TempPathFactory,
    ) -> None:
        if self.version not in played:
            played[self.version] = play(self.version, wheel, tmp_path_factory.mktemp("versions"))
        outcome = played[self.version][column]
        assert not outcome.trace, outcome.trace
        assert outcome.cell == page.read()[self.version][column]


for _version in chosen():
    _name = f"TestHermes{_version.replace('.', '_')}"
    globals()[_name] = type(_name, (Scenario,), {"version": _version, "__module__": __name__})
