"""Words that are none of ours go to ``hermes kanban`` as they stand."""

from __future__ import annotations

from pathlib import Path

import pytest

from hermes_kanban_plugin import host
from hermes_kanban_plugin.cli import main as entry
from hermes_kanban_plugin.cli import parser, words


@pytest.fixture
def hermes(tmp_path: Path) -> dict[str, str]:
    """Variables under which a script is the host: it says what it was given and ends with 7."""
    program = tmp_path / "hermes"
    program.write_text('#!/bin/sh\nprintf "<%s>" "$@"\nexit 7\n')
    program.chmod(0o755)
    return {"HERMES_BIN": str(program)}


@pytest.mark.parametrize(
    ("given", "handed"),
    [
        (["archive", "t_1", "--rm"], ["archive", "t_1", "--rm"]),
        (["comment", "t_1", "a b", "--author", "x"], ["comment", "t_1", "a b", "--author", "x"]),
        (["--board", "b", "archive", "t_1"], ["--board", "b", "archive", "t_1"]),
        (["--board=b", "archive", "t_1"], ["--board=b", "archive", "t_1"]),
        (["bogus"], ["bogus"]),
        (["edit", "t_1", "--result", "new"], ["edit", "t_1", "--result", "new"]),
    ],
)
def test_a_foreign_word_is_handed_over(command, hermes: dict[str, str], given: list[str], handed: list[str]) -> None:
    answer = command(*given, **hermes)
    assert answer.out == "".join(f"<{word}>" for word in ["kanban", *handed])
    assert (answer.status, answer.err) == (7, "")


@pytest.mark.parametrize(
    "given",
    [
        ["list"],
        ["--board", "b", "list"],
        ["edit", "t_1", "--clear-claim"],
        ["edit", "-h"],
        ["--help"],
        ["--version"],
        [],
        ["--bogus", "archive"],
    ],
)
def test_our_words_are_not(given: list[str]) -> None:
    assert parser.words_for_the_host(given) is None


def test_a_word_that_nobody_knows_is_the_hosts_to_refuse(command) -> None:
    answer = command("bogus", HERMES_DISABLE_LAZY_INSTALLS="1")
    assert answer.status == 2
    assert "invalid choice: 'bogus'" in answer.err


def test_a_host_that_cannot_be_run_is_one_line(command, tmp_path: Path) -> None:
    command("archive", "t_1", HERMES_BIN=str(tmp_path / "nowhere")).refused(1, "nowhere cannot be run", "HERMES_BIN")


def test_without_a_host_the_word_is_unknown(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(host, "is_there", lambda: False)
    with pytest.raises(SystemExit) as ended:
        entry.main(["archive", "t_1"])
    assert ended.value.code == 2
    assert "invalid choice: 'archive'" in capsys.readouterr().err


def test_every_verb_names_a_function_that_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    from importlib import import_module

    verbs = next(action for action in parser.build()._actions if action.dest == "verb")
    assert verbs.choices is not None
    named = {verb: one.get_default("run") for verb, one in dict(verbs.choices).items()}
    for run in {*named.values(), *(word.run for word in (*words.NEW, *words.EXTENDED))}:
        module, _, function = str(run).partition(".")
        assert callable(getattr(import_module(f"hermes_kanban_plugin.cli.{module}"), function)), run


def test_knowing_the_words_loads_nothing_heavy() -> None:
    from tests.unit.test_import_rules import loaded_after

    loaded = loaded_after("import hermes_kanban_plugin.cli.parser; hermes_kanban_plugin.cli.parser.build()")
    assert "hermes_kanban_plugin.cli.words" in loaded
    assert not {name.partition(".")[0] for name in loaded} & {"pydantic", "rich", "ruamel", "sqlite_utils", "psutil"}
