"""``gc``: what goes, what stays, and that looking changes nothing."""

from __future__ import annotations

import itertools

import pytest

from hermes_kanban_plugin.errors import InvalidArgument
from hermes_kanban_plugin.maintenance import retention
from hermes_kanban_plugin.maintenance.retention import LOGS, Cleaning, Policy
from hermes_kanban_plugin.store import retention as rules
from hermes_kanban_plugin.testing import violations
from tests.maintenance.conftest import DAY, Keeper

HISTORY, REPEATS, RUNS = "history of finished tasks", "repeated signs of life", "process facts of old runs"


def items(cleaning: Cleaning) -> dict[str, int]:
    return {heap.name: heap.items for heap in cleaning.heaps if heap.items}


def test_the_history_of_a_long_finished_task_goes_and_the_task_stays(keeper: Keeper) -> None:
    task_id = keeper.create()
    keeper.finish(task_id)
    runs, task = keeper.board.runs(task_id), keeper.board.task(task_id)
    keeper.clock.advance(31 * DAY)

    cleaned = retention.clean(keeper.board, Policy())

    assert items(cleaned) == {HISTORY: 3}
    assert keeper.kinds(task_id) == []
    assert keeper.board.task(task_id) == task
    assert keeper.board.runs(task_id) == runs
    assert violations(keeper.board.path) == []


def test_history_is_taken_whole_or_not_at_all(keeper: Keeper) -> None:
    recent, old = keeper.create("finished yesterday"), keeper.create("finished long ago")
    keeper.finish(old)
    keeper.clock.advance(40 * DAY)
    keeper.finish(recent)
    keeper.clock.advance(DAY)
    before = keeper.kinds(recent)

    retention.clean(keeper.board, Policy(events_days=30))

    assert keeper.kinds(recent) == before
    assert before[0] == "created"
    assert keeper.kinds(old) == []


@pytest.mark.parametrize("status", ["ready", "blocked", "todo", "running", "triage", "review", "scheduled"])
def test_an_unfinished_task_keeps_everything(keeper: Keeper, status: str) -> None:
    task_id = keeper.create()
    keeper.execute("UPDATE tasks SET status = ? WHERE id = ?", status, task_id)
    log = keeper.log(f"{task_id}.log")
    keeper.clock.advance(4000 * DAY)
    keeper.board.location.logs.touch()

    cleaned = retention.clean(keeper.board, Policy(1, 1, 1))

    assert items(cleaned) == {}
    assert keeper.kinds(task_id) == ["created"]
    assert log.exists()


def test_history_of_a_task_that_is_gone_goes(keeper: Keeper) -> None:
    keeper.event("t_gone0001", "created", ago=31 * DAY)
    keeper.event("t_gone0002", "created", ago=29 * DAY)

    assert items(retention.clean(keeper.board, Policy())) == {HISTORY: 1}
    assert keeper.rows("SELECT task_id FROM task_events") == [("t_gone0002",)]


def test_what_nobody_was_told_yet_stays(keeper: Keeper) -> None:
    subscribed, told, untold = (keeper.create(title) for title in ("subscribed", "told", "untold"))
    for task_id in (subscribed, told):
        keeper.finish(task_id)
    (last,) = keeper.rows("SELECT max(id) FROM task_events")[0]
    keeper.finish(untold)
    keeper.execute("INSERT INTO kp_cursors (name, event_id) VALUES ('kanban_task_event', ?)", last)
    subscribe = "INSERT INTO kanban_notify_subs (task_id, platform, chat_id, created_at) VALUES (?, 'chat', '1', 0)"
    keeper.execute(subscribe, subscribed)
    keeper.clock.advance(60 * DAY)

    retention.clean(keeper.board, Policy())

    assert keeper.kinds(told) == []
    assert keeper.kinds(subscribed) == ["created", "claimed", "completed"]
    assert keeper.kinds(untold) == ["claimed", "completed"]  # its creation had been told


def test_signs_of_life_are_coalesced_after_a_day_to_the_first_and_the_last(keeper: Keeper) -> None:
    task_id = keeper.create()
    lease = keeper.claim(task_id)
    for _ in range(50):
        keeper.event(task_id, "heartbeat", run_id=lease.run_id)
    keeper.event(task_id, "heartbeat", {"note": "half way"}, run_id=lease.run_id)
    for _ in range(50):
        keeper.event(task_id, "heartbeat", run_id=lease.run_id)
    for reason in ["active_pr"] * 5 + ["blocker_auth"] * 5 + ["active_pr"] * 5:
        keeper.event(task_id, "respawn_guarded", {"reason": reason})
    fresh = keeper.create("beats now")
    for _ in range(5):
        keeper.event(fresh, "heartbeat", run_id=99)
    keeper.execute("UPDATE task_events SET created_at = created_at - ? WHERE task_id = ?", 2 * DAY, task_id)

    cleaned = retention.clean(keeper.board, Policy())

    assert items(cleaned) == {REPEATS: 98 + 8 + 3}
    kinds = ["created", "claimed", "heartbeat", "heartbeat", "heartbeat"]
    assert keeper.kinds(task_id) == [*kinds, *["respawn_guarded"] * 4]
    assert keeper.kinds(fresh) == ["created", *["heartbeat"] * 5]


def test_each_run_keeps_its_own_first_and_last_sign_of_life(keeper: Keeper) -> None:
    task_id = keeper.create()
    for run_id in (1, 2):
        for _ in range(4):
            keeper.event(task_id, "heartbeat", run_id=run_id, ago=2 * DAY)

    retention.clean(keeper.board, Policy())

    assert keeper.rows("SELECT run_id FROM task_events WHERE kind = 'heartbeat' ORDER BY id") == [
        (run_id,) for run_id in (1, 1, 2, 2)
    ]


def test_a_history_twice_as_long_takes_twice_the_work(keeper: Keeper) -> None:
    """And not four times: the write lock is held meanwhile, and a task that runs for days has many signs of life."""
    task_id, rule = keeper.create(), next(one for one in rules.RULES if one.name == REPEATS)
    cutoffs = retention.cutoffs_of(Policy(), keeper.clock.now())
    at, work = itertools.count(cutoffs.repeats_before - 99_999), []
    for batch in range(2):
        for run_id in range(batch * 4, batch * 4 + 4):
            values = [(task_id, run_id, "heartbeat", next(at)) for _ in range(400)]
            values += [(task_id, None, "respawn_guarded", next(at)) for _ in range(100)]
            keeper.board.writer.executemany(
                "INSERT INTO task_events (task_id, run_id, kind, created_at) VALUES (?, ?, ?, ?)", values
            )
        steps = itertools.count()
        keeper.board.reader.set_progress_handler(lambda steps=steps: next(steps) < 0, 100)
        found = rules.count(keeper.board.reader, rule, cutoffs).rows
        keeper.board.reader.set_progress_handler(None, 0)
        work.append((found, next(steps)))
    (half, little), (whole, much) = work
    assert 1900 < half < whole
    assert much < 2.5 * little


def test_a_clock_that_was_set_back_makes_no_sign_of_life_first_or_last(keeper: Keeper) -> None:
    """What is first and last is so by the history and by the clock; what is not by both stays."""
    task_id, end = keeper.create(), retention.cutoffs_of(Policy(), keeper.clock.now()).repeats_before
    for ago in (500, 400, 300, 450, 200, 600, 100):
        keeper.execute(
            "INSERT INTO task_events (task_id, run_id, kind, payload, created_at) VALUES (?, 1, 'heartbeat', NULL, ?)",
            task_id, end - ago,
        )  # fmt: skip
    retention.clean(keeper.board, Policy())
    left = keeper.rows("SELECT created_at FROM task_events WHERE kind = 'heartbeat' ORDER BY id")
    assert [end - at for (at,) in left] == [500, 600, 100]


def test_process_facts_of_old_runs_go_unless_their_processes_may_live(keeper: Keeper) -> None:
    gone, living = keeper.create("gone"), keeper.create("living")
    keeper.finish(gone)
    lease = keeper.finish(living)
    keeper.execute("UPDATE kp_runs SET ended_at = NULL, accepted_at = 1 WHERE run_id = ?", lease.run_id)
    keeper.clock.advance(91 * DAY)

    retention.clean(keeper.board, Policy())

    assert keeper.rows("SELECT task_id FROM kp_runs") == [(living,)]


def test_terms_of_earlier_dispatchers_go_and_the_latest_stays(keeper: Keeper) -> None:
    added = """INSERT INTO kp_dispatchers (host_id, boot_id, pid_namespace, pid, began_at, last_tick_at, ended_at)
        VALUES ('h', 'b', 'n', 1, ?, ?, ?)"""
    keeper.board.writer  # noqa: B018 - makes our tables
    for ended in (keeper.now - 100 * DAY, None):
        keeper.execute(added, keeper.now - 200 * DAY, keeper.now - 100 * DAY, ended)
    keeper.execute(added, keeper.now - 99 * DAY, keeper.now - 99 * DAY, None)

    retention.clean(keeper.board, Policy())

    assert keeper.rows("SELECT term FROM kp_dispatchers") == [(3,)]


def test_old_logs_of_finished_tasks_go_and_no_other_file(keeper: Keeper) -> None:
    done, open_one = keeper.create("done"), keeper.create("open")
    keeper.finish(done)
    going = [keeper.log(f"{done}.log", ago=31 * DAY), keeper.log(f"{done}.log.1", ago=90 * DAY)]
    going.append(keeper.log("t_deleted.log", ago=31 * DAY))
    young, unfinished = keeper.log(f"{done}.log.2", ago=29 * DAY), keeper.log(f"{open_one}.log", ago=400 * DAY)
    stranger = keeper.log("notes.txt", ago=400 * DAY)
    target = keeper.log("elsewhere.txt", ago=400 * DAY)
    link = keeper.board.location.logs / "t_linked.log"
    link.symlink_to(target)

    cleaned = retention.clean(keeper.board, Policy())

    heap = next(heap for heap in cleaned.heaps if heap.name == LOGS)
    assert heap.items == 3
    assert heap.bytes == 3 * len("said something\n")
    assert heap.oldest == keeper.now - 90 * DAY
    assert not any(path.exists() for path in going)
    assert all(path.exists() for path in (young, unfinished, stranger, target))
    assert link.is_symlink()


def test_a_dry_run_says_what_would_go_and_changes_no_byte(keeper: Keeper) -> None:
    task_id = keeper.create()
    keeper.finish(task_id)
    keeper.clock.advance(100 * DAY)
    log = keeper.log(f"{task_id}.log", ago=50 * DAY)
    before = keeper.everything()

    said = retention.survey(keeper.board, Policy())

    assert keeper.everything() == before
    assert log.exists()
    assert said.dry_run
    done = retention.clean(keeper.board, Policy())
    assert items(said) == items(done) == {HISTORY: 3, RUNS: 1, LOGS: 1}
    assert items(retention.clean(keeper.board, Policy())) == {}


def test_a_board_without_our_tables_is_surveyed_too(keeper: Keeper) -> None:
    keeper.finish(keeper.create())
    keeper.clock.advance(100 * DAY)
    for (name,) in keeper.rows("SELECT name FROM sqlite_master WHERE type = 'table' AND name LIKE 'kp!_%' ESCAPE '!'"):
        keeper.execute(f"DROP TABLE {name}")

    assert items(retention.survey(keeper.board, Policy())) == {HISTORY: 3}


@pytest.mark.parametrize("days", [-1, 0, 3651, 10**9, 2.5, True, "30"])
@pytest.mark.parametrize("name", Policy._fields)
def test_impossible_days_are_refused_and_nothing_goes(keeper: Keeper, name: str, days: object) -> None:
    keeper.finish(keeper.create())
    keeper.clock.advance(5000 * DAY)
    before = keeper.everything()
    policy = Policy()._replace(**{name: days})

    for deed in (retention.survey, retention.clean):
        with pytest.raises(InvalidArgument, match=f"--{name.replace('_', '-')} is .*nothing was removed"):
            deed(keeper.board, policy)

    assert keeper.everything() == before


def test_a_long_history_is_walked_in_short_transactions(keeper: Keeper, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rules, "WINDOW", 10)
    for number in range(95):
        keeper.event(f"t_gone{number:04}", "created", ago=40 * DAY)
    told: list[tuple[str, float]] = []

    cleaned = retention.clean(keeper.board, Policy(), lambda what, share: told.append((what, share)))

    assert items(cleaned) == {HISTORY: 95}
    shares = [share for what, share in told if what == HISTORY]
    assert len(shares) == 10
    assert shares == sorted(shares)
    assert shares[-1] == 1.0


def test_a_task_that_is_opened_again_meanwhile_keeps_its_history(
    keeper: Keeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    task_id = keeper.create()
    keeper.finish(task_id)
    keeper.clock.advance(100 * DAY)
    count = retention._count_rows

    def count_then_reopen(*given: object) -> object:
        counted = count(*given)  # type: ignore[arg-type]
        keeper.execute("UPDATE tasks SET status = 'ready' WHERE id = ?", task_id)
        return counted

    monkeypatch.setattr(retention, "_count_rows", count_then_reopen)

    assert items(retention.clean(keeper.board, Policy())) == {}
    assert keeper.kinds(task_id) == ["created", "claimed", "completed"]
