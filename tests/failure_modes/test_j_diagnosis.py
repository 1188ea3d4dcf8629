"""Group J, what a diagnosis answers: deadlocks and circles, columns that match the board, the first screen."""

from __future__ import annotations

import json

import pytest

from hermes_kanban_plugin.cli.main import main
from hermes_kanban_plugin.diagnosis import surroundings
from hermes_kanban_plugin.diagnosis.finding import Finding, Level
from hermes_kanban_plugin.maintenance import overview
from tests.failure_modes.conftest import Stage


def findings(stage: Stage, kind: str) -> list[Finding]:
    facts = surroundings.look(stage.runtime, stage.board)
    return [found for found in surroundings.diagnose(stage.runtime, facts) if found.kind == kind]


def test_J3_a_deadlock_and_a_circle_are_told_with_the_link_to_cut(
    stage: Stage, capsys: pytest.CaptureFixture[str]
) -> None:
    work = stage.create(title="write it")
    review = stage.create(title="review it", parents=[work])
    stage.board.block(work, "review-required", None, "me")
    (found,) = findings(stage, "dependency_deadlock")
    assert (found.level, found.fix) == (Level.ERROR, f"hermes kanban unlink {work} {review}")
    assert main(["doctor"]) == 1
    assert f"hermes kanban unlink {work} {review}" in capsys.readouterr().out
    first, second = stage.create(title="first"), stage.create(title="second")
    stage.board.link(first, second)
    assert main(["link", second, first]) == 2, "at creation a circle is refused"
    assert "wait for itself" in capsys.readouterr().err
    stage.execute("INSERT INTO task_links (parent_id, child_id) VALUES (:p, :c)", p=second, c=first)
    stage.execute("UPDATE tasks SET status = 'todo' WHERE id = :id", id=first)
    (circle,) = findings(stage, "dependency_cycle")
    assert set(circle.evidence["tasks"]) == {first, second}
    parent, child = circle.evidence["cut"]
    assert circle.fix == f"hermes kanban unlink {parent} {child}"
    stage.execute("DELETE FROM task_links WHERE parent_id = :p AND child_id = :c", p=parent, c=child)
    assert findings(stage, "dependency_cycle") == []


def test_J3_a_task_that_is_put_behind_a_gate_says_so_at_once(stage: Stage, capsys: pytest.CaptureFixture[str]) -> None:
    gate = stage.create(initial_status="blocked")
    assert main(["create", "behind it", "--parent", gate]) == 0
    said = capsys.readouterr().out
    assert f"{gate} is blocked" in said
    assert f"hermes-kanban why {gate}" in said
    assert main(["link", gate, stage.create()]) == 0
    assert f"{gate} is blocked" in capsys.readouterr().out


def test_J5_when_all_fixes_are_done_the_review_is_ready_once(stage: Stage) -> None:
    fixes = [stage.create(title=f"fix {number}") for number in range(2)]
    review = stage.create(title="look at both", assignee="ghost", parents=fixes)
    assert sorted(stage.started()) == sorted(fixes)
    assert stage.complete(fixes[0]) == []
    assert stage.status(review) == "todo"
    assert stage.complete(fixes[1]) == [review]
    stage.tick(60)
    assert stage.status(review) == "ready"
    assert stage.kinds(review).count("promoted") == 1


def test_J7_the_columns_that_are_shown_are_those_of_the_board(stage: Stage, capsys: pytest.CaptureFixture[str]) -> None:
    for status in ("ready", "todo", "blocked", "review", "scheduled", "done", "archived", "frozen"):
        for _ in range(2):
            stage.execute("UPDATE tasks SET status = :s WHERE id = :id", s=status, id=stage.create())
    counted = {row["status"]: row["n"] for row in stage.execute("SELECT status, count(*) AS n FROM tasks GROUP BY 1")}
    shown = {name: number for name, number in overview.look(stage.board).counts.items() if number}
    assert shown == {name: number for name, number in counted.items() if name in shown}
    assert shown.keys() >= counted.keys() - {"archived"}, "a column that nobody knows is shown as it is"
    main(["status", "--json"])
    (board,) = json.loads(capsys.readouterr().out)["boards"]
    assert board["counts"] == {name: number for name, number in counted.items() if name != "archived"}


def test_J8_the_first_screen_has_what_needs_a_person_with_its_age(
    stage: Stage, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in range(200):
        task_id = stage.create(title=f"card {number}")
        if number % 40 == 0:
            stage.board.block(task_id, "which?", "needs_input", "me")
    stage.clock.advance(7200)
    lanes = overview.look(stage.board).lanes
    assert (lanes[0].name, lanes[0].total) == ("needs you", 5)
    assert {card.status for card in lanes[0].cards} == {"blocked"}
    assert {stage.now - card.since for card in lanes[0].cards} == {7200}
    main(["watch", "--once"])
    screen = capsys.readouterr().out.splitlines()
    assert max(len(line) for line in screen) <= 80
    heads = [line for line in screen if line.startswith(("needs you", "ready"))]
    assert heads[0].startswith("needs you")
