"""What is missing beside us, and the command that adds it: with pip, with uv, or with neither."""

from __future__ import annotations

import importlib.metadata
import logging
import shutil
import sys
from importlib.machinery import PathFinder
from types import SimpleNamespace

import pytest

from hermes_kanban_plugin import registration, requirements
from hermes_kanban_plugin.cli import main
from hermes_kanban_plugin.roles import Role

FIND = PathFinder.find_spec


@pytest.fixture
def without(monkeypatch: pytest.MonkeyPatch):
    """Let modules look as if they were not installed."""

    def hide(*names: str) -> None:
        for name in names:
            for loaded in [one for one in sys.modules if one == name or one.startswith(f"{name}.")]:
                monkeypatch.delitem(sys.modules, loaded)
        monkeypatch.setattr(
            PathFinder, "find_spec", lambda name, path=None, target=None: None if name in names else FIND(name, path)
        )

    return hide


def test_nothing_is_missing_where_these_tests_run() -> None:
    assert requirements.missing() == []
    assert requirements.unfit() == []


@pytest.mark.parametrize("module", requirements.NEEDED)
def test_a_missing_package_is_named(without, module: str) -> None:
    without(module)
    assert requirements.missing() == [requirements.NEEDED[module]]
    assert f"'{requirements.NEEDED[module]}'" in requirements.advice(requirements.missing())


@pytest.mark.parametrize(
    ("version", "fits"),
    [
        ("3.39.1", False),
        ("4.0", False),
        ("4.1", True),
        ("4.1.2", True),
        ("4.9rc1", True),
        ("5.0", False),
        ("dev", True),
    ],
)
def test_a_package_of_another_version_is_named_too(monkeypatch: pytest.MonkeyPatch, version: str, fits: bool) -> None:
    """Another plugin's requirements may have brought it, after which our dispatcher cannot be imported."""
    real = importlib.metadata.version
    monkeypatch.setattr(importlib.metadata, "version", lambda name: version if name == "sqlite-utils" else real(name))
    assert requirements.missing() == []
    assert requirements.unfit() == ([] if fits else ["sqlite-utils>=4.1,<5"])


def test_looking_imports_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "ruamel", raising=False)
    monkeypatch.delitem(sys.modules, "ruamel.yaml", raising=False)
    before = set(sys.modules)
    requirements.missing()
    assert set(sys.modules) == before


@pytest.mark.parametrize(
    ("hidden", "uv", "command"),
    [
        ((), None, "{python} -m pip install 'pluggy>=1.5,<2'"),
        (("pip",), "/bin/uv", "uv pip install --python {python} 'pluggy>=1.5,<2'"),
        (("pip",), None, "{python} -m ensurepip && {python} -m pip install 'pluggy>=1.5,<2'"),
    ],
)
def test_the_command_is_one_that_this_environment_has(
    without, monkeypatch: pytest.MonkeyPatch, hidden: tuple[str, ...], uv: str | None, command: str
) -> None:
    without(*hidden)
    monkeypatch.setattr(shutil, "which", {"uv": uv}.get)
    assert requirements.pip("install", requirements.NEEDED["pluggy"]) == command.format(python=sys.executable)


@pytest.mark.parametrize("role", [Role.GATEWAY, Role.WORKER, Role.CHAT])
def test_without_a_package_the_host_is_left_alone_and_one_line_says_so(
    without, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, role: Role
) -> None:
    """A gateway whose dispatcher was replaced by one that cannot run would start no task at all."""
    without("pluggy")
    installed: list[str] = []
    part = SimpleNamespace(install=lambda ctx: installed.append(ctx))
    monkeypatch.setattr(registration, "import_module", lambda name: part)
    monkeypatch.setattr(registration, "role_of", lambda *_: role)
    registration.register(None)
    assert installed == []
    (record,) = caplog.records
    assert (record.levelno, "pluggy>=1.5,<2" in record.getMessage()) == (logging.WARNING, True)
    assert record.name.startswith("gateway.") == (role is Role.GATEWAY)


def test_a_look_that_fails_is_no_reason_to_raise(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(registration, "role_of", lambda *_: Role.OTHER)
    monkeypatch.setattr(registration, "import_module", lambda name: SimpleNamespace(install=lambda ctx: None))

    def fail() -> list[str]:
        raise ValueError("sqlite_utils.__spec__ is None")

    monkeypatch.setattr(requirements, "missing", fail)
    registration.register(None)
    assert "sqlite_utils.__spec__ is None" in caplog.text


@pytest.mark.parametrize(
    "verb", [["setup"], ["setup", "--check"], ["doctor"], ["dispatcher"], ["dispatcher", "--until-eof"]]
)
def test_a_command_that_lacks_a_package_is_one_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, verb: list[str]
) -> None:
    monkeypatch.setattr(requirements, "unfit", lambda: ["pluggy>=1.5,<2"])
    monkeypatch.setitem(sys.modules, "hermes_kanban_plugin.cli.serving", None)  # which imports it
    assert main.main(verb) == (requirements.CANNOT_RUN if "--until-eof" in verb else 1)
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "'pluggy>=1.5,<2'" in said


def test_a_broken_installation_is_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(sys.modules, "hermes_kanban_plugin.cli.status", None)
    assert main.main(["status"]) == 1
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "--force-reinstall" in said
