"""Our words beside those of a host that is none we know: what it has stays its own. The real one: tests/host."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from hermes_kanban_plugin.board import open_board
from hermes_kanban_plugin.host import kanban_words


class Host:
    """A ``hermes_cli.kanban`` of another version; ``done`` is what its own command was asked to do."""

    def __init__(self, build: Callable[[Any], None]) -> None:
        self.module = ModuleType("hermes_cli.kanban")
        self.done: list[argparse.Namespace] = []

        def build_parser(parents: Any) -> argparse.ArgumentParser:
            parser = parents.add_parser("kanban")
            parser.add_argument("--board")
            build(parser.add_subparsers(dest="kanban_action"))
            return parser

        def kanban_command(args: argparse.Namespace) -> int:
            self.done.append(args)
            return 0

        self.module.build_parser = build_parser  # type: ignore[attr-defined]
        self.module.kanban_command = kanban_command  # type: ignore[attr-defined]

    def parse(self, *words: str) -> argparse.Namespace:
        top = argparse.ArgumentParser()
        self.module.build_parser(top.add_subparsers())
        return top.parse_args(["kanban", *words])

    def run(self, *words: str) -> int:
        return int(self.module.kanban_command(self.parse(*words)))


@pytest.fixture(autouse=True)
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kanban_words, "_registered", True)


def plain(verbs: Any) -> None:
    verbs.add_parser("list")
    verbs.add_parser("reclaim").add_argument("task_id")
    edit = verbs.add_parser("edit")
    edit.add_argument("task_id")
    edit.add_argument("--result", required=True)


def endless(verbs: Any) -> None:
    plain(verbs)
    verbs.add_parser("watch").add_argument("--kinds")


def newer(verbs: Any) -> None:
    plain(verbs)
    verbs.choices["reclaim"].add_argument("--stale", action="store_true")
    verbs.add_parser("status").add_argument("--deep", action="store_true")


def test_new_words_are_ours_and_old_ones_the_hosts(capsys: pytest.CaptureFixture[str]) -> None:
    host = Host(plain)
    kanban_words.extend(host.module)
    assert host.run("list") == 0
    assert host.run("reclaim", "t_1") == 0
    assert host.run("edit", "t_1", "--result", "r") == 0
    assert [args.kanban_action for args in host.done] == ["list", "reclaim", "edit"]
    assert host.run("status") == 1
    assert host.run("reclaim") == 2
    assert host.run("edit", "t_1") == 2
    assert len(host.done) == 3
    said = capsys.readouterr()
    assert said.out.startswith("dispatcher never ran here")
    assert said.err.splitlines() == [
        "kanban reclaim: the following arguments are required: task_id",
        "kanban edit: the following arguments are required: --result",
    ]


def test_a_word_that_the_host_has_stays_the_hosts() -> None:
    host = Host(newer)
    kanban_words.extend(host.module)
    assert host.run("status", "--deep") == 0
    assert host.run("reclaim", "t_1", "--stale") == 0
    assert [args.kanban_action for args in host.done] == ["status", "reclaim"]
    with pytest.raises(SystemExit):
        host.parse("reclaim", "--stale")  # its own word needs its own arguments
    assert host.parse("doctor").kanban_action == "doctor"


def test_a_word_that_never_ends_is_ours_in_a_chat(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The host's ``watch`` would keep a thread of the gateway, and all that the process prints, for ever."""
    open_board(create=True).close()
    host = Host(endless)
    kanban_words.extend(host.module)
    monkeypatch.setattr(sys, "argv", ["hermes", "kanban", "watch"])
    assert host.run("watch", "--kinds", "created") == 0
    assert [args.kanban_action for args in host.done] == ["watch"], "in the shell it is the host's"
    assert host.run("watch", "--once") == 0
    assert len(host.done) == 1
    for words in (["hermes", "gateway", "run"], ["hermes", "chat"]):
        monkeypatch.setattr(sys, "argv", words)
        capsys.readouterr()
        assert host.run("watch") == 0
        assert "no dispatcher yet" in capsys.readouterr().out
        assert host.run("watch", "--kinds", "created") == 2
        assert "hermes kanban watch, in a shell" in capsys.readouterr().err
    assert len(host.done) == 1


def test_wrapping_twice_is_wrapping_once() -> None:
    host = Host(plain)
    kanban_words.extend(host.module)
    wrapped = dict(vars(host.module))
    kanban_words.extend(host.module)
    assert dict(vars(host.module)) == wrapped
    host.parse("status")


@pytest.mark.parametrize("name", ["build_parser", "kanban_command"])
@pytest.mark.parametrize("function", [None, lambda: 0, lambda first, second: 0, 7])
def test_what_is_not_known_is_left_alone(name: str, function: Any, caplog: pytest.LogCaptureFixture) -> None:
    host = Host(plain)
    setattr(host.module, name, function)
    before = dict(vars(host.module))
    with caplog.at_level(logging.WARNING):
        kanban_words.extend(host.module)
    assert dict(vars(host.module)) == before
    assert "does not know the kanban command of this Hermes" in caplog.text


def test_a_parser_that_is_built_in_another_way_keeps_the_hosts_words(caplog: pytest.LogCaptureFixture) -> None:
    host = Host(plain)
    host.module.build_parser = lambda parents: parents.add_parser("kanban")  # type: ignore[attr-defined]
    kanban_words.extend(host.module)
    with caplog.at_level(logging.WARNING):
        host.parse()
    assert "added no words" in caplog.text


def test_the_switch_takes_the_words_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HERMES_KANBAN_PLUGIN_EXTEND_KANBAN_COMMAND", "off")
    host = Host(plain)
    kanban_words.extend(host.module)
    with pytest.raises(SystemExit):
        host.parse("status")
    assert host.run("list") == 0


@pytest.mark.parametrize(
    ("arguments", "is_shell"),
    [
        (["hermes", "kanban", "status"], True),
        (["hermes", "--accept-hooks", "kanban"], True),
        (["hermes", "chat", "-q", "kanban"], False),
        (["hermes", "gateway", "run"], False),
        (["hermes"], False),
    ],
)
def test_only_the_shell_command_may_end_the_process(
    monkeypatch: pytest.MonkeyPatch, arguments: list[str], is_shell: bool
) -> None:
    monkeypatch.setattr(sys, "argv", arguments)
    host = Host(plain)
    kanban_words.extend(host.module)
    if not is_shell:
        assert host.run("status") == 1
        return
    with pytest.raises(SystemExit) as ended:
        host.run("status")
    assert ended.value.code == 1
