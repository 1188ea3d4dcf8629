"""The wheel holds the package and nothing else, and works where no checkout is near."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING, Any
from zipfile import ZipFile

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.xdist_group("wheel")

IMPORT_EVERYTHING = """
import json
from importlib import import_module
from pathlib import Path
import hermes_kanban_plugin as package

home = Path(package.__file__).parent
paths = [path.relative_to(home.parent).with_suffix("") for path in home.rglob("*.py") if path.stem != "__main__"]
names = [".".join(path.parts).removesuffix(".__init__") for path in paths]
files = [import_module(name).__file__ for name in names]
print(json.dumps({"names": names, "files": files, "version": package.__version__}))
"""

LOAD_IN_HOST = """
import json
from hermes_cli.plugins import get_plugin_manager

manager = get_plugin_manager()
manager.discover_and_load()
(ours,) = [plugin for plugin in manager.list_plugins() if plugin["name"] == "hermes-kanban"]
import hermes_kanban_plugin, tools
print(json.dumps(ours | {"package": hermes_kanban_plugin.__file__, "tools": tools.__file__}))
"""


LOAD_PAGE = """
import json, sys
from hermes_cli.plugins import get_plugin_manager

get_plugin_manager().discover_and_load()
import hermes_cli.web_server

module = sys.modules.get("hermes_dashboard_plugin_hermes-kanban")
print(json.dumps(sorted(route.path for route in module.router.routes) if module else None))
"""


@pytest.fixture(scope="session")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("installed") / "site"
    options = ["--quiet", "--no-deps", "--no-index", "--target", str(target)]
    subprocess.run([sys.executable, "-m", "pip", "install", *options, str(wheel)], check=True, timeout=55)
    return target


def test_holds_only_the_package(wheel: Path) -> None:
    names = ZipFile(wheel).namelist()
    top = {name.split("/")[0] for name in names}
    assert {name for name in top if not name.endswith(".dist-info")} == {"hermes_kanban_plugin"}
    assert any(name.endswith("/licenses/LICENSE") for name in names)


def test_holds_every_module_and_the_type_marker(wheel: Path, source: Path) -> None:
    package = source / "hermes_kanban_plugin"
    expected = {str(path.relative_to(source)) for path in package.rglob("*.py")}
    for folder in ("tools", "hooks"):
        expected |= {f"hermes_kanban_plugin/{folder}/{path.name}" for path in (source / folder).glob("*.py")}
    held = {name for name in ZipFile(wheel).namelist() if name.endswith(".py")}
    assert held == expected
    assert "hermes_kanban_plugin/py.typed" in ZipFile(wheel).namelist()


def test_holds_the_page_of_the_dashboard(wheel: Path, source: Path) -> None:
    page = source / "hermes_kanban_plugin" / "dashboard"
    files = [page / "manifest.json", *(page / "page").iterdir()]
    assert len(files) == 3
    assert {str(path.relative_to(source)) for path in files} <= set(ZipFile(wheel).namelist())


def test_every_module_imports_from_a_neutral_folder(
    installed: Path, host_site: Path, run_python: Callable[..., Any]
) -> None:
    seen = run_python(IMPORT_EVERYTHING, path=[installed, host_site])
    assert [file for file in seen["files"] if not file.startswith(str(installed))] == []
    assert "hermes_kanban_plugin.tools.kanban_heartbeat" in seen["names"]
    assert "hermes_kanban_plugin.hooks.orphan_scan" in seen["names"]
    assert (installed / f"hermes_kanban_plugin-{seen['version']}.dist-info").is_dir()


def test_host_loads_it_by_its_entry_point(
    installed: Path, host_site: Path, home: Path, run_python: Callable[..., Any]
) -> None:
    (home / "config.yaml").write_text("plugins: {enabled: [hermes-kanban]}\n", encoding="utf-8")
    seen = run_python(LOAD_IN_HOST, path=[installed, host_site])
    assert (seen["error"], seen["enabled"], seen["source"]) == (None, True, "entrypoint")
    assert seen["package"].startswith(str(installed))
    assert seen["tools"].startswith(str(host_site))


def test_the_dashboard_serves_its_page_through_the_link_that_setup_makes(
    installed: Path, host_site: Path, home: Path, run_python: Callable[..., Any]
) -> None:
    (home / "config.yaml").write_text("plugins: {enabled: [hermes-kanban]}\n", encoding="utf-8")
    assert run_python(LOAD_PAGE, path=[installed, host_site]) is None
    folder = home / "plugins" / "hermes-kanban-dashboard"
    folder.mkdir(parents=True)
    (folder / "dashboard").symlink_to(installed / "hermes_kanban_plugin" / "dashboard")
    assert "/overview" in run_python(LOAD_PAGE, path=[installed, host_site])
