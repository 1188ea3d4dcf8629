"""Third-party plugins come from the entry-point group: a real distribution on the path of a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

METADATA = "Metadata-Version: 2.1\nName: hermes-kanban-weather\nVersion: 1.0\n"
ENTRY_POINTS = """[hermes_kanban]
aaa_missing = no_such_module_anywhere
broken = broken_plugin
typo = typo_plugin
weather = weather_plugin
"""
MODULES = {
    "weather_plugin": """
from hermes_kanban_plugin import hookimpl, toolkit

told = []

@hookimpl
def kanban_configure(settings):
    told.append(settings.plugin.lease_seconds)

@hookimpl
def kanban_register_tools(register):
    def rain(call, arguments):
        return {"weather": "rain"}
    register(toolkit.Tool("kanban_weather", "Say the weather.", toolkit.ToolArguments, rain))
""",
    "broken_plugin": "raise ImportError('my own dependency is missing')",
    "typo_plugin": """
from hermes_kanban_plugin import hookimpl

@hookimpl
def kanban_tock():
    pass
""",
}
IN_A_DISPATCHER = """
import json
from hermes_kanban_plugin.runtime import Runtime
runtime = Runtime()
failures = [[one.plugin, one.hook, one.error] for one in runtime.manager.take_failures()]
import sys
told = getattr(sys.modules.get("weather_plugin"), "told", None)
print(json.dumps({"names": runtime.manager.names(), "failures": failures, "told": told}))
"""
IN_THE_HOST = """
import json, sys
from types import ModuleType, SimpleNamespace
from hermes_kanban_plugin.host import agent_tools
entry = SimpleNamespace(schema={}, check_fn=None, description="", emoji="")
host_tools = ModuleType("tools.kanban_tools")
host_tools.registry = SimpleNamespace(get_entry=lambda name: entry)
class Context:
    tools = []
    def register_tool(self, **given):
        self.tools.append(given["name"])
sys.modules["tools.kanban_tools"] = host_tools
agent_tools.install(Context())
print(json.dumps({"tools": Context.tools, "told": getattr(sys.modules.get("weather_plugin"), "told", None)}))
"""
Run = Callable[..., dict[str, Any]]


@pytest.fixture
def run(tmp_path: Path, home: Path) -> Run:
    """Run a script in a process that finds a distribution with four plugins, three of them broken."""
    site = tmp_path / "site"
    info = site / "hermes_kanban_weather-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(METADATA)
    (info / "entry_points.txt").write_text(ENTRY_POINTS)
    for name, source in MODULES.items():
        (site / f"{name}.py").write_text(source)

    def start(script: str, **environment: str) -> dict[str, Any]:
        done = subprocess.run(
            [sys.executable, "-c", script],
            env={"HERMES_HOME": str(home), "HOME": str(tmp_path), "PYTHONPATH": str(site), **environment},
            cwd=tmp_path, capture_output=True, text=True, check=True,
        )  # fmt: skip
        answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return answer

    return start


def test_healthy_plugin_is_loaded_and_broken_ones_are_reported(run: Run) -> None:
    answer = run(IN_A_DISPATCHER)
    assert answer["names"][-1] == "weather"
    assert not {"aaa_missing", "broken", "typo"} & set(answer["names"])
    assert answer["told"] == [120]
    reported = {plugin: (hook, error) for plugin, hook, error in answer["failures"]}
    assert sorted(reported) == ["aaa_missing", "broken", "typo"]
    assert reported["broken"] == ("loading", "ImportError: my own dependency is missing")
    assert "no_such_module_anywhere" in reported["aaa_missing"][1]
    assert "kanban_tock" in reported["typo"][1]


@pytest.mark.parametrize("script", [IN_A_DISPATCHER, IN_THE_HOST], ids=["dispatcher", "host"])
def test_plugin_blocked_by_the_environment_is_not_even_imported(run: Run, script: str) -> None:
    assert run(script, HERMES_KANBAN_BLOCK_PLUGINS="other,weather")["told"] is None


@pytest.mark.parametrize("script", [IN_A_DISPATCHER, IN_THE_HOST], ids=["dispatcher", "host"])
def test_plugin_blocked_by_the_settings_is_not_even_imported(run: Run, home: Path, script: str) -> None:
    entry = {"block_plugins": ["weather"], "lease_seconds": 60}
    (home / "config.yaml").write_text(json.dumps({"plugins": {"entries": {"hermes-kanban": entry}}}))
    assert run(script)["told"] is None


def test_host_process_gets_the_plugins_tools_beside_ours(run: Run, home: Path) -> None:
    entry = {"lease_seconds": 60}
    (home / "config.yaml").write_text(json.dumps({"plugins": {"entries": {"hermes-kanban": entry}}}))
    answer = run(IN_THE_HOST)
    assert sorted(answer["tools"]) == ["kanban_block", "kanban_complete", "kanban_heartbeat", "kanban_weather"]
    assert answer["told"] == [60], "the plugin was told the settings here too"


def test_broken_settings_do_not_take_the_tools_away(run: Run, home: Path) -> None:
    (home / "config.yaml").write_text("plugins: [unclosed")
    assert len(run(IN_THE_HOST)["tools"]) == 4
