"""Every task in every column has one reason and one next event, whatever a board looks like."""

from __future__ import annotations

import contextlib
import random
import re
import shlex
from functools import cache
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hermes_kanban_plugin.board import Board, create_board
from hermes_kanban_plugin.cli import parser
from hermes_kanban_plugin.diagnosis import why
from hermes_kanban_plugin.diagnosis.answer import Answer, By
from hermes_kanban_plugin.diagnosis.facts import BoardFacts, Dispatching
from hermes_kanban_plugin.diagnosis.rulebook import KINDS, diagnose
from hermes_kanban_plugin.dispatch.admission import Limits
from hermes_kanban_plugin.dispatch.standing import State
from hermes_kanban_plugin.errors import WrongState
from hermes_kanban_plugin.identity import Verdict
from hermes_kanban_plugin.models import TERMINAL, Status
from hermes_kanban_plugin.store import flags, moves
from hermes_kanban_plugin.store.leases import ClaimTerms
from hermes_kanban_plugin.store.moves import Seen
from hermes_kanban_plugin.testing import FakeClock, claim_one, place_of
from tests.diagnosis.conftest import Scene

_ID = re.compile(r"\bt_[0-9a-f]{8}\b")
FINISHED = ("done", "archived")


def can_be_typed(command: str) -> bool:
    """Say whether a command is one of ours that parses, or somebody else's."""
    return _parses(_ID.sub("t_00000000", command))


@cache
def _parses(command: str) -> bool:
    """Ask the parser, which takes long to build, once for each shape of a command."""
    program, *words = shlex.split(command)
    if program != "hermes-kanban":
        return True
    return parser.words_for_the_host(words) is None and bool(parser.parse(words))


def check(answer: Answer, facts: BoardFacts) -> None:
    """Hold one answer against what every answer promises."""
    assert answer.reason
    assert answer.next.sentence
    for text in (answer.reason, answer.next.sentence, answer.next.command or ""):
        assert "\n" not in text
    assert (answer.next.by is By.NOTHING) is (answer.status in FINISHED)
    if answer.next.by is By.TIMER:
        assert answer.next.at is not None
    if answer.next.by is By.PERSON:
        assert answer.next.command
        assert can_be_typed(answer.next.command)
    if not facts.dispatching.serves:
        assert answer.next.by not in (By.TICK, By.TIMER)


def spoil_at_random(scene: Scene, seed: int) -> None:
    """Fill a board with whatever may stand on one, sound or not."""
    dice = random.Random(seed)
    now = scene.clock.now()
    ids = [scene.add(assignee=dice.choice(["worker", "coder", "ghost", None])) for _ in range(dice.randint(1, 20))]
    for task_id in ids:
        status = dice.choice([*(status.value for status in Status), "ready", "running", "todo", "frozen"])
        values = {
            "status": status,
            "claim_lock": dice.choice([None, None, "host:1:n"]),
            "claim_expires": dice.choice([None, now - 50, now + 50]),
            "current_run_id": dice.choice([None, None, dice.randint(1, 9)]),
            "consecutive_failures": dice.choice([0, 0, 1, 5]),
            "block_kind": dice.choice([None, "needs_input"]),
            "skills": dice.choice([None, '["pdf"]', "not json"]),
            "priority": dice.randint(-1, 2),
        }
        if status == "running" and dice.random() < 0.7:
            lane = dice.choice(["command", "hermes", "terminal"])
            scene.spoil("UPDATE tasks SET status = 'ready', assignee = 'worker' WHERE id = ?", task_id)
            scene.spoil("DELETE FROM task_links WHERE child_id = ?", task_id)
            lease = claim_one(scene.board, task_id, seconds=dice.choice([1, 100]), lane=lane, nonce=task_id)
            scene.verdicts[lease.run_id] = (dice.choice(list(Verdict)), dice.choice(list(Verdict)))
            if dice.random() < 0.6:
                scene.spoil("UPDATE kp_runs SET accepted_at = ?, host_id = 'h', boot_id = 'b', pid_namespace = 'n', "
                            "supervisor_pid = 1, worker_pid = 2 WHERE run_id = ?", now, lease.run_id)  # fmt: skip
            continue
        names = ", ".join(f"{name} = ?" for name in values)
        scene.spoil(f"UPDATE tasks SET {names} WHERE id = ?", *values.values(), task_id)
        for _ in range(dice.randint(0, 2)):
            outcome = dice.choice(["crashed", "rate_limited", "timed_out", "reclaimed", "blocked", "novel"])
            scene.closed_run(
                task_id, outcome, ago=dice.randint(0, 400), cause=dice.choice([None, outcome, "interrupted"]),
                retry_at=dice.choice([None, now - 5, now + 60]), signature=dice.choice([None, "s"]),
                ended_at=dice.choice([None, now]),
            )  # fmt: skip
        for kind in dice.sample(["blocked", "gave_up", "block_loop_detected", "unblocked", "promoted"], 2):
            scene.event(
                task_id, kind, dice.choice([None, '{"reason": "two\\nlines"}', "[1]"]), now - dice.randint(0, 9)
            )
    for _ in range(dice.randint(0, 8)):
        pair = (dice.choice(ids), dice.choice([*ids, "t_gone0000"]))
        scene.spoil("INSERT INTO task_links (parent_id, child_id) VALUES (?, ?) ON CONFLICT DO NOTHING", *pair)
    if dice.random() < 0.2:
        scene.spoil("INSERT INTO kp_flags (name, value, actor, since) VALUES ('paused', '1', 'me', 1)")
    if dice.random() < 0.3:
        scene.spoil(
            "INSERT INTO kp_outages (signature, cause, began_at, last_seen_at, failures, failed_probes, longest_life, "
            "next_probe_at, probe_task_id) VALUES ('s', 'crashed', 1, 1, 3, 0, 1, ?, ?)",
            now + dice.randint(-9, 9), dice.choice([None, *ids]),
        )  # fmt: skip
    scene.limits = Limits(max_in_progress=dice.choice([None, 1, 3]))
    scene.more["max_starts_per_hour"] = dice.choice([None, 1])
    scene.lacking = {"coder": {"pdf"}} if dice.random() < 0.5 else {}
    scene.held = {dice.choice(ids): "plugin: no"} if dice.random() < 0.3 else {}
    scene.dispatching = Dispatching(state=dice.choice(list(State)), pid=5, last_tick_at=dice.choice([None, now - 90]))
    scene.clock.advance(dice.choice([0, 30, 3000]))


@pytest.mark.timeout(600)  # many boards; a busy machine needs longer for them than for one test
@settings(max_examples=50, deadline=None)
@given(seed=st.integers(min_value=0, max_value=2**32))
def test_every_task_of_any_board_has_one_reason_and_one_next_event(
    tmp_path_factory: pytest.TempPathFactory, seed: int
) -> None:
    location = place_of(tmp_path_factory.mktemp("any") / "kanban.db")
    create_board(location)
    clock = FakeClock()
    with Board(location, clock) as board:
        scene = Scene(board, clock)
        spoil_at_random(scene, seed)
        for task in board.tasks(archived=True):
            facts = scene.facts(task.id)
            case = facts.case(task.id)
            assert case is not None
            check(why.explain(case, facts), facts)
        facts = scene.facts()
        findings = diagnose(facts)
        for case in facts.cases:
            among_all = why.explain(case, facts)
            check(among_all, facts)
            alone = scene.facts(case.task.id)
            asked = alone.case(case.task.id)
            assert asked is not None
            assert why.explain(asked, alone) == among_all
    for found in findings:
        assert found.kind in KINDS
        assert "\n" not in found.sentence
        assert found.fix is None or can_be_typed(found.fix)


def test_every_column_has_a_rule() -> None:
    assert set(why._BY_STATUS) == set(Status)


def test_an_unknown_column_has_an_answer_too(scene: Scene) -> None:
    task_id = scene.add()
    scene.spoil("UPDATE tasks SET status = 'frozen' WHERE id = ?", task_id)
    answer = scene.why(task_id)
    assert (answer.code, answer.next.by) == ("unknown_status", By.PERSON)


def test_the_dispatcher_comes_first_where_only_it_can_go_on(scene: Scene) -> None:
    waiting, asked = scene.add(), scene.add()
    scene.board.block(asked, "which?", "needs_input", "me")
    scene.dispatching = Dispatching(state=State.DEAD, pid=9, last_tick_at=scene.clock.now() - 120)
    answer = scene.why(waiting)
    assert answer.code == "no_dispatcher"
    assert "2m ago" in answer.reason
    assert answer.next.command == "hermes-kanban dispatcher"
    assert scene.why(asked).code == "blocked"


@pytest.mark.parametrize(
    ("verdicts", "code", "by"),
    [
        ((Verdict.ALIVE, Verdict.ALIVE), "running", By.WORKER),
        ((Verdict.DEAD, Verdict.DEAD), "orphaned", By.TICK),
        ((Verdict.DEAD, Verdict.ALIVE), "orphaned", By.TICK),
        ((Verdict.UNKNOWN, Verdict.UNKNOWN), "unseen", By.TIMER),
    ],
)
def test_a_running_task_says_who_holds_it(scene: Scene, verdicts: tuple[Verdict, Verdict], code: str, by: By) -> None:
    task_id = scene.add()
    lease = claim_one(scene.board, task_id, seconds=60)
    assert scene.why(task_id).code == "launching"
    scene.spoil("UPDATE kp_runs SET accepted_at = 1, host_id = 'h', boot_id = 'b', pid_namespace = 'n', "
                "supervisor_pid = 1, worker_pid = 2")  # fmt: skip
    scene.verdicts[lease.run_id] = verdicts
    answer = scene.why(task_id)
    assert (answer.code, answer.next.by) == (code, by)
    assert f"run {lease.run_id}" in answer.reason


def test_a_given_up_task_says_how_it_failed(scene: Scene) -> None:
    task_id = scene.add()
    scene.closed_run(task_id, "timed_out", cause="timed_out")
    scene.spoil("UPDATE tasks SET status = 'blocked', consecutive_failures = 2 WHERE id = ?", task_id)
    scene.event(task_id, "gave_up", '{"failures": 2}')
    answer = scene.why(task_id)
    assert answer.code == "gave_up"
    assert "2 failures in a row" in answer.reason
    assert "time limit" in answer.reason
    assert answer.next.command == f"hermes-kanban unblock {task_id}"


def test_a_block_says_who_and_why(scene: Scene) -> None:
    task_id = scene.add()
    scene.board.block(task_id, "which\ncolour?", "needs_input", "anna")
    scene.clock.advance(90)
    assert scene.why(task_id).reason == "it was blocked by anna 1m 30s ago: which colour?"


def test_a_gate_that_was_made_closed_has_no_reason(scene: Scene) -> None:
    answer = scene.why(scene.add(initial_status="blocked"))
    assert answer.code == "blocked"
    assert answer.next.by is By.PERSON


def test_promotion_and_parents(scene: Scene) -> None:
    parent = scene.add()
    child = scene.add(parents=[parent])
    answer = scene.why(child)
    assert (answer.code, answer.next.by) == ("parents", By.PARENT)
    assert parent in answer.reason
    scene.spoil("UPDATE tasks SET status = 'archived' WHERE id = ?", parent)
    assert scene.why(child).code == "promotion"


def test_a_task_behind_one_that_cannot_start_names_it_and_what_helps(scene: Scene) -> None:
    parent = scene.add(assignee="nobody-known")
    child = scene.add(parents=[scene.add(parents=[parent])])
    found = scene.why(child)
    assert (found.code, found.next.by) == ("held_parent", By.PERSON)
    assert parent in found.reason
    assert "nobody-known" in found.reason
    assert parent in (found.next.command or "")


def test_a_dead_run_on_a_paused_board_does_not_run_again(scene: Scene) -> None:
    task_id = scene.add()
    lease = claim_one(scene.board, task_id)
    scene.verdicts[lease.run_id] = (Verdict.DEAD, Verdict.DEAD)
    scene.clock.advance(10_000)
    assert "runs again" in scene.why(task_id).next.sentence
    flags.put(scene.board.writer, flags.PAUSED, "deploy", "me", scene.clock.now())
    assert "runs again" not in scene.why(task_id).next.sentence


def test_what_a_person_works_on_is_running_without_a_dispatcher_too(scene: Scene) -> None:
    task_id = scene.add()
    terms = ClaimTerms("me:1:n0", scene.clock.now() + 900, TERMINAL)
    scene.board.claim([task_id], terms)
    scene.verdicts[1] = (Verdict.UNKNOWN, Verdict.UNKNOWN)
    scene.dispatching = Dispatching(state=State.DEAD, pid=9, last_tick_at=scene.clock.now() - 120)
    found = scene.why(task_id)
    assert (found.status, found.code) == ("running", "unseen")
    assert "nobody dispatches" in str(found.evidence["also"])


def test_a_card_that_the_loop_breaker_parked_is_opened_by_unblock(scene: Scene) -> None:
    task_id, described = scene.add(), scene.add(triage=True)
    for _ in range(3):
        with contextlib.suppress(WrongState):
            scene.board.unblock(task_id, "me")
        seen = Seen("ready", 0, "")
        moves.block(scene.board.writer, task_id, "which colour?", "needs_input", "worker", scene.clock.now(), seen)
        if scene.board.task(task_id).status == "triage":
            break
    assert scene.why(task_id).code == "block_loop"
    assert scene.why(task_id).next.command == f"hermes-kanban unblock {task_id}"
    assert scene.board.unblock(task_id, "me") == "ready"
    assert scene.board.task(task_id).block_recurrences == 0
    with pytest.raises(WrongState):
        scene.board.unblock(described, "me")


def test_only_the_asked_task_and_its_neighbours_are_read(scene: Scene) -> None:
    parent = scene.add()
    child = scene.add(parents=[parent])
    stranger = scene.add()
    scene.add(parents=[stranger])
    facts = scene.facts(child)
    assert {case.task.id for case in facts.cases} == {parent, child}
    assert set(facts.linked) == {parent, child}


def test_boards_of_every_host_version_can_be_asked(old_boards: Path, tmp_path: Path, scene: Scene) -> None:
    import shutil

    for source in sorted(old_boards.glob("*.db")):
        path = Path(shutil.copy(source, tmp_path / source.name))
        before = path.read_bytes()
        with Board(place_of(path), FakeClock()) as board:
            scene.board = board
            codes = {}
            for task in board.tasks(archived=True):
                answer = scene.why(task.id)
                check(answer, scene.facts(task.id))
                codes[task.status] = answer.code
            assert codes["blocked"] == "blocked"
            assert codes["running"] in ("orphaned", "unseen", "running")
            scene.profiles = {}
            assert scene.finding("assignee_profile_not_found").evidence["count"] >= 1
            scene.profiles = {"worker": "command"}
        assert path.read_bytes() == before
