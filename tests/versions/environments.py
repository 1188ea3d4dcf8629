"""Environments with a host of each version, as an operator has them: its own pinned dependencies, and our wheel.

One environment for each version is made once and kept below the environment that runs the tests; ``make clean`` takes
them away with it. Only our wheel is installed anew each time. Needs the package registry that pip is configured for.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
import tomllib
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "reference" / "hosts.md"
FOLDER = Path(sys.prefix) / "hosts"
# Every version of hermes-agent from 0.13.0 on whose kanban or plugin code differs from the one before.
VERSIONS = ("0.13.0", "0.14.0", "0.15.0", "0.15.2", "0.16.0", "0.17.0", "0.18.0", "0.18.2", "0.19.0")
# Leftovers of work in a checkout, which neither a clone nor a build may pick up.
LEFTOVERS = (".git", ".venv*", "build", "dist", "*.egg-info", "__pycache__", ".*_cache", ".hypothesis")


def chosen() -> list[str]:
    """Return the versions that this run is asked for: ``HOSTS="0.13.0 0.19.0"``, or ``HOSTS=all``; none unless asked.

    Raises:
        ValueError: one of them is not in the list above.
    """
    asked = os.environ.get("HOSTS", "").split()
    if asked == ["all"]:
        return list(VERSIONS)
    unknown = sorted({*asked} - {*VERSIONS})
    if unknown:
        raise ValueError(f"HOSTS names {', '.join(unknown)}; known are {', '.join(VERSIONS)} and all")
    return asked


class Environment:
    """A virtual environment with one version of the host.

    Args:
        version: of hermes-agent.
    """

    def __init__(self, version: str) -> None:
        self.version = version
        self.folder = FOLDER / version
        self.scripts = self.folder / "bin"
        self.python = self.scripts / "python"

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Keep every other test run out of it, which would exchange our wheel under our feet."""
        FOLDER.mkdir(exist_ok=True)
        with (FOLDER / f"{self.version}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def prepare(self) -> None:
        """Make it, unless it is there with what we need now."""
        project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
        wanted = [f"hermes-agent=={self.version}", *project["dependencies"]]
        stamp = self.folder / "made-of.txt"
        if stamp.exists() and stamp.read_text(encoding="utf-8").splitlines() == wanted:
            return
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(self.folder)], check=True)
        self.pip("install", *wanted)
        stamp.write_text("\n".join(wanted), encoding="utf-8")

    def pip(self, verb: str, *words: str) -> None:
        """Run pip in it."""
        options = ["--quiet", "--disable-pip-version-check"]
        subprocess.run([str(self.python), "-m", "pip", verb, *options, *words], check=True, timeout=500)


def copy_tree(target: Path) -> Path:
    """Copy the checkout without what work leaves in it, as a clone would be; returns the copy."""
    shutil.copytree(ROOT, target, ignore=shutil.ignore_patterns(*LEFTOVERS))
    return target


def build_wheel(folder: Path) -> Path:
    """Build our wheel in an empty folder; returns its file."""
    tree = copy_tree(folder / "tree")  # building leaves a build folder behind
    options = ["--quiet", "--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir", str(folder)]
    subprocess.run([sys.executable, "-m", "pip", "wheel", *options, str(tree)], check=True, timeout=120)
    (built,) = folder.glob("*.whl")
    return built
