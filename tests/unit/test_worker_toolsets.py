"""When the host is asked for the toolsets of workers, and what counts without an answer; for real: tests/host."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from pytest_mock import MockerFixture

from hermes_kanban_plugin import host
from hermes_kanban_plugin.host import worker_toolsets
from hermes_kanban_plugin.host.worker_toolsets import RETRY_SECONDS, Answers, Known
from hermes_kanban_plugin.testing import FakeClock


class Host:
    """Answers, and counts how often it was asked."""

    def __init__(self) -> None:
        self.asked: list[list[str]] = []
        self.answers: Answers | None = {"coder": ["file", "web"]}

    def __call__(self, homes: dict[str, Path]) -> Answers | None:
        self.asked.append(sorted(homes))
        return self.answers


@pytest.fixture
def coder(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(host, "is_installed", lambda: True)
    folder = home / "profiles" / "coder"
    folder.mkdir(parents=True)
    return folder


def test_it_is_asked_once_about_all_profiles_until_a_configuration_changes(coder: Path) -> None:
    asked = Host()
    known = Known(asked)
    assert known.of_profile("coder") == known.of_profile("coder") == ["file", "web"]
    assert known.of_profile("default") == []
    assert asked.asked == [["coder", "default"]]
    for changed in (coder / "config.yaml", coder.parents[1] / "config.yaml"):
        changed.write_text("toolsets: [file]")
        known.of_profile("coder")
    (coder / "plugins" / "xtool").mkdir(parents=True)
    known.of_profile("coder")
    (coder.parent / "writer").mkdir()
    known.of_profile("writer")
    assert (len(asked.asked), asked.asked[-1]) == (5, ["coder", "default", "writer"])


def test_without_an_answer_workers_use_their_own_and_it_is_asked_again_later(coder: Path) -> None:
    asked, clock = Host(), FakeClock()
    asked.answers = None
    known = Known(asked, clock.monotonic)
    assert known.of_profile("coder") == known.of_profile("coder") == []
    assert len(asked.asked) == 1
    asked.answers = {"coder": ["file"]}
    clock.advance(RETRY_SECONDS)
    assert known.of_profile("coder") == ["file"]


def test_nobody_is_asked_about_nobody_or_without_a_host(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = Host()
    assert Known(asked).of_profile("nobody") == []
    monkeypatch.setattr(host, "is_installed", lambda: False)
    assert Known(asked).of_profile("default") == []
    assert asked.asked == []


@pytest.mark.parametrize(
    "problem",
    [
        subprocess.TimeoutExpired("x", 20.0),
        subprocess.CalledProcessError(1, "x", stderr="Traceback\nImportError: no such module"),
        OSError("no memory"),
    ],
    ids=lambda problem: type(problem).__name__,
)
def test_a_question_that_fails_is_a_line_in_the_log(
    coder: Path, mocker: MockerFixture, caplog: pytest.LogCaptureFixture, problem: Exception
) -> None:
    mocker.patch.object(worker_toolsets.subprocess, "run", side_effect=problem)
    assert Known().of_profile("coder") == []
    (line,) = caplog.messages
    assert "they use their own" in line


def test_who_is_asked_is_no_worker(coder: Path, mocker: MockerFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    """A dispatcher may have been started in a worker's terminal."""
    monkeypatch.setenv("HERMES_KANBAN_TASK", "t_1")
    run = mocker.patch.object(worker_toolsets.subprocess, "run")
    run.return_value.stdout = "{}"
    Known().of_profile("coder")
    assert "HERMES_KANBAN_TASK" not in run.call_args.kwargs["env"]
    assert Path(run.call_args.kwargs["env"]["HERMES_HOME"]) == coder.parents[1]
    assert os.environ["HERMES_KANBAN_TASK"] == "t_1"
