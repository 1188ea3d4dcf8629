"""The routes as the host mounts them: what they answer, and which status says what went wrong."""

from __future__ import annotations

import asyncio
import json
import os
import sqlite3
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import psutil
import pytest
from fastapi import FastAPI

from hermes_kanban_plugin import locations
from hermes_kanban_plugin.board import create_board
from hermes_kanban_plugin.dashboard import plugin_api
from hermes_kanban_plugin.diagnosis.finding import Finding, Level
from hermes_kanban_plugin.hookspecs import hookimpl
from hermes_kanban_plugin.testing import place_of
from tests.conftest import lives, wait_for
from tests.dashboard.conftest import lose, works

if TYPE_CHECKING:
    from hermes_kanban_plugin.diagnosis.facts import BoardFacts
    from hermes_kanban_plugin.locations import BoardLocation
    from tests.conftest import Workshop

PREFIX = "/api/plugins/hermes-kanban"


class Page:
    """What the page does: asks, and presses buttons with what it was shown."""

    def __init__(self, app: FastAPI) -> None:
        self._app = app

    def get(self, path: str, status: int = 200) -> Any:
        return asyncio.run(self._ask("GET", path, status))

    def post(self, path: str, body: dict[str, Any], status: int = 200) -> Any:
        return asyncio.run(self._ask("POST", path, status, json=body))

    async def _ask(self, method: str, path: str, status: int, **body: Any) -> Any:
        transport = httpx.ASGITransport(app=self._app)
        async with httpx.AsyncClient(transport=transport, base_url="http://loopback") as client:
            answer = await client.request(method, f"{PREFIX}/{path}", **body)
        assert answer.status_code == status, answer.text
        return answer.json()

    def press(self, shown: dict[str, Any], item: dict[str, Any], status: int = 200) -> Any:
        action = item["action"]
        body = {name: action[name] for name in ("verb", "task_id", "seen", "life")}
        return self.post("act", {"board": shown["board"], "as_of": shown["as_of"], **body}, status)


@pytest.fixture
def page(workshop: Workshop) -> Iterator[Page]:
    app = FastAPI()
    app.include_router(plugin_api.router, prefix=PREFIX)
    yield Page(app)
    for desk in (plugin_api.LOOKING, plugin_api.DOING):
        desk.clear()


def add(shop: Workshop, **fields: Any) -> str:
    return shop.board.create_task(**{"title": "a task", "assignee": "worker", **fields})


def start(shop: Workshop, **fields: Any) -> str:
    shop.configure({"worker": "echo hello; exec sleep 600"}, {"max_in_progress": 3, "max_spawn": 5})
    task_id = add(shop, **fields)
    shop.tick()
    shop.run(task_id)
    return task_id


def test_an_empty_board(page: Page) -> None:
    shown = page.get("overview")
    assert (shown["board"], shown["boards"], shown["needs_you"], shown["attention"]) == ("default", ["default"], 0, [])
    assert (shown["running"], shown["stale"], shown["unfinished"], shown["pause"]) == ([], 0, 0, None)
    assert shown["dispatcher"] == {
        "word": "No dispatcher", "rest": "none of ours ever served this board", "tone": "bad"
    }  # fmt: skip
    assert page.get("stale") == {"taken": [], "doubtful": []}
    assert {name: len(slices) for name, slices in page.get("charts").items()} == {"day": 24, "week": 28}


def test_running_work_is_shown_with_its_process(page: Page, workshop: Workshop) -> None:
    task_id = start(workshop, title="dig")
    run = works(workshop.board, task_id)
    shown = page.get("overview")
    (row,) = shown["running"]
    assert (row["title"], row["assignee"], row["attempt"], row["verdict"]) == ("dig", "worker", 1, "alive")
    assert row["pid"] == run.worker_pid
    assert row["memory_bytes"] > 0
    assert 0 < row["lease_left"] <= 120
    assert row["loops"] == 0
    assert row["seen"] == {"status": "running", "run_id": run.run_id, "lock": run.lock}
    assert shown["limits"] == {"running": 3, "per_profile": None}
    assert shown["counts"]["running"] == 1


def test_what_nobody_claimed_is_no_attempt(page: Page, workshop: Workshop) -> None:
    workshop.configure({"worker": "exec sleep 600"})
    task_id = add(workshop)
    workshop.board.block(task_id, "wait", None, "anna")
    workshop.board.unblock(task_id, "anna")
    workshop.tick()
    workshop.run(task_id)
    (row,) = page.get("overview")["running"]
    told = page.get(f"tasks/{task_id}")
    assert (row["attempt"], [run["number"] for run in told["runs"]]) == (1, [1])


@pytest.mark.parametrize("kind", ["outside", "pipe"])
def test_only_a_file_of_the_board_is_read_as_output(page: Page, workshop: Workshop, kind: str) -> None:
    task_id = add(workshop)
    logs = workshop.board.location.logs
    logs.mkdir(parents=True)
    if kind == "outside":
        (workshop.home / "secret.log").write_text("the plan")
        (logs / f"{task_id}.log").symlink_to(workshop.home / "secret.log")
    else:
        os.mkfifo(logs / f"{task_id}.log")  # reading it would wait for ever
    assert page.get(f"tasks/{task_id}")["log"] == ""


def test_what_a_worker_takes_counts_its_children(page: Page, workshop: Workshop) -> None:
    workshop.configure({"worker": "for one in 1 2 3; do sleep 600 & done; wait"})
    task_id = add(workshop)
    workshop.tick()
    pid = works(workshop.board, task_id).worker_pid
    assert pid is not None
    wait_for(lambda: len(psutil.Process(pid).children()) == 3, "the children")
    alone = psutil.Process(pid).memory_info().rss
    (row,) = page.get("overview")["running"]
    assert row["memory_bytes"] > 2 * alone
    assert row["cpu_percent"] is not None


def test_a_worker_that_goes_round_in_circles_is_named(page: Page, workshop: Workshop) -> None:
    task_id = start(workshop)
    run_id = workshop.run(task_id).run_id
    for calls, told in ((1, 0), (6, 6)):
        workshop.board.writer.execute("UPDATE kp_runs SET repeated_calls = ?, progress_at = 5", (calls,))
        assert page.get("overview")["running"][0]["loops"] == told
    assert page.get("overview")["running"][0]["progress_at"] == 5
    assert page.get("overview")["running"][0]["run_id"] == run_id


def test_a_claim_of_a_terminal_has_no_process(page: Page, workshop: Workshop) -> None:
    from hermes_kanban_plugin.testing import claim_one

    claim_one(workshop.board, add(workshop), lane="terminal")
    (row,) = page.get("overview")["running"]
    assert (row["verdict"], row["pid"], row["memory_bytes"]) == ("terminal", None, None)


def test_a_button_is_pressed_as_it_was_shown(page: Page, workshop: Workshop) -> None:
    task_id = add(workshop)
    workshop.board.block(task_id, "wait", None, "anna")
    shown = page.get("overview")
    (item,) = [item for item in shown["attention"] if item["task_id"]]
    assert page.press(shown, item) == {"sentence": f"{task_id} was unblocked and is ready"}
    assert page.press(shown, item, 409) == {"detail": "It changed meanwhile, look again. Nothing was done."}
    assert workshop.board.task(task_id).status == "ready"


def many(shop: Workshop, status: str, number: int, created_at: int) -> None:
    shop.board.writer.executemany(
        "INSERT INTO tasks (id, title, status, created_at, workspace_kind) VALUES (?, 'many', ?, ?, 'scratch')",
        [(f"t_{status}{index}", status, created_at) for index in range(number)],
    )


def test_a_blocked_task_is_not_pushed_out_by_older_ideas(page: Page, workshop: Workshop) -> None:
    many(workshop, "triage", 500, 1)
    task_id = add(workshop)
    workshop.board.block(task_id, "which one?", None, "anna")
    shown = page.get("overview")
    assert task_id in [item["task_id"] for item in shown["attention"]]
    assert (shown["needs_you"], shown["cut"]) == (1, ["tasks"])


def test_what_was_not_looked_at_is_counted_and_said(page: Page, workshop: Workshop) -> None:
    many(workshop, "blocked", 503, 1)
    shown = page.get("overview")
    assert (shown["needs_you"], len(shown["attention"]), shown["cut"]) == (503, 100, ["tasks"])


def test_many_tasks_of_several_kinds_are_not_taken_for_cut(page: Page, workshop: Workshop) -> None:
    many(workshop, "triage", 300, 1)
    many(workshop, "ready", 300, 1)
    assert page.get("overview")["cut"] == []


def test_stop_ends_a_supervised_worker(page: Page, workshop: Workshop) -> None:
    task_id = start(workshop)
    run = works(workshop.board, task_id)
    worker = run.worker_pid
    assert worker is not None
    shown = page.get("overview")
    body = {"board": "default", "as_of": shown["as_of"], "verb": "stop", "task_id": task_id}
    page.post("act", {**body, "seen": shown["running"][0]["seen"]})
    assert workshop.board.task(task_id).status == "blocked"
    wait_for(lambda: not lives(worker), "the worker to end")
    workshop.ended(run.run_id or 0)


def test_what_is_stale_is_taken_back_after_a_preview(page: Page, workshop: Workshop) -> None:
    task_id = start(workshop)
    lose(workshop.runtime, workshop.board, task_id)
    assert page.get("overview")["stale"] == 1
    (row,) = page.get("stale")["taken"]
    wish = {"board": "default", "shown": [{"task_id": row["task_id"], "run_id": row["run_id"]}]}
    assert page.post("reclaim-stale", wish) == {"taken": [task_id], "sentence": "1 task reclaimed."}
    assert page.post("reclaim-stale", wish, 409)["detail"].startswith("It changed meanwhile")
    assert page.get("overview")["stale"] == 0


@pytest.mark.parametrize(
    ("taken", "shown", "said"),
    [
        ({"a": "ready"}, 1, "1 task reclaimed."), ({"a": "ready", "b": "review"}, 2, "2 tasks reclaimed."),
        ({"a": "blocked"}, 2, "1 task reclaimed. 1 failed too often and is blocked now. "
                              "1 changed meanwhile and was left alone."),
        ({"a": "blocked", "b": "blocked"}, 4, "2 tasks reclaimed. 2 failed too often and are blocked now. "
                                              "2 changed meanwhile and were left alone."),
    ],
)  # fmt: skip
def test_the_answer_says_what_became_of_all_that_was_shown(taken: dict[str, str], shown: int, said: str) -> None:
    assert plugin_api._reclaimed(taken, shown) == said


def test_the_page_sends_back_the_signs_of_life_it_was_shown(page: Page, workshop: Workshop) -> None:
    task_id = start(workshop)
    lose(workshop.runtime, workshop.board, task_id)
    shown = page.get("overview")
    (item,) = [item for item in shown["attention"] if item["task_id"] == task_id]
    workshop.board.writer.execute("UPDATE tasks SET claim_expires = claim_expires + 60 WHERE id = ?", (task_id,))
    assert page.press(shown, item, 409)["detail"].startswith("It changed meanwhile")
    shown = page.get("overview")
    (item,) = [item for item in shown["attention"] if item["task_id"] == task_id]
    assert "was reclaimed" in page.press(shown, item)["sentence"]


def test_the_story_of_a_task(page: Page, workshop: Workshop) -> None:
    task_id = start(workshop, title="dig")
    told = page.get(f"tasks/{task_id}")
    assert (told["title"], told["status"], told["assignee"], told["left_out"]) == ("dig", "running", "worker", 0)
    assert "it is running" in told["why"]
    assert [(run["number"], run["cause"], run["rescued"]) for run in told["runs"]] == [(1, None, False)]
    assert wait_for(lambda: page.get(f"tasks/{task_id}")["log"], "the output") == "hello"


def test_a_book_in_place_of_a_title_or_an_error_is_cut(page: Page, workshop: Workshop) -> None:
    book = "word " * 100_000
    start(workshop, title=book)
    task_id = add(workshop, title=book)
    opened = "INSERT INTO task_runs (task_id, status, outcome, started_at, ended_at, error) VALUES (?, ?, ?, 1, 2, ?)"
    workshop.board.writer.execute(opened, (task_id, "crashed", "crashed", f"{book}password=hunter2hunter2"))
    workshop.board.block(task_id, book, None, "anna")
    for path in ("overview", f"tasks/{task_id}", "stale"):
        assert len(json.dumps(page.get(path))) < 10_000, path
    told = page.get(f"tasks/{task_id}")
    assert told["title"].startswith("word word")
    assert told["title"].endswith("…")
    assert told["runs"][0]["error"].startswith("word word")


def test_an_id_with_a_slash_has_a_story_too(page: Page, workshop: Workshop) -> None:
    task_id = add(workshop, title="theirs")
    workshop.board.writer.execute("UPDATE tasks SET id = 'team/7' WHERE id = ?", (task_id,))
    assert page.get("tasks/team%2F7")["title"] == "theirs"


def test_of_many_waits_the_first_are_shown_and_all_are_counted(page: Page, workshop: Workshop) -> None:
    now = workshop.board.clock.now()
    for number in range(103):
        add(workshop, title=f"night {number}", start_at=now + 5000 - number)
    shown = page.get("overview")
    assert (shown["waiting_count"], len(shown["waiting"])) == (103, 100)
    assert shown["waiting"][0]["title"] == "night 102"


def test_a_long_story_keeps_its_end(page: Page, workshop: Workshop) -> None:
    task_id = add(workshop)
    for number in range(103):
        workshop.board.writer.execute(
            "INSERT INTO task_runs (task_id, status, outcome, started_at, ended_at, error) VALUES (?, ?, ?, ?, ?, ?)",
            (task_id, "crashed", "crashed", number, number + 1, "password=hunter2hunter2"),
        )
    told = page.get(f"tasks/{task_id}")
    assert (told["left_out"], len(told["runs"])) == (3, 100)
    assert [run["number"] for run in told["runs"]] == list(range(4, 104))
    assert told["runs"][0]["error"] == "password=***"


SPOILT_TASKS: dict[str, object] = {
    "goal_mode": 2, "priority": "high", "created_at": 1.5, "title": b"\xff\xfe\x00", "max_runtime_seconds": "x",
    "claim_expires": "soon", "assignee": b"\xff", "claim_lock": b"\xff", "current_run_id": "x", "worker_pid": "x",
    "last_heartbeat_at": "x",
}  # fmt: skip
SPOILT_HISTORY = (
    "UPDATE task_events SET created_at = 'x', kind = 'blocked', payload = X'FF' WHERE task_id = ?",
    "INSERT INTO task_comments (task_id, author, body, created_at) VALUES (?, 'x', 'x', 'x')",
    "INSERT INTO task_runs (task_id, status, outcome, error, started_at, ended_at) "
    "VALUES (?, 'crashed', X'FF', X'FF', 'x', 'x')",
)


@pytest.mark.parametrize("status", ["ready", "blocked", "running"])
@pytest.mark.parametrize("column", SPOILT_TASKS)
def test_a_row_that_cannot_be_read_hides_no_other(page: Page, workshop: Workshop, status: str, column: str) -> None:
    sound, broken = add(workshop, title="sound"), add(workshop, title="broken")
    workshop.board.block(sound, "which one?", None, "anna")
    spoil = f"UPDATE tasks SET status = ?, {column} = ? WHERE id = ?"
    workshop.board.writer.execute(spoil, (status, SPOILT_TASKS[column], broken))
    shown = page.get("overview")
    assert sound in [item["task_id"] for item in shown["attention"]]
    if status != "running":
        (item,) = [item for item in shown["attention"] if item["task_id"] == broken]
        assert (item["kind"], item["action"]) == ("unreadable_row", None)
        assert item["command"].startswith("sqlite3 ")
    page.get("charts")
    page.get("stale")
    assert page.get(f"tasks/{sound}")["title"] == "sound"
    assert f"{column} is " in page.get(f"tasks/{broken}", 503)["detail"]
    workshop.board.writer.execute("DELETE FROM tasks WHERE id = ?", (broken,))


@pytest.mark.parametrize("statement", SPOILT_HISTORY)
@pytest.mark.parametrize("status", ["ready", "blocked"])
def test_a_history_that_cannot_be_read_hides_nothing(
    page: Page, workshop: Workshop, status: str, statement: str
) -> None:
    task_id = add(workshop, title="old")
    if status == "blocked":
        workshop.board.block(task_id, "which one?", None, "anna")
    workshop.board.writer.execute(statement, (task_id,))
    shown = page.get("overview")
    assert shown["counts"][status] == 1
    page.get("charts")
    assert page.get(f"tasks/{task_id}")["title"] == "old"


def test_what_running_work_says_of_itself_may_be_anything(page: Page, workshop: Workshop) -> None:
    start(workshop, title="dig")
    workshop.board.writer.execute("UPDATE kp_runs SET progress_at = 'x', repeated_calls = X'FF'")
    (row,) = page.get("overview")["running"]
    assert (row["title"], row["progress_at"], row["loops"]) == ("dig", None, 0)


def test_a_mistake_of_ours_is_one_sentence(page: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError("by\nzero")

    monkeypatch.setattr(plugin_api.charts, "draw", fail)
    assert "(ZeroDivisionError: by zero)" in page.get("charts", 500)["detail"]
    assert page.get("overview")["board"] == "default", "and what comes next is answered"


@pytest.mark.parametrize(
    ("path", "status", "said"),
    [
        ("overview?board=nosuch", 404, "nosuch"), ("overview?board=No%20Board!", 400, "board"),
        ("tasks/t_none", 404, "t_none"), ("stale?board=nosuch", 404, "nosuch"), ("charts?board=nosuch", 404, "nosuch"),
    ],
)  # fmt: skip
def test_what_is_not_there(page: Page, path: str, status: int, said: str) -> None:
    detail = page.get(path, status)["detail"]
    assert said in detail
    assert "\n" not in detail


def test_a_damaged_board_is_named(page: Page, workshop: Workshop) -> None:
    other = workshop.home / "kanban" / "boards" / "broken" / "kanban.db"
    other.parent.mkdir(parents=True)
    other.write_bytes(b"this is no database, and long enough to be taken for one" * 20)
    assert str(other) in page.get("overview?board=broken", 503)["detail"]
    assert page.get("overview")["board"] == "default"


@contextmanager
def locked(location: BoardLocation, how: str) -> Iterator[None]:
    other = sqlite3.connect(location.database, isolation_level=None)
    if how == "EXCLUSIVE":
        other.execute("PRAGMA journal_mode=DELETE")  # as on a network file system: a writer shuts readers out
    other.execute(f"BEGIN {how}")
    try:
        yield
    finally:
        other.execute("ROLLBACK")
        other.close()


def test_who_looks_does_not_wait_long_for_a_locked_board(page: Page, workshop: Workshop) -> None:
    other = locations.locate("other")
    create_board(other)
    add(workshop, title="old")
    waits = [desk._busy for desk in (plugin_api.LOOKING, plugin_api.DOING)]
    assert max(waits) <= 5_000, "milliseconds: a person waits"
    with locked(other, "EXCLUSIVE"):
        assert "is locked by another process" in page.get("overview?board=other", 503)["detail"]
        assert page.get("overview")["counts"]["ready"] == 1
        assert page.get("boards")["boards"] == ["default", "other"]
    assert page.get("overview?board=other")["board"] == "other"


def test_a_deed_that_waits_holds_up_nobody_who_looks(page: Page, workshop: Workshop) -> None:
    task_id = add(workshop, initial_status="blocked", created_by="anna")
    shown = page.get("overview")
    (item,) = [item for item in shown["attention"] if item["task_id"] == task_id]
    with locked(place_of(workshop.database), "IMMEDIATE"), ThreadPoolExecutor(1) as aside:
        pressed = aside.submit(page.press, shown, item, 503)
        assert page.get("overview")["counts"]["blocked"] == 1
        assert not pressed.done()
        assert "is locked by another process" in pressed.result()["detail"]
    assert workshop.board.task(task_id).status == "blocked"


@pytest.mark.parametrize("entry", ["lease_second: 5", "max_starts_per_hour: many"])
def test_a_slip_in_the_settings_hides_no_board_and_is_told(page: Page, workshop: Workshop, entry: str) -> None:
    add(workshop, title="old")
    (workshop.home / "config.yaml").write_text(f"plugins: {{entries: {{hermes-kanban: {{{entry}}}}}}}\n")
    shown = page.get("overview")
    assert shown["counts"]["ready"] == 1
    assert any(entry.partition(":")[0] in note["sentence"] for note in shown["notes"])


def test_a_command_for_another_board_names_it(page: Page, workshop: Workshop) -> None:
    other = locations.locate("other")
    create_board(other)
    for location in (place_of(workshop.database), other):
        workshop.runtime.open(location).create_task(title="lost", assignee="nobody-there")
    shown = page.get("overview?board=other")
    commands = {item["kind"]: item["command"] for item in shown["attention"]}
    assert commands["assignee_profile_not_found"].startswith("hermes kanban --board other assign ")
    assert shown["program"] == "hermes-kanban --board other"
    shown = page.get("overview")
    commands = {item["kind"]: item["command"] for item in shown["attention"]}
    assert commands["assignee_profile_not_found"].startswith("hermes kanban assign ")
    assert shown["program"] == "hermes-kanban"


def test_what_other_plugins_find_is_shown_too(page: Page, workshop: Workshop) -> None:
    class Exorcist:
        @hookimpl
        def kanban_diagnose(self, facts: BoardFacts) -> list[Finding]:
            about = {"kind": "outage", "level": Level.ERROR, "sentence": "a ghost is on the board", "fix": None}
            return [Finding(**about), Finding(**about | {"kind": "ghost", "task_id": "t_none"})]

    with plugin_api.LOOKING.taken() as runtime:
        runtime.manager.register(Exorcist(), "exorcist")
    reasons = [item["reason"] for item in page.get("overview")["attention"]]
    assert reasons.count("a ghost is on the board") == 2


def test_an_archived_board_says_so_and_is_in_the_list(page: Page, workshop: Workshop) -> None:
    other = locations.locate("other")
    create_board(other)
    assert page.get("overview?board=other")["archived"] is False
    other.metadata.write_text('{"archived": true}')
    shown = page.get("overview?board=other")
    assert (shown["archived"], shown["boards"]) == (True, ["default", "other"])
    assert page.get("overview")["boards"] == ["default"]


@pytest.mark.parametrize("left_out", ["board", "verb", "task_id", "seen", "as_of"])
def test_a_press_says_all_that_was_shown(page: Page, workshop: Workshop, left_out: str) -> None:
    task_id = add(workshop, initial_status="blocked", created_by="anna")
    seen = {"status": "blocked", "run_id": 0, "lock": ""}
    body = {"board": "default", "verb": "unblock", "task_id": task_id, "seen": seen, "as_of": 10}
    page.post("act", {name: value for name, value in body.items() if name != left_out}, 422)
    assert workshop.board.task(task_id).status == "blocked"
    page.post("act", body)


@pytest.mark.parametrize(
    "body", [{"board": "default"}, {"board": "default", "shown": []}, {"board": "default", "shown": [{"task_id": "x"}]}]
)
def test_a_bulk_press_says_what_was_shown(page: Page, body: dict[str, Any]) -> None:
    page.post("reclaim-stale", body, 422)


def test_an_unknown_verb(page: Page, workshop: Workshop) -> None:
    seen = {"status": "ready", "run_id": 0, "lock": ""}
    body = {"board": "default", "verb": "delete", "task_id": add(workshop), "seen": seen, "as_of": 10}
    assert "unknown action 'delete'" in page.post("act", body, 400)["detail"]


def test_a_look_changes_not_a_byte(page: Page, workshop: Workshop) -> None:
    task_id = start(workshop)
    workshop.board.block(task_id, "wait", None, "anna")
    workshop.ended(workshop.board.runs(task_id)[0].id)
    before = workshop.board.data_version()
    for path in ("overview", "charts", "stale", f"tasks/{task_id}"):
        page.get(path)
    assert workshop.board.data_version() == before


def test_a_board_that_we_never_wrote_to_is_shown(page: Page, workshop: Workshop) -> None:
    task_id = add(workshop, title="old")
    for table in ("kp_runs", "kp_outages", "kp_completions", "kp_flags", "kp_failures", "kp_dispatchers"):
        workshop.board.writer.execute(f"DROP TABLE IF EXISTS {table}")
    assert page.get("overview")["counts"]["ready"] == 1
    assert page.get(f"tasks/{task_id}")["title"] == "old"
    assert page.get("charts")["day"][-1]["completed"] == 0


def test_a_paused_board_says_so(page: Page, workshop: Workshop) -> None:
    from hermes_kanban_plugin.store import flags

    flags.put(workshop.board.writer, flags.PAUSED, "holidays", "anna", workshop.board.clock.now())
    pause = page.get("overview")["pause"]
    assert (pause["actor"], pause["value"]) == ("anna", "holidays")


def test_the_page_loads_nothing_from_elsewhere() -> None:
    folder = Path(plugin_api.__file__).parent
    for path in (folder / "page").iterdir():
        text = path.read_text(encoding="utf-8")
        for forbidden in ("http://", "https://", "innerHTML", "dangerouslySetInnerHTML", "eval(", "@import", "url("):
            assert forbidden not in text, f"{path.name}: {forbidden}"
