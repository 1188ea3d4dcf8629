"""The host's other kanban tools: fenced for workers, and closed when anything goes wrong."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from pytest_mock import MockerFixture

from hermes_kanban_plugin import identity
from hermes_kanban_plugin.host import kanban_fence
from hermes_kanban_plugin.store import leases
from tests.worker.test_bridge import module

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.worker.conftest import Post

WRITERS = sorted(kanban_fence.FENCED)
every_writer = pytest.mark.parametrize("tool", WRITERS)


def run(tool: str, **more: Any) -> Any:
    """Run a tool as the host's middleware does."""
    return kanban_fence.run_fenced(
        tool_name=tool, args={"a": 1}, next_call=lambda args: f"ran with {args}", session_id="s", **more
    )


def refused(tool: str) -> str:
    answer = json.loads(run(tool))
    assert set(answer) == {"error"}
    blocked = kanban_fence.object_to(tool_name=tool, args={}, session_id="s")
    assert blocked == {"action": "block", "message": answer["error"]}
    assert answer["error"].startswith(f"{tool}: ")
    return str(answer["error"])


@every_writer
def test_the_recorded_worker_may(post: Post, tool: str) -> None:
    post.accept()
    assert run(tool) == "ran with {'a': 1}"
    assert kanban_fence.object_to(tool_name=tool) is None


@every_writer
def test_a_superseded_run_may_not(post: Post, tool: str) -> None:
    new = post.supersede()
    assert f"superseded by run {new.run_id}" in refused(tool)


@every_writer
@pytest.mark.parametrize("name", ["RUN_ID", "CLAIM_LOCK"])
def test_a_malformed_environment_may_not(post: Post, monkeypatch: pytest.MonkeyPatch, tool: str, name: str) -> None:
    monkeypatch.setenv(f"HERMES_KANBAN_{name}", " ")
    assert f"HERMES_KANBAN_{name}" in refused(tool)


@every_writer
def test_another_process_may_not(post: Post, tool: str) -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as worker:
        post.accept(identity.capture(worker.pid))
        assert "is not its worker" in refused(tool)
        worker.communicate()


def test_a_board_that_is_gone_closes_it(post: Post, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HERMES_KANBAN_DB", str(tmp_path / "none.db"))
    assert "does not exist" in refused("kanban_comment")


def test_what_nobody_thought_of_closes_it(post: Post, mocker: MockerFixture) -> None:
    mocker.patch.object(leases, "current", side_effect=ZeroDivisionError("what?"))
    assert refused("kanban_create") == "kanban_create: what?"


@pytest.mark.parametrize(
    "tool", ["kanban_show", "kanban_list", "kanban_attachments", "terminal", "", "kanban_complete", "kanban_heartbeat"]
)
def test_other_tools_are_not_ours_to_judge(post: Post, tool: str) -> None:
    post.supersede()
    assert run(tool) == "ran with {'a': 1}"


def test_what_a_tool_itself_raises_is_the_hosts(post: Post) -> None:
    def fail(args: Any) -> Any:
        raise ZeroDivisionError("in the tool")

    with pytest.raises(ZeroDivisionError, match="in the tool"):
        kanban_fence.run_fenced(tool_name="kanban_comment", args={}, next_call=fail)


# --- a download that outlasts its run ------------------------------------------------------------------------------


def attach(post: Post, stored: list[str], meanwhile: Callable[[], object]) -> str:
    """Attach something by its address: the host downloads it, and then stores it in a function of its own."""
    host = module(store_attachment_bytes=lambda conn, task_id, filename, data: stored.append(filename))
    kanban_fence.fence_attachments(host)
    kanban_fence.fence_attachments(host)  # the host may register us again

    def download_and_store(args: Any) -> str:
        meanwhile()
        try:
            host.store_attachment_bytes(None, post.lease.task_id, args["filename"], b"")
        except ValueError as problem:
            return f"kanban_attach_url: {problem}"
        return "stored"

    said = kanban_fence.run_fenced(
        tool_name="kanban_attach_url", args={"filename": "a.txt"}, next_call=download_and_store
    )
    return str(said)


def test_what_was_downloaded_by_a_run_that_is_over_is_not_stored(post: Post) -> None:
    stored: list[str] = []
    assert attach(post, stored, lambda: None) == "stored"
    assert "superseded by run" in attach(post, stored, post.supersede)
    assert stored == ["a.txt"]


def test_switched_off_it_is_stored(post: Post, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HERMES_KANBAN_PLUGIN_FENCE_ATTACHMENTS", "off")
    assert attach(post, [], post.supersede) == "stored"


def test_what_no_tool_stores_is_not_ours_to_judge(post: Post) -> None:
    host = module(store_attachment_bytes=lambda filename: filename)
    kanban_fence.fence_attachments(host)
    post.supersede()
    assert host.store_attachment_bytes("by a person") == "by a person"
    kanban_fence.fence_attachments(module())  # an older host


class Context:
    def __init__(self) -> None:
        self.registered: list[Any] = []

    def register_hook(self, name: str, callback: Any) -> None:
        self.registered.append((name, callback))


class NewContext(Context):
    def register_middleware(self, kind: str, callback: Any) -> None:
        self.registered.append((kind, callback))


def test_it_stands_where_a_workers_environment_is(post: Post, monkeypatch: pytest.MonkeyPatch) -> None:
    new, old, outside = NewContext(), Context(), NewContext()
    kanban_fence.install(new)
    kanban_fence.install(old)
    monkeypatch.delenv("HERMES_KANBAN_TASK")
    kanban_fence.install(outside)
    assert new.registered == [("tool_execution", kanban_fence.run_fenced)]
    assert old.registered == [("pre_tool_call", kanban_fence.object_to)]
    assert outside.registered == []
    assert os.environ.get("HERMES_KANBAN_TASK") is None
