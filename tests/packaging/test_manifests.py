"""One plugin, three manifests: plugin.toml is the original, plugin.yaml and the package metadata must say the same."""

from __future__ import annotations

import json
import re
import tomllib
from importlib.metadata import distribution
from typing import TYPE_CHECKING, Any

import pytest
from ruamel.yaml import YAML

import hermes_kanban_plugin
from hermes_kanban_plugin import requirements

if TYPE_CHECKING:
    from pathlib import Path

ONLY_PLUGIN_YAML = {"author"}


@pytest.fixture
def manifest(root: Path) -> dict[str, Any]:
    return tomllib.loads((root / "plugin.toml").read_text(encoding="utf-8"))


@pytest.fixture
def host_manifest(root: Path) -> dict[str, Any]:
    data: dict[str, Any] = YAML(typ="safe").load(root / "plugin.yaml")
    return data


@pytest.fixture
def project(root: Path) -> dict[str, Any]:
    data: dict[str, Any] = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return data


def test_host_manifest_says_what_the_plugin_manifest_says(
    manifest: dict[str, Any], host_manifest: dict[str, Any]
) -> None:
    same = {key: manifest[key] for key in ("name", "version", "description", "kind")}
    provides = {f"provides_{what}": names for what, names in manifest["provides"].items()}
    assert {k: v for k, v in host_manifest.items() if k not in ONLY_PLUGIN_YAML} == same | provides


def test_the_manifest_of_the_dashboard_says_the_same_and_names_files_that_exist(
    root: Path, manifest: dict[str, Any]
) -> None:
    folder = root / "hermes_kanban_plugin" / "dashboard"
    page = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    # The dashboard looks up by this name whether the plugin is enabled, and a page named kanban would replace theirs.
    assert (page["name"], page["version"]) == (manifest["name"], manifest["version"])
    assert page["tab"] == {"path": "/kanban-health", "position": "after:kanban"}
    assert [name for name in (page["entry"], page["css"], page["api"]) if not (folder / name).is_file()] == []


def test_author_is_the_holder_of_the_licence(root: Path, host_manifest: dict[str, Any]) -> None:
    licence = (root / "LICENSE").read_text(encoding="utf-8")
    assert re.findall(r"^Copyright \(c\) \d{4} (.+)$", licence, re.MULTILINE) == [host_manifest["author"]]


def test_kind_is_written_down(host_manifest: dict[str, Any]) -> None:
    # Without it the host guesses from words in the root file.
    assert host_manifest["kind"] == "standalone"


def test_project_says_what_the_plugin_manifest_says(manifest: dict[str, Any], project: dict[str, Any]) -> None:
    assert project["name"] == manifest["distribution"]
    assert project["version"] == manifest["version"]
    assert project["description"] == manifest["description"]
    assert project["license"] == manifest["license"]
    assert project["requires-python"] == manifest["python"]
    assert project["entry-points"]["hermes_agent.plugins"] == {manifest["name"]: manifest["package"]}
    assert list(project["scripts"]) == [manifest["command"]]


def test_installed_metadata_says_what_the_plugin_manifest_says(manifest: dict[str, Any]) -> None:
    installed = distribution(manifest["distribution"])
    assert installed.version == manifest["version"] == hermes_kanban_plugin.__version__
    assert installed.metadata["Summary"] == manifest["description"]
    assert installed.metadata["License-Expression"] == manifest["license"]
    assert set(installed.metadata["Requires-Python"].split(",")) == set(manifest["python"].split(","))
    points = {(point.group, point.name, point.value) for point in installed.entry_points}
    assert ("hermes_agent.plugins", manifest["name"], manifest["package"]) in points
    assert manifest["command"] in {name for group, name, _ in points if group == "console_scripts"}


def test_console_script_points_at_something_callable(manifest: dict[str, Any]) -> None:
    scripts = distribution(manifest["distribution"]).entry_points.select(group="console_scripts")
    assert callable(scripts[manifest["command"]].load())


@pytest.mark.parametrize("folder", ["tools", "hooks"])
def test_files_are_the_ones_promised(root: Path, manifest: dict[str, Any], folder: str) -> None:
    promised = manifest["provides"][folder]
    assert sorted(path.stem for path in (root / folder).glob("*.py")) == sorted(promised)
    assert len(set(promised)) == len(promised)


def test_we_look_for_the_dependencies_of_the_distribution(project: dict[str, Any]) -> None:
    assert sorted([*requirements.NEEDED.values(), requirements.SHTAB]) == sorted(project["dependencies"])
