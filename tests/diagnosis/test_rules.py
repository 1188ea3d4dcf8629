"""Each kind of finding: when it is there, when it is not, and what it says to do."""

from __future__ import annotations

from dataclasses import replace

import pytest

from hermes_kanban_plugin.diagnosis import ground
from hermes_kanban_plugin.diagnosis.facts import Dispatching
from hermes_kanban_plugin.diagnosis.finding import Finding, Level, worst_first
from hermes_kanban_plugin.dispatch import preflight
from hermes_kanban_plugin.dispatch.admission import Limits
from hermes_kanban_plugin.dispatch.standing import State
from hermes_kanban_plugin.identity import Verdict
from hermes_kanban_plugin.store import edits, journal
from hermes_kanban_plugin.store.moves import Seen
from hermes_kanban_plugin.testing import claim_one
from tests.diagnosis.conftest import Scene

DAY = 86_400


def test_a_sound_board_has_no_finding(scene: Scene) -> None:
    parent = scene.add()
    scene.add(parents=[parent])
    claim_one(scene.board, scene.add(), nonce="held")
    scene.board.block(scene.add(), "which colour?", "needs_input", "me")
    assert scene.findings() == []


# --- runs -----------------------------------------------------------------------------------------------------------


def accepted(scene: Scene, **places: object) -> tuple[str, int]:
    """Return a task whose run was accepted by a supervisor, and the run."""
    task_id = scene.add()
    lease = claim_one(scene.board, task_id, seconds=60)
    scene.spoil(
        "UPDATE kp_runs SET accepted_at = ?, host_id = 'h', boot_id = 'b', pid_namespace = 'n', supervisor_pid = 11, "
        "worker_pid = 12 WHERE run_id = ?",
        scene.clock.now(), lease.run_id,
    )  # fmt: skip
    return task_id, lease.run_id


def test_a_dead_owner_is_an_orphaned_run(scene: Scene) -> None:
    task_id, run_id = accepted(scene)
    assert scene.findings() == []
    scene.verdicts[run_id] = (Verdict.DEAD, Verdict.DEAD)
    found = scene.finding("orphaned_run")
    assert (found.task_id, found.run_id, found.level) == (task_id, run_id, Level.ERROR)
    assert found.evidence["supervisor"] == "dead"
    assert found.evidence["worker_pid"] == 12
    assert found.fix == "hermes-kanban reclaim --stale"


def test_a_lease_that_ended_unseen_is_a_stale_claim(scene: Scene) -> None:
    task_id, run_id = accepted(scene)
    scene.verdicts[run_id] = (Verdict.UNKNOWN, Verdict.UNKNOWN)
    assert scene.findings() == []
    scene.clock.advance(61)
    found = scene.finding("stale_running_claim")
    assert (found.task_id, found.run_id) == (task_id, run_id)
    assert found.evidence["lease_ended_ago"] == 1
    assert "lease" in found.sentence


def test_a_claim_that_nobody_accepted_is_stale(scene: Scene) -> None:
    claim_one(scene.board, scene.add(), seconds=30)
    scene.clock.advance(31)
    assert "never accepted" in scene.finding("stale_running_claim").sentence


def test_processes_that_outlive_their_closed_run_are_told(scene: Scene) -> None:
    task_id, run_id = accepted(scene)
    scene.board.reclaim(scene.board.task(task_id), None, "me")
    assert scene.findings("orphaned_run") == []
    scene.clock.advance(500)
    found = scene.finding("orphaned_run")
    assert (found.level, found.run_id) == (Level.WARNING, run_id)
    assert "closed" in found.sentence


def illegal(scene: Scene, pair: str) -> str:
    task_id = scene.add()
    lease = claim_one(scene.board, task_id, seconds=900)
    if pair == "running without a run":
        scene.spoil("UPDATE tasks SET current_run_id = NULL WHERE id = ?", task_id)
        scene.spoil("UPDATE task_runs SET ended_at = 1, status = 'reclaimed' WHERE id = ?", lease.run_id)
    elif pair == "running with a closed run":
        scene.spoil("UPDATE task_runs SET ended_at = 1, status = 'reclaimed' WHERE id = ?", lease.run_id)
    else:
        status = pair.partition(" ")[0]
        scene.spoil(
            "UPDATE tasks SET status = ?, claim_lock = NULL, current_run_id = NULL WHERE id = ?", status, task_id
        )
    return task_id


@pytest.mark.parametrize(
    "pair",
    ["running without a run", "running with a closed run", "done with an open run", "blocked with an open run",
     "ready with an open run"],
)  # fmt: skip
def test_each_illegal_pair_is_named(scene: Scene, pair: str) -> None:
    task_id = illegal(scene, pair)
    found = scene.finding("illegal_pair")
    assert (found.task_id, found.level) == (task_id, Level.ERROR)
    assert found.evidence["status"] == pair.partition(" ")[0]


def test_a_claim_on_a_task_that_does_not_run_is_a_stray_lock(scene: Scene) -> None:
    task_id = scene.add()
    scene.spoil("UPDATE tasks SET claim_lock = 'host:1' WHERE id = ?", task_id)
    found = scene.finding("stray_lock")
    assert "can never be started" in found.sentence
    assert found.fix == f"hermes-kanban edit {task_id} --clear-claim"
    assert scene.why(task_id).code == "stray_claim"


# --- gates ----------------------------------------------------------------------------------------------------------


def bounce(scene: Scene, task_id: str, times: int, pause: int, start: int = 0) -> None:
    for number in range(start, start + times):
        kind = ("needs_input", "capability")[number % 2]  # two kinds in turn never reach the host's loop limit
        scene.board.block(task_id, f"reason {number}", kind, "me")
        scene.clock.advance(pause)
        scene.board.unblock(task_id, "me")
        scene.clock.advance(pause)


@pytest.mark.parametrize("pause", [0, 600])
def test_three_rounds_are_one_finding_whatever_the_clock_shows_between_them(scene: Scene, pause: int) -> None:
    task_id = scene.add()
    bounce(scene, task_id, 2, pause)
    assert scene.findings("block_unblock_cycling") == []
    bounce(scene, task_id, 1, pause, start=2)
    found = scene.finding("block_unblock_cycling")
    assert (found.task_id, found.evidence["cycles"]) == (task_id, 3)
    assert found.evidence["reasons"] == ["reason 0", "reason 1", "reason 2"]


def test_the_window_slides(scene: Scene) -> None:
    task_id = scene.add()
    bounce(scene, task_id, 3, 60)
    scene.clock.advance(DAY - 200)
    assert scene.findings("block_unblock_cycling") == []
    bounce(scene, task_id, 2, 0, start=3)
    assert scene.findings("block_unblock_cycling") != []
    scene.clock.advance(DAY)
    assert scene.findings("block_unblock_cycling") == []


def test_a_finished_task_cycles_no_more(scene: Scene) -> None:
    from hermes_kanban_plugin.store.outcomes import Handoff

    task_id = scene.add()
    bounce(scene, task_id, 3, 0)
    scene.board.complete(task_id, Handoff("done"), "me")
    assert scene.findings("block_unblock_cycling") == []


def test_blocked_for_a_day_is_told_and_a_comment_starts_the_day_anew(scene: Scene) -> None:
    task_id = scene.add()
    scene.board.block(task_id, "which letterhead?", "needs_input", "me")
    scene.clock.advance(DAY - 1)
    assert scene.findings("stuck_in_blocked") == []
    scene.clock.advance(1)
    found = scene.finding("stuck_in_blocked")
    assert "which letterhead?" in found.sentence
    assert found.fix == f"hermes-kanban unblock {task_id}"
    scene.board.comment(task_id, "you", "I shall look")
    assert scene.findings("stuck_in_blocked") == []
    scene.clock.advance(DAY)
    assert scene.finding("stuck_in_blocked").evidence["commented_at"] == scene.clock.now() - DAY


# --- failures -------------------------------------------------------------------------------------------------------


def test_repeated_failures_say_how_it_failed_last(scene: Scene) -> None:
    task_id = scene.add()
    scene.spoil("UPDATE tasks SET consecutive_failures = 1 WHERE id = ?", task_id)
    scene.closed_run(task_id, "crashed", cause="crashed", exit_code=3, last_output="no such table")
    assert scene.findings("repeated_failures") == []
    scene.spoil("UPDATE tasks SET consecutive_failures = 2 WHERE id = ?", task_id)
    found = scene.finding("repeated_failures")
    assert (found.level, found.fix) == (Level.WARNING, f"hermes-kanban runs {task_id}")
    assert "was given up" not in found.sentence
    assert "ended with status 3" in found.sentence
    assert found.evidence["last_output"] == "no such table"


@pytest.mark.parametrize("failures", [1, 5])
def test_a_task_that_was_given_up_is_told_whatever_its_own_limit_was(scene: Scene, failures: int) -> None:
    task_id = scene.add(max_retries=failures)
    scene.closed_run(task_id, "crashed", cause="crashed", exit_code=3)
    scene.spoil(f"UPDATE tasks SET consecutive_failures = {failures}, status = 'blocked' WHERE id = ?", task_id)
    journal.append(scene.board.writer, task_id, "gave_up", {"failures": failures}, scene.clock.now())
    found = scene.finding("repeated_failures")
    assert (found.level, found.fix) == (Level.ERROR, f"hermes-kanban unblock {task_id}")
    assert "was given up" in found.sentence


def test_a_task_that_a_person_stopped_was_not_given_up(scene: Scene) -> None:
    task_id = scene.add()
    scene.spoil("UPDATE tasks SET consecutive_failures = 3 WHERE id = ?", task_id)
    scene.board.stop(scene.board.task(task_id), "stopped by me", "me")
    found = scene.finding("repeated_failures")
    assert (found.level, "given up" in found.sentence) == (Level.WARNING, False)


def test_skills_that_were_missing_stay_a_finding_after_the_dispatcher_blocked_the_task(scene: Scene) -> None:
    task_id = scene.add(assignee="coder", skills=["flying"])
    scene.lacking["coder"] = {"flying"}
    assert scene.finding("invalid_task_skills").task_id == task_id
    edits.stop(
        scene.board.writer, task_id, "no", preflight.ACTOR, scene.clock.now(), Seen("ready", 0, ""), "capability"
    )
    found = scene.finding("invalid_task_skills")
    assert (found.task_id, found.fix) == (task_id, f"hermes-kanban edit {task_id} --clear-skills")
    assert scene.why(task_id).code == "missing_skills"
    assert scene.board.task(task_id).block_recurrences == 0
    scene.board.clear_skills(task_id, "me")
    assert scene.findings("invalid_task_skills") == []
    assert scene.why(task_id).next.command == f"hermes-kanban unblock {task_id}"


def test_a_quota_wait_says_until_when(scene: Scene) -> None:
    task_id = scene.add()
    scene.closed_run(task_id, "rate_limited", cause="rate_limited", retry_at=scene.clock.now() + 90)
    found = scene.finding("quota_wait")
    assert (found.level, found.task_id) == (Level.INFO, task_id)
    assert "1m 30s" in found.sentence
    assert scene.why(task_id).next.at == scene.clock.now() + 90
    scene.clock.advance(90)
    assert scene.findings() == []


def test_a_refusal_without_a_time_waits_for_the_cooldown(scene: Scene) -> None:
    task_id = scene.add()
    scene.closed_run(task_id, "rate_limited", ago=100)
    assert scene.finding("quota_wait").evidence["retry_at"] == scene.clock.now() + 200
    assert scene.why(task_id).code == "quota"


def test_a_late_completion_waits_for_a_person(scene: Scene) -> None:
    task_id = scene.add()
    run_id = scene.closed_run(task_id, "timed_out")
    scene.spoil("INSERT INTO kp_completions (task_id, run_id, at, summary) VALUES (?, ?, 1, 'done')", task_id, run_id)
    found = scene.finding("late_completion")
    assert (found.task_id, found.run_id, found.fix) == (task_id, run_id, f"hermes-kanban accept {task_id}")
    assert scene.why(task_id).code == "late_completion"
    scene.closed_run(task_id, "crashed", ago=5)
    assert scene.findings("late_completion") == []


def test_an_outage_is_told_once_for_all_its_tasks(scene: Scene) -> None:
    ids = [scene.add() for _ in range(3)]
    for task_id in ids:
        scene.closed_run(task_id, "crashed", cause="crashed", signature="crashed: no route")
    now = scene.clock.now()
    scene.spoil(
        "INSERT INTO kp_outages (signature, cause, began_at, last_seen_at, failures, failed_probes, longest_life, "
        "next_probe_at) VALUES ('crashed: no route', 'crashed', ?, ?, 3, 0, 1, ?)",
        now - 30, now, now + 60,
    )  # fmt: skip
    found = scene.finding("outage")
    assert found.evidence["count"] == 3
    assert scene.kinds() == {"outage"}
    assert scene.why(ids[0]).next.at == now + 60
    scene.spoil("UPDATE kp_outages SET probe_task_id = ?", ids[1])
    assert scene.why(ids[1]).code == "starting"
    assert scene.why(ids[0]).code == "outage"
    assert found.sentence.startswith("3 tasks fail the same way since 30s")
    scene.spoil("UPDATE kp_runs SET signature = NULL")  # the last one that waits is tried just now
    assert scene.finding("outage").sentence.startswith("several tasks failed the same way since 30s")


# --- waiting --------------------------------------------------------------------------------------------------------


def test_tasks_without_a_worker_are_gathered_by_assignee(scene: Scene) -> None:
    ids = [scene.add(assignee="nobody") for _ in range(3)]
    found = scene.finding("assignee_profile_not_found")
    assert found.evidence["tasks"] == sorted(ids)
    assert "'nobody'" in found.sentence
    assert all(found.concerns(task_id) for task_id in ids)


def test_a_missing_skill_names_itself_and_where_was_looked(scene: Scene) -> None:
    scene.lacking["coder"] = {"pdf", "web"}
    scene.toolsets = {"web"}
    task_id = scene.add(assignee="coder", skills=["pdf", "web", "docs"])
    found = scene.finding("invalid_task_skills")
    assert found.evidence["skills"] == ["pdf", "web"]
    assert found.evidence["toolsets"] == ["web"]
    assert found.evidence["looked_in"] == ["/skills"]
    assert found.fix == f"hermes-kanban edit {task_id} --clear-skills"


def test_a_command_lane_needs_no_skill(scene: Scene) -> None:
    scene.lacking["worker"] = {"pdf"}
    scene.add(skills=["pdf"])
    assert scene.findings() == []


def test_a_full_board_is_information_and_no_alarm(scene: Scene) -> None:
    scene.limits = Limits(max_in_progress=1)
    claim_one(scene.board, scene.add(), nonce="held")
    waiting = [scene.add() for _ in range(5)]
    (found,) = scene.findings()
    assert (found.kind, found.level, found.fix) == ("cap_reached", Level.INFO, None)
    assert found.evidence["tasks"] == sorted(waiting)
    assert found.evidence["limits"] == {"max_in_progress": 1}


def test_the_first_in_line_is_not_held_by_a_cap_that_has_room(scene: Scene) -> None:
    scene.limits = Limits(max_in_progress=1)
    second = scene.add()
    first = scene.add(priority=5)
    assert scene.why(first).code == "starting"
    assert scene.why(second).code == "capacity"


def test_a_plugin_that_holds_is_quoted(scene: Scene) -> None:
    task_id = scene.add()
    scene.held[task_id] = "freeze: no releases on Friday"
    found = scene.finding("ready_not_runnable")
    assert "no releases on Friday" in found.sentence
    assert found.level is Level.INFO


def test_a_paused_board_says_who_paused_it(scene: Scene) -> None:
    scene.add()
    scene.spoil("INSERT INTO kp_flags (name, value, actor, since) VALUES ('paused', 'a release', 'anna', 5)")
    found = scene.finding("ready_not_runnable")
    assert "by anna" in found.sentence
    assert "a release" in found.sentence
    assert found.fix == "hermes-kanban resume default"


def test_too_many_starts_within_an_hour_wait_for_the_hour_to_pass(scene: Scene) -> None:
    scene.more["max_starts_per_hour"] = 2
    task_id = scene.add()
    for ago in (1800, 600):
        scene.closed_run(task_id, "reclaimed", ago=ago)
    answer = scene.why(task_id)
    assert answer.code == "starts_per_hour"
    assert answer.next.at == scene.clock.now() - 1860 + 3600


def test_a_task_that_nothing_holds_and_nobody_starts_is_our_own_fault(scene: Scene) -> None:
    task_id = scene.add()
    scene.clock.advance(1799)
    assert scene.findings() == []
    scene.clock.advance(1)
    found = scene.finding("ready_not_runnable")
    assert (found.task_id, found.level, found.evidence["reason"]) == (task_id, Level.ERROR, "unknown")


# --- ground ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("state", "words", "fix"),
    [
        (State.SILENT, "lives but has not ticked for 10m", "kill -CONT 77"),
        (State.DEAD, "ended without a word", "hermes-kanban dispatcher"),
        (State.STOPPED, "was stopped", "hermes-kanban dispatcher"),
        (State.NEVER, "none of ours ever did", "hermes-kanban dispatcher"),
    ],
)
def test_a_silent_dispatcher_says_how_it_is_gone_and_how_it_comes_back(
    scene: Scene, state: State, words: str, fix: str
) -> None:
    scene.add()
    last = None if state is State.NEVER else scene.clock.now() - 600
    scene.dispatching = Dispatching(state=state, pid=77, last_tick_at=last)
    found = scene.finding("dispatcher_silent")
    assert words in found.sentence
    assert (found.level, found.fix) == (Level.CRITICAL, fix)
    assert scene.kinds() == {"dispatcher_silent"}


@pytest.mark.parametrize("state", [State.SERVING, State.ELSEWHERE, State.HERMES])
def test_a_board_that_is_served_has_no_such_finding(scene: Scene, state: State) -> None:
    scene.add()
    scene.dispatching = Dispatching(state=state, pid=77, last_tick_at=scene.clock.now())
    assert scene.findings() == []


def test_an_empty_board_needs_no_dispatcher(scene: Scene) -> None:
    scene.dispatching = Dispatching()
    assert scene.finding("dispatcher_silent").level is Level.INFO


def test_stamps_from_the_future_are_told(scene: Scene) -> None:
    task_id = scene.add()
    scene.event(task_id, "commented", at=scene.clock.now() + 7200)
    found = scene.finding("clock_trouble")
    assert "2h in the future" in found.sentence
    assert found.evidence["ahead"] == 7200


def test_a_clock_that_was_set_back_is_told_for_a_day(scene: Scene) -> None:
    task_id = scene.add()
    scene.clock.jump(-600)
    scene.board.comment(task_id, "me", "later, and earlier")
    scene.clock.advance(600)
    found = scene.finding("clock_trouble")
    assert "set back by 10m" in found.sentence
    scene.clock.advance(DAY)
    assert scene.findings("clock_trouble") == []


@pytest.mark.parametrize(
    ("version", "defect"),
    [((3, 6, 23), False), ((3, 7, 0), True), ((3, 40, 1), True), ((3, 44, 5), True), ((3, 44, 6), False),
     ((3, 45, 0), True), ((3, 50, 4), True), ((3, 50, 7), False), ((3, 51, 2), True), ((3, 51, 3), False),
     ((3, 52, 0), False)],
)  # fmt: skip
def test_which_sqlite_loses_changes(scene: Scene, version: tuple[int, int, int], defect: bool) -> None:
    assert ground.has_log_defect(version) is defect
    scene.machine = scene.machine._replace(sqlite_version=version)
    assert ("sqlite_version_risk" in scene.kinds()) is defect


def test_without_a_write_ahead_log_the_version_does_not_matter(scene: Scene) -> None:
    scene.machine = scene.machine._replace(sqlite_version=(3, 40, 1))
    facts = scene.facts()
    assert facts.machine.journal_mode == "wal"
    assert [found.kind for found in ground.findings(facts)] == ["sqlite_version_risk"]
    assert ground.findings(replace(facts, machine=facts.machine._replace(journal_mode="delete"))) == []


@pytest.mark.parametrize(("name", "told"), [("nfs4", True), ("CIFS", True), ("fuse.sshfs", True), ("ext4", False),
                                            ("apfs", False), ("overlay", False), (None, False)])  # fmt: skip
def test_a_network_file_system_is_told(scene: Scene, name: str | None, told: bool) -> None:
    scene.machine = scene.machine._replace(file_system=name, mount_point="/mnt")
    assert ("database_on_network_file_system" in scene.kinds()) is told


def test_a_board_without_a_young_backup_is_told(scene: Scene) -> None:
    scene.machine = scene.machine._replace(backup_at=None)
    assert scene.findings("backup_missing") == []
    scene.add(initial_status="blocked")
    assert scene.findings("backup_missing") == []  # little to lose yet
    scene.clock.advance(DAY)
    assert "has no backup" in scene.finding("backup_missing").sentence
    scene.machine = scene.machine._replace(backup_at=scene.clock.now() - 8 * DAY)
    assert "8d ago" in scene.finding("backup_missing").sentence
    scene.machine = scene.machine._replace(backup_at=scene.clock.now() - 6 * DAY)
    assert scene.findings("backup_missing") == []


# --- all together ---------------------------------------------------------------------------------------------------


def test_the_worst_comes_first() -> None:
    levels = [Level.INFO, Level.CRITICAL, Level.WARNING, Level.ERROR]
    ordered = worst_first(Finding(kind="k", level=level, sentence="s") for level in levels)
    assert [found.level for found in ordered] == [Level.CRITICAL, Level.ERROR, Level.WARNING, Level.INFO]


def test_looking_changes_nothing(scene: Scene) -> None:
    accepted(scene)
    before = scene.board.reader.execute("PRAGMA data_version").fetchone()[0]
    total = scene.board.writer.total_changes
    scene.findings()
    scene.why(scene.add())
    assert scene.board.reader.execute("PRAGMA data_version").fetchone()[0] >= before
    assert scene.board.reader.total_changes == 0
    assert not scene.board.reader.in_transaction
    assert scene.board.writer.total_changes > total  # by adding the task, which shows that the count works


def test_a_row_that_cannot_be_read_is_a_finding_and_the_others_are_judged(scene: Scene) -> None:
    broken, gated = scene.add(), scene.add(assignee="nobody-known")
    scene.spoil("UPDATE tasks SET priority = 'high' WHERE id = ?", broken)
    found = scene.finding("unreadable_row")
    assert (found.task_id, found.evidence["column"], found.level) == (broken, "priority", Level.ERROR)
    assert found.fix is not None
    assert found.fix.startswith("sqlite3 ")
    assert scene.finding("assignee_profile_not_found").task_id == gated
