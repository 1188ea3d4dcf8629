"""Cards in triage are handed to the host's command: which ones, how many, and what becomes of failing ones."""

from __future__ import annotations

import json
import os
import stat
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from hermes_kanban_plugin.board import Board, create_board
from hermes_kanban_plugin.dispatch.context import Phase, TickContext
from hermes_kanban_plugin.manager import Manager
from hermes_kanban_plugin.runtime import Runtime
from hermes_kanban_plugin.store import journal
from hermes_kanban_plugin.store.transaction import immediate
from hermes_kanban_plugin.testing import FakeClock, place_of
from tests.conftest import lives, wait_for

auto_decompose = import_module("hermes_kanban_plugin.hooks.auto_decompose")

# Stands for ``hermes``: notes how it was called, then does what the card's title says.
HERMES = """#!{python}
import json, os, sqlite3, sys, time
card = sys.argv[sys.argv.index("decompose") + 1]
scoped = sorted(name for name in os.environ if name.startswith("HERMES_KANBAN_"))
with open({calls!r}, "a") as calls:
    calls.write(json.dumps([os.getpid(), sys.argv[1:], scoped, os.getcwd()]) + "\\n")
board = sqlite3.connect({board!r}, isolation_level=None)
(title,) = board.execute("SELECT title FROM tasks WHERE id = ?", [card]).fetchone()
print("said", title, flush=True)
if title == "hang":
    time.sleep(600)
if title == "work":
    board.execute("UPDATE tasks SET status = 'todo' WHERE id = ?", [card])
"""


class Desk:
    """A dispatcher's desk with one board: ticks by hand, a clock to move, a Hermes that notes its calls."""

    def __init__(self, home: Path, clock: FakeClock) -> None:
        self.home, self.clock = home, clock
        self.calls_file = home / "calls"
        self.program = home / "fake-hermes"
        create_board(place_of(home / "kanban.db"))
        source = HERMES.format(python=sys.executable, calls=str(self.calls_file), board=str(home / "kanban.db"))
        self.program.write_text(source)
        self.program.chmod(self.program.stat().st_mode | stat.S_IXUSR)
        self.runtime = Runtime(home, clock, Manager(discover=False))
        self.runtime.watch = True  # type: ignore[assignment]  # it serves; nothing is asked of the watch here
        self.board: Board = self.runtime.open(place_of(home / "kanban.db"))
        self.decompositions = auto_decompose.Decompositions()

    def configure(self, **kanban: Any) -> None:
        (self.home / "config.yaml").write_text(json.dumps({"kanban": kanban}))
        self.runtime.reload()

    def card(self, title: str, **how: Any) -> str:
        return self.board.create_task(title=title, triage=True, **how)

    def note(self, card: str, kind: str) -> None:
        with immediate(self.board.writer) as writer:
            journal.append(writer, card, kind, None, self.clock.now())

    def tick(self, **how: Any) -> None:
        context = TickContext(self.runtime, self.board, **how)
        if self.runtime.watch is not None and not context.dry_run:
            self.decompositions.attend(context)

    def look(self) -> None:
        """Tick when it is time to look at the cards again."""
        self.clock.advance(auto_decompose.LOOK_SECONDS)
        self.tick()

    def calls(self, count: int = 0) -> list[list[Any]]:
        """Return the calls so far, waiting for so many; a call that never comes is a failed test."""

        def made() -> list[list[Any]]:
            text = self.calls_file.read_text() if self.calls_file.exists() else ""
            return [json.loads(line) for line in text.splitlines()]

        if count:
            wait_for(lambda: len(made()) >= count, f"{count} calls")
        return made()

    def cards_called(self, count: int = 0) -> list[str]:
        return [words[words.index("decompose") + 1] for _, words, _, _ in self.calls(count)]

    def end_of(self, card: str) -> None:
        """Wait until the process of a card has ended; the next tick finds it so."""
        running = self.decompositions._running[self.board.location.database, card]
        wait_for(lambda: running.process.poll() is not None, f"the decomposition of {card} to end")


@pytest.fixture
def desk(home: Path, clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> Iterator[Desk]:
    made = Desk(home, clock)
    monkeypatch.setenv("HERMES_BIN", str(made.program))
    yield made
    made.decompositions.stop()
    made.runtime.watch = None
    made.runtime.close()


def test_a_card_is_handed_over_as_the_host_would(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HERMES_KANBAN_TASK", "t_ffffffff")
    monkeypatch.setenv("HERMES_KANBAN_RUN_ID", "9")
    monkeypatch.setenv("HERMES_KANBAN_BUSY_TIMEOUT_MS", "1000")
    card = desk.card("work")
    desk.tick()
    ((_, words, scoped, folder),) = desk.calls(1)
    assert words == ["kanban", "--board", "default", "decompose", card, "--author", "auto-decomposer", "--json"]
    assert scoped == ["HERMES_KANBAN_BUSY_TIMEOUT_MS"]
    assert folder == str(desk.home)
    desk.end_of(card)
    assert (desk.home / "kanban" / "logs" / f"{card}.decompose.log").read_text() == "said work\n"
    desk.look()
    assert desk.decompositions._running == desk.decompositions._pauses == {}


@pytest.mark.parametrize(
    ("kinds", "taken"),
    [
        ([], True),
        (["block_loop_detected"], False),
        (["block_loop_detected", "commented", "heartbeat"], False),
        (["block_loop_detected", "status"], True),  # somebody dragged it here again
        (["block_loop_detected", "specified", "block_loop_detected"], False),
        (["block_loop_detected", "unblocked"], True),
    ],
)
def test_a_card_that_the_loop_breaker_parked_waits_for_a_human(desk: Desk, kinds: list[str], taken: bool) -> None:
    parked, free = desk.card("work"), desk.card("work")
    for kind in kinds:
        desk.note(parked, kind)
    desk.tick()
    assert {*desk.cards_called(2 if taken else 1)} == ({parked, free} if taken else {free})
    assert len(desk.decompositions._running) == 1 + taken


def test_at_most_so_many_at_a_time_best_first(desk: Desk) -> None:
    desk.configure(auto_decompose_per_tick=2)
    cards = [desk.card("hang", priority=priority) for priority in (1, 5, 3)]
    desk.tick()
    assert {*desk.cards_called(2)} == {cards[1], cards[2]}
    desk.look()
    assert len(desk.decompositions._running) == 2
    pid = desk.decompositions._running[desk.board.location.database, cards[1]].process.pid
    os.kill(pid, 9)
    desk.end_of(cards[1])
    desk.look()
    assert cards[0] in desk.cards_called(3)


def test_a_failed_card_is_tried_again_with_growing_pauses(desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    card = desk.card("fail")
    desk.tick()
    for number, pause in enumerate([60, 120, 240, 480, 960, 1920, 3600, 3600], start=1):
        assert desk.cards_called(number) == [card] * number
        desk.end_of(card)
        desk.look()  # buries it
        assert f"tried again in {pause} s: {desk.home}/kanban/logs/{card}.decompose.log says why" in caplog.text
        desk.clock.advance(pause - 2)
        desk.tick()
        assert desk.decompositions._running == {}
        desk.clock.advance(2)
        desk.tick()
    desk.calls(9)


def test_a_card_that_was_moved_meanwhile_has_no_pause_when_it_comes_back(desk: Desk) -> None:
    card = desk.card("fail")
    desk.tick()
    desk.end_of(card)
    desk.look()
    desk.board.writer.execute("UPDATE tasks SET status = 'todo' WHERE id = ?", [card])
    desk.look()
    desk.board.writer.execute("UPDATE tasks SET status = 'triage' WHERE id = ?", [card])
    desk.look()
    assert desk.cards_called(2) == [card, card]


def test_one_that_hangs_is_ended_when_its_time_is_over(desk: Desk) -> None:
    card = desk.card("hang")
    desk.tick()
    ((pid, *_),) = desk.calls(1)
    desk.clock.advance(299)
    desk.tick()
    assert lives(pid)
    desk.clock.advance(1)
    desk.tick()
    wait_for(lambda: not lives(pid), "it to be ended")
    desk.look()
    assert (desk.board.location.database, card) in desk.decompositions._pauses


def test_switched_off_it_ends_what_is_under_way_and_starts_nothing(desk: Desk) -> None:
    desk.card("hang")
    desk.tick()
    ((pid, *_),) = desk.calls(1)
    desk.configure(auto_decompose=False)
    desk.look()
    wait_for(lambda: not lives(pid), "it to be ended")
    desk.card("work")
    for _ in range(3):
        desk.look()
    assert len(desk.calls()) == 1


@pytest.mark.parametrize("how", [{"dry_run": True}, {"may_start": False}])
def test_a_rehearsal_or_a_scan_hands_nothing_over(desk: Desk, how: dict[str, bool]) -> None:
    desk.card("work")
    context = TickContext(desk.runtime, desk.board, **how)
    auto_decompose.kanban_tick(context=context, phase=Phase.REPORT)
    assert (desk.calls(), auto_decompose._of.get(desk.runtime, desk.decompositions)._running) == ([], {})


def test_a_single_tick_hands_nothing_over(desk: Desk) -> None:
    desk.card("work")
    desk.runtime.watch = None
    auto_decompose.kanban_tick(context=TickContext(desk.runtime, desk.board), phase=Phase.REPORT)
    assert desk.runtime not in auto_decompose._of


def test_without_a_host_that_knows_how_nothing_is_started(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hermes_kanban_plugin.host.can_decompose", lambda: False)
    desk.card("work")
    desk.tick()
    assert desk.decompositions._running == {}


def test_a_program_that_cannot_be_started_is_a_failure_like_others(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    monkeypatch.setenv("HERMES_BIN", str(desk.home / "nothing"))
    card = desk.card("work")
    desk.tick()
    assert f'task={card} msg="tried again in 60 s: ' in caplog.text


def test_the_end_of_the_dispatcher_ends_what_is_under_way(desk: Desk) -> None:
    desk.card("hang")
    auto_decompose.kanban_tick(context=TickContext(desk.runtime, desk.board), phase=Phase.REPORT)
    ((pid, *_),) = desk.calls(1)
    auto_decompose.kanban_gateway_shutdown(runtime=desk.runtime)
    assert not lives(pid)
    assert desk.runtime not in auto_decompose._of
