"""Tasks that wait for each other: circles, gates, and the link that has to go."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hermes_kanban_plugin.diagnosis.dependencies import circles
from hermes_kanban_plugin.diagnosis.finding import Level
from tests.diagnosis.conftest import Scene

DAY = 86_400
NAMES = [f"t{number}" for number in range(7)]
links_of_a_graph = st.sets(st.tuples(st.sampled_from(NAMES), st.sampled_from(NAMES)), max_size=14)


def reaches(links: set[tuple[str, str]], start: str, goal: str) -> bool:
    met, queue = set(), [start]
    while queue:
        here = queue.pop()
        for parent, child in links:
            if parent == here and child not in met:
                met.add(child)
                queue.append(child)
    return goal in met


@settings(max_examples=300, deadline=None)
@given(links_of_a_graph)
def test_a_circle_is_found_if_and_only_if_there_is_one(links: set[tuple[str, str]]) -> None:
    found = circles(links)
    assert bool(found) is any(reaches(links, name, name) for name in NAMES)
    for circle in found:
        assert len(set(circle)) == len(circle)
        assert all(pair in links for pair in itertools.pairwise([*circle, circle[0]]))


@settings(max_examples=150, deadline=None)
@given(links_of_a_graph)
def test_cutting_what_is_told_again_and_again_leaves_no_circle(links: set[tuple[str, str]]) -> None:
    left = set(links)
    for _ in links:
        for circle in circles(left):
            left.discard((circle[-1], circle[0]))
    assert circles(left) == []


def ring(scene: Scene, length: int) -> list[str]:
    ids = []
    for _ in range(length):
        ids.append(scene.add())
        scene.clock.advance(10)
    for parent, child in itertools.pairwise([*ids, ids[0]]):
        scene.spoil("INSERT INTO task_links (parent_id, child_id) VALUES (?, ?)", parent, child)
    scene.spoil("UPDATE tasks SET status = 'todo'")
    return ids


@pytest.mark.parametrize("length", [1, 2, 3, 5])
def test_a_circle_names_the_link_to_cut(scene: Scene, length: int) -> None:
    ids = ring(scene, length)
    found = scene.finding("dependency_cycle")
    assert found.level is Level.ERROR
    assert set(found.evidence["tasks"]) == set(ids)
    assert found.fix == f"hermes kanban unlink {ids[-1]} {ids[0]}"  # the youngest one may not hold the oldest
    for task_id in ids:
        answer = scene.why(task_id)
        assert (answer.code, answer.next.command) == ("dependency_cycle", found.fix)


def test_what_waits_behind_a_circle_is_told_so(scene: Scene) -> None:
    ids = ring(scene, 2)
    behind = scene.add(parents=[ids[0]])
    answer = scene.why(behind)
    assert answer.code == "dependency_cycle"
    assert "wait for each other" in answer.reason


def test_a_finished_task_breaks_a_circle(scene: Scene) -> None:
    ids = ring(scene, 3)
    scene.spoil("UPDATE tasks SET status = 'done' WHERE id = ?", ids[1])
    assert scene.findings("dependency_cycle") == []


def test_a_gate_with_a_review_behind_it_that_would_open_it(scene: Scene) -> None:
    work = scene.add(title="write the parser")
    review = scene.add(title="Review the parser", parents=[work])
    scene.board.block(work, "review-required: look at the branch", None, "me")
    found = scene.finding("dependency_deadlock")
    assert (found.level, found.task_id) == (Level.ERROR, work)
    assert found.evidence["cut"] == [work, review]
    assert found.fix == f"hermes kanban unlink {work} {review}"


def test_a_gate_that_names_the_task_behind_it(scene: Scene) -> None:
    work = scene.add()
    between = scene.add(parents=[work])
    last = scene.add(parents=[between])
    scene.board.block(work, f"needs the numbers of {last}", "needs_input", "me")
    found = scene.finding("dependency_deadlock")
    assert (found.level, found.fix) == (Level.ERROR, f"hermes kanban unlink {between} {last}")


def test_a_plain_gate_is_told_with_what_waits_behind_it(scene: Scene) -> None:
    work = scene.add()
    children = [scene.add(parents=[work]) for _ in range(2)]
    grandchild = scene.add(parents=children)
    scene.board.block(work, "which colour?", "needs_input", "me")
    found = scene.finding("dependency_deadlock")
    assert (found.level, found.evidence["count"]) == (Level.INFO, 3)
    scene.clock.advance(DAY)
    assert scene.finding("dependency_deadlock").level is Level.WARNING
    answer = scene.why(grandchild)
    assert (answer.code, answer.next.command) == ("blocked_parent", f"hermes-kanban why {work}")
    scene.board.unblock(work, "me")
    assert scene.findings("dependency_deadlock") == []
    assert scene.why(grandchild).code == "parents"
