"""What the tests of setup share: a Hermes root with profiles, and an environment that is not this one."""

from __future__ import annotations

import textwrap
from pathlib import Path

import pytest

from hermes_kanban_plugin.installation import plan
from hermes_kanban_plugin.installation.changes import Change
from hermes_kanban_plugin.installation.plan import Plan
from hermes_kanban_plugin.installation.start_file import Environment

RECORD = "hermes_kanban_plugin/__init__.py,sha256=abc,12\nhermes_kanban_plugin-0.1.0.dist-info/RECORD,,\n"


class Place:
    """A root home below a temporary folder, and a site-packages with our distribution in it."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "root"
        self.root.mkdir()
        self.site = folder / "site-packages"
        self.record = self.site / "hermes_kanban_plugin-0.1.0.dist-info" / "RECORD"
        self.record.parent.mkdir(parents=True)
        self.record.write_text(RECORD)
        self.environment = Environment(self.site, self.record, None)
        self.told: list[Change] = []

    @property
    def config(self) -> Path:
        return self.root / "config.yaml"

    @property
    def journal(self) -> Path:
        return self.root / "kanban" / "hermes-kanban-setup.json"

    @property
    def start_file(self) -> Path:
        return self.site / "hermes_kanban.pth"

    def write(self, text: str, profile: str | None = None) -> Path:
        """Write the settings of the root home or of a profile, which is made."""
        home = self.root / "profiles" / profile if profile else self.root
        home.mkdir(parents=True, exist_ok=True)
        (home / "config.yaml").write_bytes(textwrap.dedent(text).encode())
        return home / "config.yaml"

    def profile(self, name: str) -> Path:
        """Make a profile without settings, and return where they would be."""
        (self.root / "profiles" / name).mkdir(parents=True)
        return self.root / "profiles" / name / "config.yaml"

    def plan(self, *only: str) -> Plan:
        return plan.for_setup(self.root, only, self.environment)

    def setup(self, *only: str) -> list[str]:
        """Do what is missing; returns what was done."""
        return self._carry_out(self.plan(*only))

    def undo(self, *only: str) -> list[str]:
        return self._carry_out(plan.for_undo(self.root, only, self.environment))

    def _carry_out(self, made: Plan) -> list[str]:
        done: list[Change] = []
        plan.carry_out(made, done.append)
        assert done == made.changes
        return [f"{change.path.relative_to(self.root.parent)}: {change.what}" for change in done]

    def files(self) -> dict[str, tuple[bytes | str, int]]:
        """Everything that stands in the home and in the environment: content and mode."""
        found: dict[str, tuple[bytes | str, int]] = {}
        for path in sorted(self.root.parent.rglob("*")):
            name = str(path.relative_to(self.root.parent))
            if path.is_symlink():
                found[name] = (str(path.readlink()), 0)
            elif path.is_file():
                found[name] = (path.read_bytes(), path.stat().st_mode & 0o7777)
        return found


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    monkeypatch.setenv("HERMES_MANAGED_DIR", str(tmp_path / "managed"))
    folder = tmp_path / "place"
    folder.mkdir()
    return Place(folder)
