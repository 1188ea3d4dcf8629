"""``hermes kanban ...`` in a worker's terminal does not speak for the worker, as our own command does not."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from hermes_kanban_plugin import identity
from hermes_kanban_plugin.host import kanban_words
from tests.unit.test_kanban_words import Host

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.worker.conftest import Post


def verbs(parsers: Any) -> None:
    parsers.add_parser("complete").add_argument("task_ids", nargs="+")
    parsers.add_parser("show").add_argument("task_id")
    for name in ("block", "heartbeat"):
        parsers.add_parser(name).add_argument("task_id")
    link = parsers.add_parser("link")
    link.add_argument("parent_id")
    link.add_argument("child_id")


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> Host:
    monkeypatch.setattr(kanban_words, "_registered", True)
    monkeypatch.setattr(sys, "argv", ["hermes", "chat"])
    made = Host(verbs)
    kanban_words.extend(made.module)
    return made


@pytest.fixture
def beside(post: Post) -> Iterator[Post]:
    """This process has the worker's environment, and another one is the worker."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as worker:
        post.accept(identity.capture(worker.pid))
        yield post
        worker.communicate()


def test_what_is_written_on_the_inherited_task_is_refused(
    beside: Post, host: Host, capsys: pytest.CaptureFixture[str]
) -> None:
    task = beside.lease.task_id
    for words in (["complete", "t_1", task], ["block", task], ["heartbeat", task], ["link", "t_1", task]):
        assert host.run(*words) == 2, words
        assert f"kanban {words[0]}: process" in capsys.readouterr().err
    assert host.done == []


def test_what_is_read_or_is_about_another_task_is_the_hosts(beside: Post, host: Host) -> None:
    assert host.run("show", beside.lease.task_id) == 0
    assert host.run("complete", "t_00000000") == 0
    assert len(host.done) == 2


def test_the_worker_itself_and_people_may(
    post: Post, host: Host, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    post.accept()
    assert host.run("complete", post.lease.task_id) == 0
    post.supersede()
    assert host.run("complete", post.lease.task_id) == 2
    assert "superseded" in capsys.readouterr().err
    monkeypatch.setattr(sys, "argv", ["hermes", "gateway", "run"])
    assert host.run("complete", post.lease.task_id) == 0
    monkeypatch.setattr(sys, "argv", ["hermes", "chat"])
    monkeypatch.delenv("HERMES_KANBAN_TASK")
    assert host.run("complete", post.lease.task_id) == 0
    assert len(host.done) == 3


def test_switched_off_the_hosts_words_are_as_they_were(
    beside: Post, host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HERMES_KANBAN_PLUGIN_EXTEND_KANBAN_COMMAND", "off")
    assert host.run("complete", beside.lease.task_id) == 0
