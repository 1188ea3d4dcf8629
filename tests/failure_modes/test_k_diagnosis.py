"""Group K, what a diagnosis answers: causes that read differently, whose words the last ones are, cycles, events."""

from __future__ import annotations

import json
import sys
from dataclasses import replace

from hermes_kanban_plugin.diagnosis import endings, readiness, surroundings, why
from hermes_kanban_plugin.diagnosis.facts import Dispatching, Ending
from hermes_kanban_plugin.dispatch.standing import State
from hermes_kanban_plugin.hookspecs import hookimpl
from hermes_kanban_plugin.maintenance import pausing, statistics
from hermes_kanban_plugin.models import Event
from hermes_kanban_plugin.store import leases, queries
from tests.conftest import Workshop
from tests.failure_modes.conftest import Stage, reason

BLOCK = f"{sys.executable} -m hermes_kanban_plugin.cli.main block $HERMES_KANBAN_TASK 'which colour?'"
# Ten ways to die that a command worker has; what the supervisor sees of each is all that there is.
WAYS = {
    "status": ("exit 3", "ended with status 3"),
    "not-found": ("exec no-such-program", "status 127"),
    "kill": ("kill -KILL $$", "signal 9 (KILL)"),
    "segv": ("kill -SEGV $$", "signal 11 (SEGV)"),
    "abort": ("kill -ABRT $$", "signal 6 (ABRT)"),
    "term": ("kill -TERM $$", "interrupted"),
    "try-later": ("exit 75", "provider refused"),
    "too-long": ("sleep 60", "longer than its time limit"),
    "block": (BLOCK, "blocked it: which colour?"),
    "cannot-start": ("", "could not be started"),
}


def test_K1_ten_ways_to_die_read_differently_and_show_what_they_say(workshop: Workshop) -> None:
    workshop.configure({name: line for name, (line, _) in WAYS.items()}, kanban={"failure_limit": 5})
    config = json.loads((workshop.home / "config.yaml").read_text())
    config["plugins"]["entries"]["hermes-kanban"]["lanes"]["cannot-start"] = {"command": ["/no/such/program"]}
    (workshop.home / "config.yaml").write_text(json.dumps(config))
    ids = {}
    for name in WAYS:
        limit = {"max_runtime_seconds": 1} if name == "too-long" else {}
        ids[name] = workshop.board.create_task(title=name, assignee=name, max_retries=1, **limit)
    workshop.tick()
    sentences = {}
    for name, (_, words) in WAYS.items():
        first = workshop.ended(workshop.board.runs(ids[name])[0].id)
        query = "SELECT cause, signature, retry_at FROM kp_runs WHERE run_id = :id"
        row = workshop.board.reader.execute(query, {"id": first.id}).fetchone()
        ending = Ending.model_validate({**first.model_dump(), **dict(row)})
        sentences[name] = endings.sentence(ending)
        assert words in sentences[name], name
        assert len(endings.evidence(ending)) >= 3
    assert len(set(sentences.values())) == len(WAYS)
    facts = surroundings.look(workshop.runtime, workshop.board, ids["status"])
    (case,) = facts.cases
    answer = why.explain(case, facts)
    assert sentences["status"] in answer.reason
    assert answer.evidence["exit_code"] == 3


def test_K2_the_last_words_are_those_of_the_run_that_said_them(workshop: Workshop) -> None:
    folder = '"$HERMES_KANBAN_WORKSPACE/x"'
    workshop.configure({"twice": f"test -e {folder} && exit 4; touch {folder}; echo all is well; exit 3"})
    task_id = workshop.board.create_task(title="t", assignee="twice", max_retries=2)
    workshop.tick()
    first = workshop.ended(workshop.run(task_id).run_id or 0)
    assert workshop.settle(task_id, "blocked")
    second = workshop.ended(workshop.board.runs(task_id)[-1].id)
    assert (first.exit_code, first.last_output) == (3, "all is well")
    assert (second.exit_code, second.last_output or "") == (4, ""), "the words of the first run blame nobody"


def test_K3_a_full_board_and_a_paused_one_are_told_apart(stage: Stage) -> None:
    stage.configure({"max_in_progress": 1})
    for _ in range(2):
        stage.create()
    stage.tick()

    def reasons() -> set[str]:
        facts = replace(surroundings.look(stage.runtime, stage.board), dispatching=Dispatching(state=State.SERVING))
        return {answer.code for answer in readiness.line_up(facts).values()}

    assert reasons() == {"capacity"}
    pausing.pause(stage.board, "a release", "anna")
    assert reasons() == {"paused"}


def test_K6_three_rounds_of_block_and_unblock_in_a_day_are_one_finding(stage: Stage) -> None:
    task_id = stage.create()
    for kind in ("needs_input", "capability", "transient"):
        assert stage.started(60) == [task_id]
        stage.block(task_id, f"stuck: {kind}", kind)
        stage.board.comment(task_id, "me", "try again")  # a comment resets the stuck timer, and not this
        stage.board.unblock(task_id, "me")
    facts = surroundings.look(stage.runtime, stage.board)
    (found,) = [one for one in surroundings.diagnose(stage.runtime, facts) if one.kind == "block_unblock_cycling"]
    assert (found.task_id, found.evidence["cycles"]) == (task_id, 3)


def test_K7_no_event_is_lost_and_none_is_told_twice_over_a_restart(stage: Stage) -> None:
    told: list[int] = []

    class Listener:
        @hookimpl
        def kanban_task_event(self, event: Event) -> None:
            told.append(event.id)

    def listen() -> None:
        stage.restart()
        stage.runtime.manager.register(Listener(), "listener")

    listen()
    stage.tick()  # the first tick of all begins with what happens from then on
    begin = max((event.id for event in stage.board.events()), default=0)
    task_id = stage.create()
    stage.tick()
    stage.restart()  # nobody listens, and things happen
    stage.board.comment(task_id, "me", "while you were away")
    stage.complete(task_id)
    listen()
    stage.tick()
    events = [event.id for event in stage.board.events() if event.id > begin]
    assert told == events, "each once, in order, after the restart"


def test_K5_the_tokens_of_all_runs_add_up_and_a_spent_task_is_not_started(stage: Stage) -> None:
    stage.configure({"failure_limit": 9}, max_tokens_per_task=1000, retry_base_seconds=0)
    task_id = stage.create()
    used = [(300, 50), (400, 49), (150, 51)]  # the third run passes the limit, and may end in peace
    for sent, received in used:
        assert stage.started(60) == [task_id]
        leases.note_usage(stage.board.writer, stage.puppets.living[task_id], sent, received)
        stage.fail(task_id)
    assert [(run.input_tokens, run.output_tokens) for run in stage.board.runs(task_id)] == used
    assert queries.tokens_used(stage.board.writer, task_id) == (1000, 3)
    assert stage.started(60) == []
    assert stage.status(task_id) == "blocked"
    assert "it has used 1,000 tokens in 3 runs" in reason(stage, task_id).reason
    for _ in range(10):
        assert stage.started(600) == []
    assert statistics.gather(stage.board).windows[0].tokens == {"puppet": (850, 150)}
    for _ in range(3):
        stage.clock.advance(1)
        stage.board.unblock(task_id, "ann")  # who grants the same again, and that is no loop
        assert stage.started(60) == [task_id]
        leases.note_usage(stage.board.writer, stage.puppets.living[task_id], 2000, 0)
        stage.fail(task_id)
        assert stage.started(3600) == []
        assert stage.status(task_id) == "blocked"
