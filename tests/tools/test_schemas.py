"""What a model is told about our tools is what the installed host tells it: names, types, choices, what is required."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from hermes_kanban_plugin import toolkit
from hermes_kanban_plugin.manager import Manager

NAMES = ("kanban_heartbeat", "kanban_block", "kanban_complete")
ASK_HOST = """
import json, tools.kanban_tools as tools
names = {names}
print(json.dumps({{name: getattr(tools, name.upper() + "_SCHEMA") for name in names}}))
"""


@pytest.fixture(scope="module")
def host_schemas(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The schemas that the installed host registers, read in a process of its own."""
    home = tmp_path_factory.mktemp("host")
    environment = {"HERMES_HOME": str(home), "HOME": str(home), "PATH": str(Path(sys.executable).parent)}
    done = subprocess.run(
        [sys.executable, "-c", ASK_HOST.format(names=NAMES)],
        env=environment, cwd=home, capture_output=True, text=True, check=True,
    )  # fmt: skip
    schemas: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return schemas


@pytest.fixture(scope="module")
def our_schemas() -> dict[str, Any]:
    return {name: tool.schema() for name, tool in toolkit.tools_of(Manager(discover=False)).items()}


def without_descriptions(schema: Any) -> Any:
    if isinstance(schema, dict):
        return {key: without_descriptions(value) for key, value in schema.items() if key != "description"}
    return schema


@pytest.mark.host
@pytest.mark.parametrize("name", NAMES)
def test_schema_is_the_hosts_but_for_the_descriptions(
    name: str, host_schemas: dict[str, Any], our_schemas: dict[str, Any]
) -> None:
    assert without_descriptions(our_schemas[name]) == without_descriptions(host_schemas[name])


@pytest.mark.host
@pytest.mark.parametrize("name", NAMES)
def test_parameters_come_in_the_hosts_order(
    name: str, host_schemas: dict[str, Any], our_schemas: dict[str, Any]
) -> None:
    ours, theirs = (list(schemas[name]["parameters"]["properties"]) for schemas in (our_schemas, host_schemas))
    assert ours == theirs


@pytest.mark.parametrize("name", NAMES)
def test_tool_and_every_parameter_are_described(name: str, our_schemas: dict[str, Any]) -> None:
    schema = our_schemas[name]
    described = [schema["description"], *(each["description"] for each in schema["parameters"]["properties"].values())]
    assert all(len(text) > 20 for text in described)


def test_the_built_in_plugin_brings_exactly_these_tools(our_schemas: dict[str, Any]) -> None:
    assert sorted(our_schemas) == sorted(NAMES)
