"""The reference is complete and true: verbs, flags, settings, errors, tables, hooks and variables are compared."""

from __future__ import annotations

import argparse
import inspect
import re
from typing import TYPE_CHECKING, Any

import pytest

from hermes_kanban_plugin import errors, hookspecs
from hermes_kanban_plugin.cli import parser
from hermes_kanban_plugin.dispatch.context import Phase
from hermes_kanban_plugin.models import Status
from hermes_kanban_plugin.settings import CheckSettings, HostSettings, LaneSettings, PluginSettings, PoolSettings
from hermes_kanban_plugin.store import schema

if TYPE_CHECKING:
    from pydantic import BaseModel

    from hermes_kanban_plugin.board import Board

FLAG = re.compile(r"(?<![\w-])--?[a-z][a-z-]*")
FIRST_CODE = re.compile(r"`([^`]+)`")


def verbs() -> dict[str, argparse.ArgumentParser]:
    (action,) = [one for one in parser.build()._actions if isinstance(one, argparse._SubParsersAction)]
    return dict(action.choices)


def flags_of(command: argparse.ArgumentParser) -> set[str]:
    return {flag for action in command._actions for flag in action.option_strings}


def code_cells(docs: Any, text: str, column: int = 0) -> list[str]:
    """Return the first code span of one column of each row that starts with a code span."""
    return [FIRST_CODE.findall(row[column])[0] for row in docs.rows(text) if row[0].startswith("`")]


def test_every_verb_has_a_section_and_no_other_section_is_left(docs: Any) -> None:
    assert set(docs.page("docs/reference/cli.md").sections()) == {*verbs(), "Everywhere"}


@pytest.mark.parametrize("verb", sorted(verbs()))
def test_the_flags_of_a_verb_are_those_of_its_section(docs: Any, verb: str) -> None:
    sections = docs.page("docs/reference/cli.md").sections()
    everywhere = {"-h", "--help", "--board"}
    named = {flag for cell in code_cells(docs, sections[verb]) for flag in FLAG.findall(cell)}
    assert named == flags_of(verbs()[verb]) - everywhere


def test_the_flags_that_stand_everywhere_are_named(docs: Any) -> None:
    section = docs.page("docs/reference/cli.md").sections()["Everywhere"]
    named = {flag for row in docs.rows(section) for flag in FLAG.findall(row[0])}
    assert named == flags_of(parser.build()) | {"--json"}


def test_the_default_that_claim_prints_is_the_documented_one(docs: Any) -> None:
    section = docs.page("docs/reference/cli.md").sections()["claim"]
    default = verbs()["claim"].get_default("ttl")
    assert f"default {default}" in section


def documented_defaults(docs: Any, text: str) -> dict[str, str]:
    """Return key and default of the rows of a settings table (key, type, default, unit, meaning)."""
    rows = [row for row in docs.rows(text) if len(row) == 5]
    return {row[0].strip("`"): (FIRST_CODE.findall(row[2]) or [row[2]])[0] for row in rows}


def real_defaults(model: type[BaseModel]) -> dict[str, str]:
    fields = model.model_fields.items()
    return {name: "required" if field.is_required() else repr(field.default) for name, field in fields}


def test_every_setting_has_a_row_with_its_default(docs: Any) -> None:
    sections = docs.page("docs/reference/settings.md").sections()
    ours = real_defaults(PluginSettings) | real_defaults(LaneSettings) | real_defaults(PoolSettings)
    ours |= real_defaults(CheckSettings)
    assert documented_defaults(docs, sections["Our keys"]) == ours
    assert documented_defaults(docs, sections["Keys of Hermes that we honour"]) == real_defaults(HostSettings)


def test_every_environment_variable_of_the_code_is_documented(docs: Any) -> None:
    text = docs.page("docs/reference/settings.md").text
    sources = [
        path for folder in ("hermes_kanban_plugin", "tools", "hooks") for path in (docs.root / folder).rglob("*.py")
    ]
    named = {name for path in sources for name in re.findall(r"\bHERMES_[A-Z_]*[A-Z]\b", path.read_text())}
    assert len(named) > 15
    assert sorted(name for name in named if name not in text) == ["HERMES_TUI"]  # only ever removed


def test_every_error_has_a_row_on_the_right_side(docs: Any) -> None:
    sections = docs.page("docs/reference/errors.md").sections()
    classes = {name: one for name, one in vars(errors).items() if inspect.isclass(one)}
    assert {one.__module__ for one in classes.values()} == {"hermes_kanban_plugin.errors"}
    bases = set(code_cells(docs, sections["Bases"]))
    mistakes = {name for name, one in classes.items() if issubclass(one, errors.CallerMistake)} - bases
    assert bases == {"KanbanError", "CallerMistake"}
    assert set(code_cells(docs, sections["Your mistake"])) == mistakes
    assert set(code_cells(docs, sections["Our fault or the machine's"])) == set(classes) - mistakes - bases


def test_every_table_and_column_of_ours_is_documented_and_no_other(docs: Any, board: Board) -> None:
    sections = docs.page("docs/reference/files-and-tables.md").sections()
    documented = {name: code_cells(docs, text) for name, text in sections.items() if name.startswith("kp_")}
    database = schema.wrap(board.writer)
    real = {name: list(database.table(name).columns_dict) for name in database.table_names() if name.startswith("kp_")}
    assert documented == real


def test_every_index_of_ours_is_documented(docs: Any, board: Board) -> None:
    text = docs.page("docs/reference/files-and-tables.md").text
    rows = board.reader.execute("SELECT name FROM sqlite_master WHERE type = 'index' AND name LIKE 'idx_kp_%'")
    names = {row["name"] for row in rows}
    assert names == set(re.findall(r"idx_kp_\w+", text))


def test_every_table_of_the_host_is_named(docs: Any) -> None:
    section = docs.page("docs/reference/files-and-tables.md").sections()["Tables of Hermes"]
    assert [name for name in schema.TABLES if f"`{name}`" not in section] == []


def test_every_hook_has_a_heading(docs: Any) -> None:
    page = docs.page("docs/reference/hooks.md")
    hooks = {name for name, one in vars(hookspecs).items() if inspect.isfunction(one) and name.startswith("kanban_")}
    assert len(hooks) > 10
    headings = " ".join(page.headings())
    assert sorted(name for name in hooks if not re.search(rf"\b{name}\b", headings)) == []


def test_every_status_has_a_row(docs: Any) -> None:
    section = docs.page("docs/explanation/state-machine.md").sections()["Statuses"]
    assert code_cells(docs, section) == [status.value for status in (
        Status.TRIAGE, Status.TODO, Status.SCHEDULED, Status.READY, Status.RUNNING, Status.BLOCKED, Status.REVIEW,
        Status.DONE, Status.ARCHIVED,
    )]  # fmt: skip
    assert len(code_cells(docs, section)) == len(Status)


def test_every_event_kind_of_the_code_is_in_the_state_machine(docs: Any) -> None:
    text = docs.page("docs/explanation/state-machine.md").text
    kinds = {
        "created", "blocked", "linked", "promoted", "assigned", "claimed", "spawned", "heartbeat", "completed",
        "attached", "suspected_hallucinated_references", "completion_blocked_hallucination", "dependency_wait",
        "block_loop_detected", "crashed", "protocol_violation", "timed_out", "spawn_failed", "gave_up", "rate_limited",
        "reclaimed", "unblocked", "commented", "edited", "archived", "rate_limit_persists", "late_completion",
        "late_completion_rejected", "completion_unverified", "scheduled",
        "stop_failed",
    }  # fmt: skip
    folders = ("hermes_kanban_plugin", "tools", "hooks")
    source = "".join(path.read_text() for folder in folders for path in (docs.root / folder).rglob("*.py"))
    written = re.findall(r"journal\.append\(\s*\w+(?:\.\w+)*, [^,]+, \"(\w+)\"", source)
    assert set(written) <= kinds
    assert [kind for kind in sorted(kinds) if f'"{kind}"' not in source] == []
    assert [kind for kind in sorted(kinds) if f"`{kind}`" not in text] == []


def test_the_phases_of_a_tick_are_listed_in_their_order(docs: Any) -> None:
    section = docs.page("docs/explanation/architecture.md").sections()["A tick"]
    assert [row[0] for row in docs.rows(section)] == [phase.value for phase in Phase]
