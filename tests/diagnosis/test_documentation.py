"""The reference explains every kind of finding, with its level, and every command that a finding names can be typed."""

from __future__ import annotations

import ast
import re
import shlex
from pathlib import Path

import pytest

from hermes_kanban_plugin.cli import parser
from hermes_kanban_plugin.diagnosis.finding import Level
from hermes_kanban_plugin.diagnosis.rulebook import KINDS

ROOT = Path(__file__).resolve().parents[2]
RULES = ROOT / "hermes_kanban_plugin" / "diagnosis"
PAGE = (ROOT / "docs" / "reference" / "diagnostics.md").read_text(encoding="utf-8")
SECTIONS = dict(zip(*[iter(re.split(r"^## (.+)$", PAGE, flags=re.MULTILINE)[1:])] * 2, strict=True))


def kinds_in_the_rules() -> set[str]:
    """Every kind that a rule can answer: the words of ``kind=`` and what ``waiting`` translates."""
    found = set()
    for path in RULES.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.keyword) and node.arg == "kind" and isinstance(node.value, ast.Constant):
                found.add(node.value.value)
            if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "kind":
                found |= {part.value for part in ast.walk(node.value) if isinstance(part, ast.Constant)}
    # The one that everything else is, and what the keys of the translation are.
    return (found | {"ready_not_runnable"}) - {"assignee_not_found", "missing_skills"}


def test_every_kind_has_a_section_and_no_section_is_left() -> None:
    assert set(SECTIONS) - {"Limits"} == set(KINDS) == kinds_in_the_rules()
    assert list(KINDS) == sorted(KINDS)


@pytest.mark.parametrize("kind", KINDS)
def test_every_section_names_a_level(kind: str) -> None:
    assert any(f"`{level.value}`" in SECTIONS[kind] for level in Level)


@pytest.mark.parametrize("kind", KINDS)
def test_the_commands_of_a_section_can_be_typed(kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    for command in re.findall(r"`(hermes-kanban [^`]+)`", SECTIONS[kind]):
        words = shlex.split(command)[1:]
        assert parser.words_for_the_host(words) is None, f"{command} is a word of the host"
        parser.parse(words)


def test_the_reasons_of_a_ready_task_are_those_of_the_rules() -> None:
    source = (RULES / "readiness.py").read_text(encoding="utf-8")
    codes = set(re.findall(r'answer\(\s*case,\s*"(\w+)"', source)) | {"quota", "backoff"}
    elsewhere = {"late_completion", "stray_claim", "quota", "outage", "starting", "capacity", "assignee_not_found",
                 "missing_skills"}  # fmt: skip
    told = set(re.findall(r"^\| `(\w+)` \|", SECTIONS["ready_not_runnable"], re.MULTILINE))
    assert told == (codes - elsewhere) | {"unknown"}


def test_the_levels_of_the_command_are_those_of_findings() -> None:
    assert tuple(level.value for level in Level) == parser.LEVELS
