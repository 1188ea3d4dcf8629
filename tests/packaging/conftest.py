"""What the packaging tests share: a copy of the tree, the wheel, and processes that see only what they are given."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

# Leftovers of work in a checkout, which neither a clone nor a build may pick up.
LEFTOVERS = (".git", ".venv*", "build", "dist", "*.egg-info", "__pycache__", ".*_cache", ".hypothesis")


@pytest.fixture(scope="session")
def root() -> Path:
    return Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def source(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the working tree without leftovers, to be read only."""
    copy = tmp_path_factory.mktemp("source") / "tree"
    shutil.copytree(root, copy, symlinks=True, ignore=shutil.ignore_patterns(*LEFTOVERS))
    return copy


@pytest.fixture(scope="session")
def wheel(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this tree. Tests that use it carry `xdist_group("wheel")`, so that one process builds it."""
    folder = tmp_path_factory.mktemp("dist")
    workshop = folder / "tree"  # building leaves a build folder and metadata behind
    shutil.copytree(source, workshop, symlinks=True)
    options = ["--quiet", "--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir", str(folder)]
    subprocess.run([sys.executable, "-m", "pip", "wheel", *options, str(workshop)], check=True, timeout=55)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="session")
def host_site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The installed packages without ours, as links: the environment of a host that never heard of the plugin."""
    folder = tmp_path_factory.mktemp("host") / "site-packages"
    folder.mkdir()
    for installed in {Path(sysconfig.get_path(kind)).resolve() for kind in ("purelib", "platlib")}:
        for entry in installed.iterdir():
            if not entry.name.startswith(("hermes_kanban_plugin", "__editable__", "__pycache__")):
                (folder / entry.name).symlink_to(entry)
    return folder


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A HERMES_HOME with nothing in it."""
    folder = tmp_path / "hermes"
    folder.mkdir()
    return folder


@pytest.fixture
def clean_environment(home: Path, tmp_path: Path) -> dict[str, str]:
    """This process's environment without anything that says which Hermes, which Python path or which git repository."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("HERMES", "GIT_", "PYTHON"))}
    fresh = {"HOME": tmp_path, "HERMES_HOME": home, "HERMES_MANAGED_DIR": tmp_path / "managed"}
    git = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
    return environment | {key: str(value) for key, value in fresh.items()} | git


@pytest.fixture
def run_python(tmp_path: Path, clean_environment: dict[str, str]) -> Callable[..., Any]:
    """Run code in a new process and return the JSON of its last line.

    The process finds exactly `path` as its installed packages, or this environment's packages if none is given.
    """

    def run(code: str, *, path: list[Path] | None = None, cwd: Path | None = None) -> Any:
        seen = [] if path is None else ["-S"]  # -S: no site-packages, so no editable install of this checkout
        environment = clean_environment | {"PYTHONPATH": os.pathsep.join(map(str, path or []))}
        command = [sys.executable, *seen, "-c", code]
        done = subprocess.run(
            command, cwd=cwd or tmp_path, env=environment, capture_output=True, text=True, timeout=55, check=False
        )
        assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
        return json.loads(done.stdout.splitlines()[-1])

    return run
