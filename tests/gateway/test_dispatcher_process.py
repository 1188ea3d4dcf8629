"""Keeping a dispatcher alive: started, watched, started again with a growing pause, seen off in order."""

from __future__ import annotations

import asyncio
import logging
import os
import re
import signal
import sys
from pathlib import Path

import pytest

from hermes_kanban_plugin.gateway import dispatcher_process
from hermes_kanban_plugin.gateway.dispatcher_process import DispatcherProcess
from hermes_kanban_plugin.requirements import CANNOT_RUN
from tests.conftest import lives

# Says its pid in a line of its log, then waits for its end in the way that the test wants.
CHILD = "import os, signal, sys, time; print('INFO pid', os.getpid(), file=sys.stderr, flush=True); "
PATIENT = f"{CHILD} time.sleep(600)"
POLITE = f"{CHILD} signal.signal(signal.SIGTERM, lambda *_: (print('INFO bye', file=sys.stderr), sys.exit(0)))"
DEAF = f"{CHILD} signal.signal(signal.SIGTERM, signal.SIG_IGN); print('INFO deaf', file=sys.stderr, flush=True)"


class Time:
    """A clock that moves only by what is slept, and a gateway that wants a dispatcher until it is told otherwise."""

    def __init__(self) -> None:
        self.now = 0.0
        self.wanted = True

    def monotonic(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.now += seconds
        await asyncio.sleep(0.005)

    def is_wanted(self) -> bool:
        return self.wanted


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture(autouse=True)
def everything_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)


def child(time: Time, *command: str) -> DispatcherProcess:
    return DispatcherProcess(command, {}, lambda _: None, monotonic=time.monotonic, sleep=time.sleep)


def python(time: Time, source: str) -> DispatcherProcess:
    return child(time, sys.executable, "-S", "-c", source)


async def said(caplog: pytest.LogCaptureFixture, pattern: str, count: int = 1) -> list[str]:
    """Wait until so many log lines match; returns their first groups."""
    for _ in range(6000):
        found = [match for record in caplog.records if (match := re.search(pattern, record.getMessage()))]
        if len(found) >= count:
            return [match[match.lastindex or 0] for match in found]
        await asyncio.sleep(0.005)
    raise AssertionError(f"{pattern!r} was not said {count} times:\n{caplog.text}")


def test_it_is_started_again_with_a_growing_pause(time: Time, caplog: pytest.LogCaptureFixture) -> None:
    async def play() -> list[str]:
        keeping = asyncio.create_task(child(time, "false").keep(time.is_wanted))
        pauses = await said(caplog, r"ended with status 1; .* started again in ([\d.]+) s", 8)
        time.wanted = False
        await keeping
        return pauses[:8]

    assert asyncio.run(play()) == ["0.5", "1.0", "2.0", "4.0", "8.0", "16.0", "30.0", "30.0"]


def test_one_that_lived_long_starts_the_row_anew(time: Time, caplog: pytest.LogCaptureFixture) -> None:
    async def play() -> str:
        dispatcher = child(time, "false")
        dispatcher._pause = 16.0
        dispatcher._arguments = [sys.executable, "-S", "-c", PATIENT]
        keeping = asyncio.create_task(dispatcher.keep(time.is_wanted))
        (pid,) = await said(caplog, r"^pid (\d+)")
        time.now += dispatcher_process.SETTLED_SECONDS
        os.kill(int(pid), signal.SIGKILL)
        (pause,) = await said(caplog, r"was killed by SIGKILL; .* started again in ([\d.]+) s")
        time.wanted = False
        await keeping
        return pause

    assert asyncio.run(play()) == "0.5"


def test_its_death_is_one_warning_with_pid_and_status(time: Time, caplog: pytest.LogCaptureFixture) -> None:
    async def play() -> None:
        keeping = asyncio.create_task(child(time, "false").keep(time.is_wanted))
        await said(caplog, "ended with status 1")
        time.wanted = False
        await keeping

    asyncio.run(play())
    (started,) = [
        record for record in caplog.records if "started" in record.getMessage() and record.levelname == "INFO"
    ]
    (died,) = [record for record in caplog.records if record.levelname == "WARNING"]
    assert died.name == "gateway.hermes_kanban"
    assert re.search(r"pid (\d+)", died.getMessage())[1] == re.search(r"pid (\d+)", started.getMessage())[1]


def test_nothing_is_started_once_it_is_not_wanted(time: Time, caplog: pytest.LogCaptureFixture) -> None:
    async def play() -> None:
        dispatcher = child(time, "false")
        keeping = asyncio.create_task(dispatcher.keep(time.is_wanted))
        await said(caplog, "started again in")
        time.wanted = False  # in the pause
        await keeping
        time.wanted = False
        await child(time, "false").keep(time.is_wanted)

    asyncio.run(play())
    assert len([record for record in caplog.records if record.getMessage().endswith("started")]) == 1


def test_one_that_cannot_be_started_is_tried_again(time: Time, caplog: pytest.LogCaptureFixture) -> None:
    async def play() -> None:
        keeping = asyncio.create_task(child(time, "/no/such/program").keep(time.is_wanted))
        await said(caplog, "could not be started: .*No such file", 3)
        time.wanted = False
        await keeping

    asyncio.run(play())


@pytest.mark.parametrize("comes_back", [True, False])
def test_a_program_that_is_gone_is_waited_for_and_not_for_ever(
    time: Time, tmp_path: Path, caplog: pytest.LogCaptureFixture, comes_back: bool
) -> None:
    """An upgrade removes the files before it writes the new ones."""
    program = tmp_path / "main.py"
    program.touch()
    dispatcher = DispatcherProcess(
        ("false",), {}, lambda _: None, program=str(program), monotonic=time.monotonic, sleep=time.sleep
    )

    async def play() -> bool:
        keeping = asyncio.create_task(dispatcher.keep(time.is_wanted))
        await said(caplog, "started again in")
        program.unlink()
        gone = time.now
        if comes_back:
            while time.now < gone + 5:
                await asyncio.sleep(0.005)
            program.touch()
            await said(caplog, "started again in", 2 + caplog.text.count("started again in"))
            time.wanted = False
        return await keeping

    assert asyncio.run(play()) is not comes_back
    if not comes_back:
        assert dispatcher_process.REMOVED_SECONDS <= time.now < 3 * dispatcher_process.REMOVED_SECONDS


def test_one_that_cannot_be_run_is_tried_for_a_while_and_not_for_ever(
    time: Time, caplog: pytest.LogCaptureFixture
) -> None:
    """A package that it needs was removed, or is there in another version; the host can still dispatch."""
    began = time.now
    unfit = child(time, "sh", "-c", f"exit {CANNOT_RUN}")
    assert asyncio.run(unfit.keep(time.is_wanted)) is True
    assert dispatcher_process.REMOVED_SECONDS <= time.now - began < 3 * dispatcher_process.REMOVED_SECONDS
    assert caplog.text.count("started again in") > 2


def test_one_that_can_be_run_again_is_not_given_up(
    time: Time, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    mended = tmp_path / "mended"
    script = f"test -e {mended} && exit 1 || exit {CANNOT_RUN}"

    async def play() -> bool:
        keeping = asyncio.create_task(child(time, "sh", "-c", script).keep(time.is_wanted))
        await said(caplog, f"ended with status {CANNOT_RUN}", 2)
        mended.touch()
        await said(caplog, "ended with status 1;", 2)
        mended.unlink()
        await said(caplog, f"ended with status {CANNOT_RUN}", 3)
        time.wanted = False
        return await keeping

    assert asyncio.run(play()) is False


def test_it_is_asked_to_end_and_its_last_words_are_heard(time: Time, caplog: pytest.LogCaptureFixture) -> None:
    async def play() -> int:
        dispatcher = python(time, f"{POLITE}; print('INFO ready', file=sys.stderr, flush=True); time.sleep(600)")
        keeping = asyncio.create_task(dispatcher.keep(time.is_wanted))
        await said(caplog, "^ready")
        pid = dispatcher.pid
        time.wanted = False
        await keeping
        return pid

    pid = asyncio.run(play())
    assert not lives(pid)
    assert [record.getMessage() for record in caplog.records][-2:] == [
        "bye",
        f"dispatcher pid {pid} ended with status 0",
    ]
    assert not [record for record in caplog.records if record.levelname == "WARNING"]


def test_one_that_does_not_listen_is_killed(time: Time, caplog: pytest.LogCaptureFixture) -> None:
    async def play() -> int:
        dispatcher = python(time, f"{DEAF}; time.sleep(600)")
        keeping = asyncio.create_task(dispatcher.keep(time.is_wanted))
        await said(caplog, "^deaf")
        pid, time.wanted = dispatcher.pid, False
        await keeping
        return pid

    assert not lives(asyncio.run(play()))
    assert "did not end within 4 s and is killed" in caplog.text


def test_being_cancelled_twice_does_not_leave_it_behind(time: Time, caplog: pytest.LogCaptureFixture) -> None:
    """The host cancels its tasks once in its own stop and once more when the event loop ends."""

    async def play() -> int:
        dispatcher = python(time, f"{DEAF}; time.sleep(600)")
        keeping = asyncio.create_task(dispatcher.keep(time.is_wanted))
        await said(caplog, "^deaf")
        pid = dispatcher.pid
        for _ in range(2):
            keeping.cancel()
            await asyncio.sleep(0.02)
        with pytest.raises(asyncio.CancelledError):
            await keeping
        return pid

    assert not lives(asyncio.run(play()))


def test_one_that_gives_no_sign_of_life_is_named_and_then_replaced(
    time: Time, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dispatcher_process, "SILENCE_TOLD_SECONDS", 4.0)
    monkeypatch.setattr(dispatcher_process, "SILENCE_ENDED_SECONDS", 8.0)

    async def play() -> tuple[str, str]:
        keeping = asyncio.create_task(python(time, PATIENT).keep(time.is_wanted))
        first, second = await said(caplog, r"^pid (\d+)", 2)
        time.wanted = False
        await keeping
        return first, second

    first, _ = asyncio.run(play())
    text = "\n".join(record.getMessage() for record in caplog.records)
    told = text.index(f"dispatcher pid {first} gives no sign of life for 4 s")
    assert told < text.index(f"dispatcher pid {first} was killed by SIGKILL; workers go on")
    assert not lives(int(first))


def test_one_that_says_something_now_and_then_is_left_alone(
    time: Time, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dispatcher_process, "SILENCE_TOLD_SECONDS", 4.0)
    monkeypatch.setattr(dispatcher_process, "SILENCE_ENDED_SECONDS", 8.0)

    async def play() -> None:
        dispatcher = python(time, PATIENT)
        keeping = asyncio.create_task(dispatcher.keep(time.is_wanted))
        await said(caplog, r"^pid (\d+)")
        while time.now < 60:
            dispatcher._hear(lambda _: None)("")
            await time.sleep(1.0)
        time.wanted = False
        await keeping

    asyncio.run(play())
    assert "no sign of life" not in caplog.text
    assert "SIGKILL" not in caplog.text


def test_a_gateway_that_was_stopped_itself_blames_nobody(
    time: Time, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def play() -> None:
        keeping = asyncio.create_task(python(time, PATIENT).keep(time.is_wanted))
        await said(caplog, r"^pid (\d+)")
        time.now += 36_000  # for ten hours nobody looked
        await asyncio.sleep(0.1)
        time.wanted = False
        await keeping

    asyncio.run(play())
    assert "no sign of life" not in caplog.text
    assert "SIGKILL" not in caplog.text


def test_the_lines_of_its_log_keep_their_level(time: Time, caplog: pytest.LogCaptureFixture) -> None:
    lines = ["2026-01-02 03:04:05,678 INFO started t_1", "2026-01-02 03:04:05,679 ERROR board x: it", "Traceback: no"]
    source = f"import sys; print(*{lines!r}, sep=chr(10), file=sys.stderr, flush=True); sys.stdin.read()"

    async def play() -> None:
        keeping = asyncio.create_task(python(time, source).keep(time.is_wanted))
        await said(caplog, "Traceback")
        time.wanted = False
        await keeping

    asyncio.run(play())
    told = [(record.levelname, record.getMessage()) for record in caplog.records if "dispatcher pid" not in record.msg]
    mine = [pair for pair in told if not pair[1].startswith("dispatcher pid") and pair[0] != "DEBUG"]
    assert mine == [("INFO", "started t_1"), ("ERROR", "board x: it"), ("WARNING", "Traceback: no")]


def test_an_installed_package_needs_no_path() -> None:
    assert dispatcher_process.environment({"PYTHONPATH": "/a"}) == {"PYTHONPATH": "/a"}


def test_a_clone_is_put_on_the_path_and_nothing_else(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sys, "path", [str(tmp_path)])  # where no distribution of ours is
    root = str(Path(dispatcher_process.__file__).resolve().parents[2])
    assert dispatcher_process.environment({"PYTHONPATH": "/a", "X": "1"}) == {"PYTHONPATH": f"{root}:/a", "X": "1"}
    assert dispatcher_process.environment({}) == {"PYTHONPATH": root}
