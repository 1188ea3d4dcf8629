"""A worker that is told to end gives its task back first: real processes and signals, handlers as bad as the host's."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from hermes_kanban_plugin.store import leases
from hermes_kanban_plugin.store.transaction import immediate

if TYPE_CHECKING:
    from tests.worker.conftest import Post

ROOT = Path(__file__).parents[2]
BEGIN = f"""
import asyncio, os, signal, subprocess, sys, threading, time
sys.path.insert(0, {str(ROOT)!r})
from hermes_kanban_plugin.worker import signals
signals.install(None)
signals.install(None)
def say(): print("here", flush=True)
"""
WAITS = {
    "no handler": "say(); time.sleep(60)",
    "ends at once": "signal.signal(NUMBER, lambda *_: os._exit(0)); say(); time.sleep(60)",
    "sleeps first": "signal.signal(NUMBER, lambda *_: (time.sleep(1.5), os._exit(0))); say(); time.sleep(60)",
    "main thread computes": """
signal.signal(NUMBER, lambda *_: os._exit(0))
say()
while True: sum(range(100000))
""",
    "after a loop of asyncio": """
asyncio.run(asyncio.sleep(0))
subprocess.run(["true"], preexec_fn=os.setsid)
signal.signal(NUMBER, lambda *_: os._exit(0))
say(); time.sleep(60)
""",
    "tidies up": """
signal.signal(NUMBER, lambda *_: sys.exit(3))
say(); time.sleep(60)
""",
}


def start(post: Post, body: str, number: int = signal.SIGTERM) -> subprocess.Popen[str]:
    code = f"{BEGIN}\nNUMBER = {int(number)}\n{body}"
    worker = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, env=dict(os.environ))
    assert worker.stdout is not None
    assert worker.stdout.readline() == "here\n"
    return worker


def end(worker: subprocess.Popen[str], number: int) -> int:
    with worker:
        worker.send_signal(number)
        return worker.wait(30)


@pytest.mark.parametrize("body", WAITS.values(), ids=WAITS)
@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP"])
def test_the_task_is_given_back_before_the_process_ends(post: Post, name: str, body: str) -> None:
    post.accept()
    number = getattr(signal, name)
    end(start(post, body, number), number)
    assert (post.task()["status"], post.task()["consecutive_failures"]) == ("ready", 0)
    assert (post.run()["outcome"], post.run()["error"]) == ("reclaimed", f"interrupted by {name}")


def test_without_a_handler_it_ends_as_the_signal_would_have_ended_it(post: Post) -> None:
    post.accept()
    assert end(start(post, WAITS["no handler"]), signal.SIGTERM) == -signal.SIGTERM
    assert post.events().count("reclaimed") == 1


def test_an_interrupt_too(post: Post) -> None:
    post.accept()
    end(start(post, "signal.signal(NUMBER, lambda *_: (time.sleep(1), os._exit(0))); say(); time.sleep(60)", 2), 2)
    assert post.run()["error"] == "interrupted by SIGINT"


def test_the_interrupt_of_asyncio_still_works(post: Post) -> None:
    body = """
async def main():
    say()
    try:
        await asyncio.sleep(60)
    except asyncio.CancelledError:
        print("cancelled", flush=True); raise
before = signal.getsignal(signal.SIGINT)
try: asyncio.run(main())
except KeyboardInterrupt: print(signal.getsignal(signal.SIGINT) is before, flush=True)
"""
    worker = start(post, body)
    worker.send_signal(signal.SIGINT)
    assert worker.communicate(timeout=30)[0] == "cancelled\nTrue\n"


def test_who_is_stopped_by_its_supervisor_says_nothing(post: Post) -> None:
    post.accept()
    leases.note_stop(post.board.writer, post.lease, "overdue")
    end(start(post, WAITS["ends at once"]), signal.SIGTERM)
    assert (post.task()["status"], post.run()["outcome"]) == ("running", None)


def test_a_superseded_worker_ends_and_writes_nothing(post: Post) -> None:
    new = post.supersede()
    end(start(post, WAITS["ends at once"]), signal.SIGTERM)
    assert post.task()["current_run_id"] == new.run_id


def test_a_signal_to_a_child_is_not_ours(post: Post) -> None:
    body = """
child = os.fork()
if not child:
    signal.signal(NUMBER, lambda *_: os._exit(0)); time.sleep(60)
time.sleep(0.5); os.kill(child, NUMBER); os.waitpid(child, 0)
say(); input()
"""
    post.accept()
    worker = start(post, body)
    with worker:
        assert post.run()["outcome"] is None
        worker.kill()


def test_a_signal_to_a_child_without_a_handler_ends_the_child_alone(post: Post) -> None:
    body = """
child = os.fork()
if not child: time.sleep(60)
time.sleep(0.5); os.kill(child, NUMBER); print(os.waitpid(child, 0)[1] == NUMBER, flush=True)
say(); input()
"""
    post.accept()
    code = f"{BEGIN}\nNUMBER = {int(signal.SIGTERM)}\n{body}"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=dict(os.environ)
    ) as worker:
        assert worker.stdout is not None
        assert [worker.stdout.readline(), worker.stdout.readline()] == ["True\n", "here\n"]
        worker.kill()
    assert post.run()["outcome"] is None


def test_switched_off_the_host_ends_it_and_nobody_is_told(post: Post, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HERMES_KANBAN_PLUGIN_RELEASE_ON_SIGNAL", "off")
    post.accept()
    assert end(start(post, WAITS["ends at once"]), signal.SIGTERM) == 0
    assert (post.task()["status"], post.run()["outcome"]) == ("running", None)


def test_a_descriptor_that_somebody_else_has_is_left_to_them(post: Post) -> None:
    body = f"""
import socket, signal, sys
sys.path.insert(0, {str(ROOT)!r})
from hermes_kanban_plugin.worker import signals
ear, mouth = socket.socketpair(); mouth.setblocking(False)
signal.set_wakeup_fd(mouth.fileno())
try: signals.install(None)
except RuntimeError as problem: print(problem)
print(signal.set_wakeup_fd(-1) == mouth.fileno())
"""
    done = subprocess.run(
        [sys.executable, "-c", body], capture_output=True, text=True, check=True, env=dict(os.environ)
    )
    said, kept = done.stdout.splitlines()
    assert "in use" in said
    assert kept == "True"


# --- a board that cannot be written now ----------------------------------------------------------------------------

IMPATIENT = "signals.RELEASE_SECONDS = 0.2\n"


@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP"])
def test_a_busy_board_lets_the_signal_itself_tell(post: Post, name: str) -> None:
    """Its supervisor sees the signal then. Status 0, which the host ends with, would be taken for a broken protocol."""
    post.accept()
    number = getattr(signal, name)
    worker = start(post, IMPATIENT + WAITS["ends at once"], number)
    with immediate(post.board.writer):
        assert end(worker, number) == -number
    assert post.run()["outcome"] is None


def test_a_board_that_refuses_the_write_too(post: Post) -> None:
    post.accept()
    post.board.writer.execute(
        "CREATE TRIGGER full BEFORE UPDATE ON tasks BEGIN SELECT RAISE(ABORT, 'database or disk is full'); END"
    )
    assert end(start(post, WAITS["ends at once"]), signal.SIGTERM) == -signal.SIGTERM
    assert post.run()["outcome"] is None


@pytest.mark.parametrize("stage", ["given back", "superseded", "stopped by its supervisor"])
def test_where_nothing_is_left_to_tell_the_hosts_handler_decides(post: Post, stage: str) -> None:
    post.accept()
    if stage == "superseded":
        post.supersede()
    if stage == "stopped by its supervisor":
        leases.note_stop(post.board.writer, post.lease, "overdue")
    assert end(start(post, WAITS["ends at once"]), signal.SIGTERM) == 0
