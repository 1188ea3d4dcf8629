"""Every hook has a test of its name and a heading with its exact signature; the example in the docs is run."""

from __future__ import annotations

import ast
import inspect
import re
import types
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from hermes_kanban_plugin import hookspecs
from hermes_kanban_plugin.manager import Manager
from hermes_kanban_plugin.store.outcomes import Handoff

if TYPE_CHECKING:
    from tests.hooks.conftest import Service

DOCS = Path(__file__).resolve().parents[2] / "docs" / "reference" / "hooks.md"
HOOKS = {name: spec for name, spec in vars(hookspecs).items() if hasattr(spec, f"{hookspecs.PROJECT}_spec")}
LABELS = ("When", "Arguments", "Answer", "If you raise")


def signature(name: str) -> str:
    """Return a hook's signature as it is written in the specification."""
    (function,) = ast.parse(inspect.getsource(HOOKS[name])).body
    assert isinstance(function, ast.FunctionDef)
    assert function.returns is not None
    return f"def {name}({ast.unparse(function.args)}) -> {ast.unparse(function.returns)}"


def section(name: str) -> str:
    """Return the documentation of a hook, from its heading to the next one."""
    found = re.search(rf"^### {name}\n(.*?)(?=^##|\Z)", DOCS.read_text(), re.DOTALL | re.MULTILINE)
    assert found, f"docs/reference/hooks.md has no heading '### {name}'"
    return found[1]


def test_there_are_hooks_to_look_at() -> None:
    assert len(HOOKS) >= 14
    assert all(name.startswith("kanban_") for name in HOOKS)


@pytest.mark.parametrize("name", HOOKS)
def test_hook_has_a_test_of_its_name(name: str) -> None:
    sources = (path.read_text() for path in Path(__file__).parent.glob("test_*.py"))
    tests = {node.name for text in sources for node in ast.parse(text).body if isinstance(node, ast.FunctionDef)}
    assert f"test_{name}" in tests


@pytest.mark.parametrize("name", HOOKS)
def test_hook_has_a_heading_with_its_signature(name: str) -> None:
    assert f"```python\n{signature(name)}\n```" in section(name)


@pytest.mark.parametrize("name", HOOKS)
def test_hook_is_explained_in_five_lines(name: str) -> None:
    text = section(name)
    for label in LABELS:
        found = re.search(rf"^- \*\*{label}\.\*\* (.+)", text, re.MULTILINE)
        assert found, f"{name}: no line '{label}'"
        assert found[1].strip()
    how = "Asked" if HOOKS[name].hermes_kanban_spec["firstresult"] else "Told"
    assert re.search(rf"^{how}\b", text, re.MULTILINE), f"{name}: is it {how.lower()}?"


@pytest.mark.parametrize("name", HOOKS)
def test_specification_has_its_five_lines(name: str) -> None:
    text = inspect.getdoc(HOOKS[name]) or ""
    for label in ("When: ", "Arguments: ", "Answer: ", "Raising: "):
        assert f"\n{label}" in text


def test_documentation_names_no_hook_that_does_not_exist() -> None:
    headings = re.findall(r"^### (kanban_\w+)", DOCS.read_text(), re.MULTILINE)
    assert sorted(headings) == sorted(HOOKS)


def test_example_plugin_works_as_it_says(service: Service) -> None:
    text = DOCS.read_text().partition("## Writing a plugin")[2]
    found = re.search(r"```python\n(.*?)```", text, re.DOTALL)
    assert found
    plugin = types.ModuleType("hermes_kanban_office")
    exec(compile(found[1], str(DOCS), "exec"), plugin.__dict__)
    service.manager.register(plugin, "office")
    service.plug("starter", kanban_spawn_worker=lambda: True)
    service.tick()
    held, free = service.create("repaint", tenant="painters"), service.create("count")
    report = service.tick()
    assert [started.task_id for started in report.started] == [free]
    assert [(one.task_id, one.reason) for one in report.skipped] == [
        (held, "held by office: the painters are on holiday")
    ]
    service.board.complete(service.create("by hand"), Handoff("done"), "ann")
    service.tick()
    assert plugin.__dict__["finished"] == ["done"]
    assert service.manager.take_failures() == []


def test_example_entry_point_names_the_group_that_is_loaded() -> None:
    assert f"[project.entry-points.{hookspecs.PROJECT}]" in DOCS.read_text()
    assert hookspecs.PROJECT == "hermes_kanban"
    assert Manager(discover=False).names()
