"""The shape of the tree, which decides who wins an `import tools`."""

from __future__ import annotations

import ast
import tomllib
from importlib.metadata import packages_distributions
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from pathlib import Path

# Top-level names of the host. `tools` is the one we have to live with, see test_no_package_file.
HOSTS = {"agent", "cli", "cron", "gateway", "plugins", "providers", "toolsets", "utils"}


@pytest.fixture
def build(root: Path) -> dict[str, Any]:
    data: dict[str, Any] = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]
    return data


@pytest.mark.parametrize("folder", ["tools", "hooks"])
def test_no_package_file(root: Path, folder: str) -> None:
    """Without `__init__.py` our folder is only a namespace candidate, and the host's regular package `tools` wins
    wherever it stands on the path. With one, every Python started in this checkout would import ours and break.
    """
    assert (root / folder).is_dir()
    assert not (root / folder / "__init__.py").exists()


def test_packages_are_the_folders_that_exist(root: Path, build: dict[str, Any]) -> None:
    package = root / "hermes_kanban_plugin"
    folders = {path.parent for path in package.rglob("*.py")}
    expected = {".".join(folder.relative_to(root).parts) for folder in folders}
    assert set(build["packages"]) == expected | {"hermes_kanban_plugin.tools", "hermes_kanban_plugin.hooks"}
    assert build["package-dir"] == {"hermes_kanban_plugin.tools": "tools", "hermes_kanban_plugin.hooks": "hooks"}


def test_every_folder_of_the_package_is_a_regular_package(root: Path) -> None:
    folders = {path.parent for path in (root / "hermes_kanban_plugin").rglob("*.py")}
    assert [folder for folder in folders if not (folder / "__init__.py").is_file()] == []


def test_package_data_exists(root: Path, build: dict[str, Any]) -> None:
    for package, names in build["package-data"].items():
        folder = root.joinpath(*package.split("."))
        assert [name for name in names if not list(folder.glob(name))] == [], package


def test_tools_and_hooks_are_flat(root: Path) -> None:
    nested = [path for folder in ("tools", "hooks") for path in (root / folder).glob("*/**/*.py")]
    assert nested == [], "a folder in there would be missing from the wheel"


def test_no_top_level_name_of_the_host(root: Path) -> None:
    names = {path.stem for path in root.iterdir()}
    assert names & HOSTS == set()
    importable = {path.stem for path in root.glob("*.py")} | {path.parent.name for path in root.glob("*/__init__.py")}
    of_host = {name for name, owners in packages_distributions().items() if "hermes-agent" in owners}
    assert of_host >= HOSTS | {"tools"}, "the list of the host's names is out of date"
    assert importable & of_host == set()


def test_root_file_only_defines(root: Path) -> None:
    """pytest imports it as a module on every run, and the host imports it before it knows whether to load us."""
    tree = ast.parse((root / "__init__.py").read_text(encoding="utf-8"))
    allowed = (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.Assign, ast.AnnAssign)
    other = [
        ast.unparse(node)
        for node in tree.body
        if not isinstance(node, allowed)
        and not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant))
        and not (isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING")
    ]
    calls = [ast.unparse(node) for node in tree.body if isinstance(node, ast.Assign) and _calls(node.value)]
    assert other + calls == []


def _calls(value: ast.expr) -> bool:
    return any(isinstance(node, ast.Call) for node in ast.walk(value))
