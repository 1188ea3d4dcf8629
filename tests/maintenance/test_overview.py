"""The board at a glance, and its picture: every number from the board, no line wider than the terminal."""

from __future__ import annotations

import re

import pytest
from rich.cells import cell_len

from hermes_kanban_plugin.cli import picture
from hermes_kanban_plugin.cli.picture import Frame
from hermes_kanban_plugin.maintenance import overview
from hermes_kanban_plugin.maintenance.overview import Overview
from tests.maintenance.conftest import Keeper

FRAME = Frame("dispatcher serving, last tick 2s ago", True)
LONG = "日本語のとても長い題名 and so on, until it does not fit anywhere any more " * 3


def lines_of(seen: Overview, now: int, width: int = 80, height: int | None = None, frame: Frame = FRAME) -> list[str]:
    return [line.rstrip() for line in picture.draw(seen, frame, now, width, height).plain.split("\n")]


def busy(keeper: Keeper, runs: int = 5, cards: int = 20) -> list[str]:
    running = [keeper.create(f"run {number} {LONG}", assignee="somebody-with-a-name") for number in range(runs)]
    for task_id in running:
        keeper.claim(task_id, seconds=90)
    for number in range(cards):
        keeper.create(f"\x1b[31mcard\n{number}", triage=number % 2 == 0)
    return running


def test_the_overview_counts_what_is_there(keeper: Keeper) -> None:
    running = keeper.create("runs")
    lease = keeper.claim(running, seconds=100)
    keeper.clock.advance(10)
    parent = keeper.create("parent")
    child = keeper.create("child", parents=(parent,))
    blocked = keeper.create("blocked")
    keeper.board.block(blocked, "why", "needs_input", "me")
    keeper.clock.advance(30)

    seen = overview.look(keeper.board)

    assert seen.counts == {"running": 1, "ready": 1, "todo": 1, "blocked": 1}
    (run,) = seen.runs
    assert (run.task_id, run.run_id, run.started_at) == (running, lease.run_id, keeper.now - 40)
    assert (run.claim_expires, run.last_heartbeat_at, run.launching) == (keeper.now + 60, None, True)
    lanes = {lane.name: [(card.task_id, card.since) for card in lane.cards] for lane in seen.lanes}
    since = keeper.now - 30
    assert lanes == {
        "needs you": [(blocked, since)],
        "ready": [(parent, since)],
        "waiting": [(child, since)],
        "done": [],
    }
    assert seen.paused is None


def test_a_claim_in_a_terminal_is_not_starting(keeper: Keeper) -> None:
    keeper.create("by hand")
    keeper.claim(keeper.board.tasks()[0].id)
    keeper.execute("UPDATE kp_runs SET lane = 'terminal'")

    assert overview.look(keeper.board).runs[0].launching is False


def test_looking_changes_no_byte_and_works_on_a_plain_board(keeper: Keeper) -> None:
    busy(keeper)
    for (name,) in keeper.rows("SELECT name FROM sqlite_master WHERE type = 'table' AND name LIKE 'kp!_%' ESCAPE '!'"):
        keeper.execute(f"DROP TABLE {name}")
    before = keeper.everything()

    seen = overview.look(keeper.board)

    assert keeper.everything() == before
    assert seen.running == 5


def test_cards_age_from_what_moved_them_last(keeper: Keeper) -> None:
    task_id = keeper.create()
    keeper.clock.advance(500)
    keeper.board.block(task_id, "why", None, "me")
    moved = keeper.now
    keeper.clock.advance(100)
    keeper.board.comment(task_id, "me", "hello")

    (card,) = overview.look(keeper.board).lanes[0].cards

    assert card.since == moved


@pytest.mark.parametrize("width", [60, 80, 100, 132, 160])
@pytest.mark.parametrize("height", [None, 16, 24, 50])
def test_no_line_is_wider_than_the_terminal(keeper: Keeper, width: int, height: int | None) -> None:
    busy(keeper)
    frame = Frame("dispatcher " * 20, False, 3, LONG, LONG)

    lines = lines_of(overview.look(keeper.board), keeper.now, width, height, frame)

    assert max(cell_len(line) for line in lines) <= width
    assert height is None or len(lines) == height
    assert "\x1b" not in "".join(lines)


def test_columns_stand_under_their_heads_at_80(keeper: Keeper) -> None:
    busy(keeper)
    keeper.clock.advance(3700)

    lines = lines_of(overview.look(keeper.board), keeper.now)

    head = next(line for line in lines if line.startswith("  running"))
    rows = [line for line in lines if re.match(r"  t_[0-9a-f]{8} ", line)]
    assert len(rows) == 5
    for name in ("run", "age", "beat", "lease"):
        end = re.search(rf"\b{name}\b", head).end()  # type: ignore[union-attr]
        assert all(row[end - 1] != " " and row[end] == " " for row in rows), name


def test_nothing_is_hidden_silently(keeper: Keeper) -> None:
    busy(keeper, runs=12, cards=40)

    lines = lines_of(overview.look(keeper.board), keeper.now, 80, 24)

    text = "\n".join(lines)
    shown = len(re.findall(r"^  t_[0-9a-f]{8} ", text, re.MULTILINE))
    assert f"and {12 - shown} more" in text
    assert "needs you 20" in text
    assert "ready 20" in text


@pytest.mark.parametrize("chosen", range(12))
def test_the_chosen_run_is_always_shown(keeper: Keeper, chosen: int) -> None:
    busy(keeper, runs=12)
    seen = overview.look(keeper.board)

    lines = lines_of(seen, keeper.now, 80, 20, Frame("", True, chosen))

    (marked,) = [line for line in lines if line.startswith("> ")]
    assert seen.runs[chosen].task_id in marked


def test_leases_and_silences_are_said(keeper: Keeper) -> None:
    names = ["expired", "silent", "fresh"]
    ids = {name: keeper.create(name) for name in names}
    held = {name: keeper.claim(task_id, seconds=50) for name, task_id in ids.items()}
    for name in ("silent", "fresh"):
        keeper.board.heartbeat(held[name], 4000)
    keeper.clock.advance(700)
    keeper.board.heartbeat(held["fresh"], 4000)
    keeper.execute("UPDATE kp_runs SET lane = 'terminal'")

    text = {line.split()[-1]: line for line in lines_of(overview.look(keeper.board), keeper.now) if line[:4] == "  t_"}

    assert "expired  worker" in text["expired"]
    assert "11m 40s" in text["silent"].split(str(held["silent"].run_id), 1)[1]
    assert " 0s " in text["fresh"]
    assert " - " in text["expired"]


def test_an_empty_board_is_a_calm_picture(keeper: Keeper) -> None:
    lines = lines_of(overview.look(keeper.board), keeper.now)

    assert lines[1] == "no tasks"
    assert "nothing runs" in lines
    assert lines[-1] == "needs you 0         ready 0             waiting 0           done 0"
