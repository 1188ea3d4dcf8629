"""A git clone under HERMES_HOME/plugins, loaded by the host's own plugin manager where the plugin is not installed."""

from __future__ import annotations

import shutil
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

LOAD_TWICE = """
import json, sys, threading
from hermes_cli.plugins import get_plugin_manager

def ours(force):
    manager = get_plugin_manager()
    manager.discover_and_load(force=force)
    (plugin,) = [plugin for plugin in manager.list_plugins() if plugin["name"] == "hermes-kanban"]
    hooks = {name: len(callbacks) for name, callbacks in manager._hooks.items()}
    return plugin, hooks, threading.active_count()

first, second = ours(False), ours(True)
import tools
package = sys.modules.get("hermes_kanban_plugin")
print(json.dumps({
    "first": first, "second": second, "tools": tools.__file__, "package": package and package.__file__,
}))
"""

IMPORT_OURS = """
import json, hermes_kanban_plugin.tools.kanban_heartbeat as tool, hermes_kanban_plugin.hooks.orphan_scan as hook, tools
print(json.dumps([tool.__file__, hook.__file__, tools.__file__]))
"""

RUN_HERMES = """
import sys
from hermes_cli.main import main
sys.argv = {arguments!r}
main()
print("null")
"""

LOAD_PAGE = """
import json, sys
from hermes_cli.plugins import get_plugin_manager

get_plugin_manager().discover_and_load()
import hermes_cli.web_server

module = sys.modules.get("hermes_dashboard_plugin_hermes-kanban")
print(json.dumps(sorted(route.path for route in module.router.routes) if module else None))
"""

CALL_REGISTER = """
import importlib, json, logging, sys
lines = []
class Lines(logging.Handler):
    def emit(self, record):
        lines.append(record.getMessage())
logging.getLogger().addHandler(Lines())
sys.path.insert(0, {folder!r})
importlib.import_module({name!r}).register(None)
print(json.dumps(lines))
"""

CONFIG = "plugins:\n  enabled: [hermes-kanban]\n  entries: {{hermes-kanban: {{allow_tool_override: {allowed}}}}}\n"


@pytest.fixture
def repository(source: Path, tmp_path: Path, clean_environment: dict[str, str]) -> Path:
    """The working tree as a repository with one commit, holding what git would take of it."""
    folder = tmp_path / "repository"
    shutil.copytree(source, folder, symlinks=True)
    author = ["-c", "user.name=test", "-c", "user.email=test@example.invalid"]
    for command in (["init", "--quiet"], ["add", "--all"], [*author, "commit", "--quiet", "--message", "tree"]):
        subprocess.run(["git", *command], cwd=folder, env=clean_environment, check=True, timeout=30)
    return folder


@pytest.fixture
def clone(repository: Path, home: Path, clean_environment: dict[str, str]) -> Path:
    """The plugin in a Hermes home, enabled, with the operator's leave to replace tools."""
    target = home / "plugins" / "hermes-kanban"
    command = ["git", "clone", "--quiet", repository.as_uri(), str(target)]
    subprocess.run(command, env=clean_environment, check=True, timeout=30)
    (home / "config.yaml").write_text(CONFIG.format(allowed="true"), encoding="utf-8")
    return target


@pytest.mark.parametrize("allowed", ["true", "false"])
def test_host_loads_a_clone_twice(
    clone: Path, home: Path, host_site: Path, run_python: Callable[..., Any], allowed: str
) -> None:
    (home / "config.yaml").write_text(CONFIG.format(allowed=allowed), encoding="utf-8")
    seen = run_python(LOAD_TWICE, path=[host_site])
    plugin = seen["first"][0]
    assert (plugin["error"], plugin["enabled"], plugin["source"]) == (None, True, "user")
    assert seen["second"] == seen["first"], "a forced rediscovery must leave the same tools, hooks and threads"
    assert seen["package"] == str(clone / "hermes_kanban_plugin" / "__init__.py")
    assert seen["tools"] == str(host_site / "tools" / "__init__.py")


def test_the_dashboard_serves_the_page_of_a_clone_as_it_is(
    clone: Path, host_site: Path, run_python: Callable[..., Any]
) -> None:
    assert (clone / "dashboard").is_symlink()
    assert "/overview" in run_python(LOAD_PAGE, path=[host_site])


def test_clone_is_loaded_under_its_real_name_even_in_another_checkout(
    clone: Path, source: Path, host_site: Path, run_python: Callable[..., Any]
) -> None:
    """A worker may work in a checkout of this repository: the operator's clone must run, not the worker's files."""
    seen = run_python(LOAD_TWICE, path=[host_site], cwd=source)
    assert seen["first"][0]["error"] is None
    assert seen["package"] == str(clone / "hermes_kanban_plugin" / "__init__.py")


def test_child_process_of_a_clone_finds_both_packages(
    clone: Path, host_site: Path, run_python: Callable[..., Any]
) -> None:
    """What the plugin starts gets the clone on its path; the host's `tools` must win there as well."""
    seen = run_python(IMPORT_OURS, path=[clone, host_site])
    assert seen == [
        str(clone / "tools" / "kanban_heartbeat.py"),
        str(clone / "hooks" / "orphan_scan.py"),
        str(host_site / "tools" / "__init__.py"),
    ]


@pytest.mark.parametrize(
    ("module", "requirement"), [("pluggy", "pluggy"), ("sqlite_utils", "sqlite-utils"), ("ruamel", "ruamel.yaml")]
)
def test_missing_dependency_is_one_sentence_with_its_remedy(
    clone: Path, host_site: Path, tmp_path: Path, run_python: Callable[..., Any], module: str, requirement: str
) -> None:
    poorer = tmp_path / "poorer"
    poorer.mkdir()
    for entry in host_site.iterdir():
        if entry.name != module:
            (poorer / entry.name).symlink_to(entry)
    (line,) = run_python(CALL_REGISTER.format(folder=str(clone.parent), name=clone.name), path=[poorer])
    assert "\n" not in line
    assert f"{sys.executable} -m pip install '{requirement}>=" in line
    assert line.count(">=") == 1, "names only what is missing"


@pytest.mark.parametrize("text", ["after-install.md", "docs/how-to/install-in-hermes.md"])
def test_a_clone_with_what_its_instructions_install_is_loaded(
    clone: Path, host_site: Path, tmp_path: Path, run_python: Callable[..., Any], text: str
) -> None:
    """In an environment that has what Hermes brings, and the packages that the text names."""
    assert "pip install pluggy sqlite-utils" in " ".join((clone / text).read_text(encoding="utf-8").split())
    there = {"psutil", "pydantic", "rich", "ruamel", "pluggy", "sqlite_utils"}
    bare = tmp_path / "bare"
    bare.mkdir()
    for name in there:
        (bare / name).symlink_to(host_site / name)
    assert run_python(CALL_REGISTER.format(folder=str(clone.parent), name=clone.name), path=[bare]) == []


def test_installed_distribution_wins_over_a_clone(clone: Path, root: Path, run_python: Callable[..., Any]) -> None:
    seen = run_python(LOAD_TWICE)
    plugin = seen["first"][0]
    assert (plugin["error"], plugin["source"]) == (None, "entrypoint")
    assert seen["package"] == str(root / "hermes_kanban_plugin" / "__init__.py")
    assert seen["second"] == seen["first"]


def test_the_hosts_own_install_command(
    repository: Path, home: Path, host_site: Path, run_python: Callable[..., Any]
) -> None:
    """`hermes plugins install`: the folder takes the manifest's name, and the last words are after-install.md's."""
    arguments = ["hermes", "plugins", "install", repository.as_uri(), "--enable"]
    run_python(RUN_HERMES.format(arguments=arguments), path=[host_site])
    assert (home / "plugins" / "hermes-kanban" / "after-install.md").is_file()
    assert (home / "plugins" / "hermes-kanban" / "dashboard" / "manifest.json").is_file()
    seen = run_python(LOAD_TWICE, path=[host_site])
    assert (seen["first"][0]["error"], seen["first"][0]["enabled"]) == (None, True)
