"""The page in a real browser, against the real ``hermes dashboard`` and real boards with real workers."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from hermes_kanban_plugin import locations
from hermes_kanban_plugin.dispatch.tick import tick
from hermes_kanban_plugin.testing import claim_one
from tests.conftest import lives, wait_for

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.dashboard.conftest import Dashboard, Desk

pytestmark = [pytest.mark.host, pytest.mark.xdist_group("dashboard"), pytest.mark.timeout(180)]

NEWS = ".hk-news[role=status]"
PHONE = (360, 740)
HOSTILE = "<script>window.hacked = 1</script><img src=x onerror='window.hacked = 1'>"


def titles(desk: Desk) -> list[str]:
    """Return what stands in the list of what needs a person."""
    return list(desk.browser.run("return [...document.querySelectorAll('.hk-item .hk-link')].map((e) => e.innerText)"))


def sees(desk: Desk, *expected: str) -> list[str]:
    """Wait until exactly these tasks need a person."""

    def look() -> list[str] | None:
        found = titles(desk)
        return found if sorted(found) == sorted(expected) else None

    return desk.browser.wait_for(lambda: look() is not None and [*expected, "found"], f"the list to be {expected}")


# --- stale claims --------------------------------------------------------------------------------------------------


def test_a_killed_worker_is_shown_as_stale_and_one_click_takes_its_task_back(desk: Desk) -> None:
    (lost,) = desk.start("index the archive")
    desk.open()
    sees(desk)
    desk.kill(lost)
    sees(desk, "index the archive")
    shown = desk.browser.text(".hk-item[data-level=error]")
    assert "its supervisor and its worker died" in shown
    assert "dead (pid" in shown
    desk.browser.click("button", "Reclaim: index the archive")
    desk.browser.wait_text(NEWS, f"{lost} was reclaimed and is ready")
    sees(desk)
    task = desk.board.task(lost)
    assert (task.status, task.current_run_id, task.claim_lock) == ("ready", None, None)
    (event,) = desk.events(lost, "reclaimed")
    assert event["actor"] == "dashboard"
    assert desk.board.runs(lost)[0].outcome == "reclaimed"
    # The page did nothing behind the dispatcher's back: its next tick starts the task again.
    assert [started.task_id for started in tick(desk.board, desk.runtime).started] == [lost]


def test_all_stale_tasks_are_taken_back_after_a_preview(desk: Desk) -> None:
    one, two, alive = desk.start("copy the films", "copy the songs", "copy the books")
    desk.kill(one, two)
    desk.open()
    sees(desk, "copy the films", "copy the songs")
    desk.browser.click("button", "Reclaim all stale (2)")
    preview = desk.browser.wait_text("dialog", "Reclaim 2 stale tasks")
    assert "copy the films" in preview
    assert "copy the songs" in preview
    assert "copy the books" not in preview
    assert "its supervisor and its worker died" in preview
    assert desk.board.task(one).status == "running", "a preview does nothing"
    desk.browser.click("dialog button", "Reclaim 2 tasks")
    desk.browser.wait_text(NEWS, "2 tasks reclaimed.")
    sees(desk)
    assert [desk.board.task(task_id).status for task_id in (one, two, alive)] == ["ready", "ready", "running"]
    assert [desk.events(task_id, "reclaimed")[0]["actor"] for task_id in (one, two)] == ["dashboard", "dashboard"]


def test_what_became_stale_after_the_preview_is_not_taken(desk: Desk) -> None:
    one, two, late = desk.start("paint the door", "paint the gate", "paint the fence")
    desk.kill(one, two)
    desk.open()
    desk.browser.wait_for(lambda: desk.browser.element("button", "Reclaim all stale (2)"), "the bulk button")
    desk.browser.click("button", "Reclaim all stale")
    desk.browser.wait_text("dialog", "paint the gate")
    desk.kill(late)
    task = desk.board.task(one)
    desk.board.reclaim(task, None, "somebody else")
    desk.browser.click("dialog button", "Reclaim 2 tasks")
    desk.browser.wait_text(NEWS, "1 task reclaimed. 1 changed meanwhile and was left alone.")
    assert [desk.board.task(task_id).status for task_id in (one, two, late)] == ["ready", "ready", "running"]
    assert [event["actor"] for event in desk.events(one, "reclaimed")] == ["somebody else"]
    desk.board.reclaim(desk.board.task(late), None, "the test")


def test_a_row_that_changed_before_the_click_is_left_alone(desk: Desk, without_news: Callable[[bool], None]) -> None:
    (lost,) = desk.start("sweep the yard")
    desk.kill(lost)
    desk.open()
    sees(desk, "sweep the yard")
    without_news(True)
    tick(desk.board, desk.runtime)  # the dispatcher comes back: it rescues the task and starts it anew
    again = desk.board.task(lost).current_run_id
    assert again is not None
    desk.browser.click("button", "Reclaim: sweep the yard")
    desk.browser.wait_text(NEWS, "It changed meanwhile, look again. Nothing was done.")
    assert desk.board.task(lost).current_run_id == again
    assert [event.get("actor") for event in desk.events(lost, "reclaimed")] == [None]
    without_news(False)
    sees(desk)


def test_a_gate_that_was_closed_anew_is_not_opened_by_an_old_button(
    desk: Desk, without_news: Callable[[bool], None]
) -> None:
    gated = desk.add("buy a boat", initial_status="blocked", created_by="anna")
    desk.open()
    sees(desk, "buy a boat")
    without_news(True)
    desk.board.unblock(gated, "anna")
    desk.board.block(gated, "it is too dear now", None, "ben")
    desk.browser.click("button", "Unblock: buy a boat")
    desk.browser.wait_text(NEWS, "It changed meanwhile")
    assert desk.board.task(gated).status == "blocked"
    without_news(False)
    desk.browser.wait_text(".hk-reason", "it is too dear now")
    desk.browser.click("button", "Unblock: buy a boat")
    desk.browser.wait_text(NEWS, f"{gated} was unblocked and is ready")
    assert desk.events(gated, "unblocked")[-1]["actor"] == "dashboard"


# --- the other parts -----------------------------------------------------------------------------------------------


def test_stop_asks_first_then_ends_the_worker_and_blocks_the_task(desk: Desk) -> None:
    (busy,) = desk.start("count the stars")
    run = desk.board.held_run(busy)
    assert run is not None
    desk.open()
    row = desk.browser.text(".hk-table tbody tr")
    assert f"alive, pid {run.worker_pid}" in row
    assert "MB" in row
    desk.browser.click("button", "Stop: count the stars")
    desk.browser.wait_text("dialog", "stays blocked until you unblock it")
    desk.browser.click("dialog button", "Cancel")
    desk.browser.wait_for(lambda: desk.browser.count("dialog") == 0, "the question to go")
    assert desk.board.task(busy).status == "running"
    desk.browser.click("button", "Stop: count the stars")
    desk.browser.click("dialog button", "Stop it")
    desk.browser.wait_text(NEWS, f"{busy} was stopped and is blocked")
    assert desk.board.task(busy).status == "blocked"
    worker = run.worker_pid
    assert worker is not None
    wait_for(lambda: not lives(worker), "the worker to end")
    sees(desk, "count the stars")


def test_stop_in_the_list_asks_first_too(desk: Desk) -> None:
    """A task that is blocked and opened again and again, and is ready now, has the button in the list."""
    round_and_round = desk.add("ask the oracle")
    desk.board.block(round_and_round, "which question?", "needs_input", "anna")
    desk.board.unblock(round_and_round, "anna")
    happened = "INSERT INTO task_events (task_id, kind, created_at) VALUES (?, ?, ?)"
    for kind in ("blocked", "unblocked") * 4:
        desk.board.writer.execute(happened, [round_and_round, kind, desk.board.clock.now()])
    desk.open()
    sees(desk, "ask the oracle")
    desk.browser.click("button", "Stop: ask the oracle")
    assert "ask the oracle" in desk.browser.wait_text("dialog", "stays blocked until you unblock it")
    assert desk.board.task(round_and_round).status == "ready"
    desk.browser.click("dialog button", "Stop it")
    desk.browser.wait_text(NEWS, f"{round_and_round} was stopped and is blocked")
    assert desk.board.task(round_and_round).status == "blocked"


def test_what_waits_for_its_time_can_be_hurried_while_nobody_dispatches(desk: Desk) -> None:
    limited = desk.add("call the provider")
    lease = claim_one(desk.board, limited)
    desk.board.reclaim(desk.board.task(limited), None, "anna")
    waits = "UPDATE kp_runs SET cause = 'rate_limited', retry_at = ? WHERE run_id = ?"
    desk.board.writer.execute(waits, [desk.board.clock.now() + 3600, lease.run_id])
    desk.open()
    desk.browser.wait_text("#hk-waiting", "Starts when somebody dispatches")
    desk.browser.click("button", "Retry now: call the provider")
    desk.browser.wait_text(NEWS, f"{limited} does not wait any longer")
    desk.browser.wait_for(lambda: desk.browser.count("#hk-waiting") == 0, "the list to empty")
    assert [started.task_id for started in tick(desk.board, desk.runtime).started] == [limited]


def test_the_story_of_a_task_shows_its_attempts_and_its_live_output(desk: Desk) -> None:
    (task_id,) = desk.start("read the meter")
    desk.kill(task_id)
    tick(desk.board, desk.runtime)
    desk.open()
    desk.browser.click(".hk-table button", "read the meter")
    desk.browser.wait_text("dialog .hk-log", "the worker has begun")
    first, second = desk.browser.run(
        "return [...document.querySelectorAll('.hk-timeline li')].map((e) => [e.dataset.outcome, e.innerText])"
    )
    assert first[0] == "infrastructure"
    assert "rescued" in first[1]
    assert (second[0], second[1].split()[:2]) == ("running", ["#2", "running"])
    assert desk.browser.count(".hk-timeline .hk-rescue") == 1
    assert "its worker completes or blocks it" in desk.browser.text("dialog .hk-why")
    with (desk.location.logs / f"{task_id}.log").open("a") as log:
        log.write("reading 4711\napi_key=sk-abcdefghijklmnop1234\n")
    shown = desk.browser.wait_text("dialog .hk-log", "reading 4711")
    assert "sk-abcdefghijklmnop1234" not in shown
    desk.browser.press("escape")
    desk.browser.wait_for(lambda: desk.browser.count("dialog") == 0, "the dialog to close")
    assert desk.browser.focused() == "read the meter", "the focus goes back to where it was"


def test_hundreds_of_attempts_leave_the_output_in_sight(desk: Desk) -> None:
    task_id = desk.add("dig for gold", initial_status="blocked", created_by="anna")
    began = desk.board.clock.now() - 50_000
    desk.board.writer.executemany(
        "INSERT INTO task_runs (task_id, status, outcome, started_at, ended_at) VALUES (?, 'x', 'crashed', ?, ?)",
        [(task_id, began + number * 100, began + number * 100 + 40) for number in range(320)],
    )
    desk.open()
    desk.browser.click(".hk-item .hk-link", "dig for gold")
    desk.browser.wait_text("dialog", "Latest output")
    numbers = "return [...document.querySelectorAll('.hk-number')].map((e) => e.innerText)"
    assert desk.browser.run(numbers) == [f"#{number}" for number in range(313, 321)]
    desk.browser.click("dialog button", "Show 92 earlier attempts")
    desk.browser.wait_text("dialog", "220 attempts before these are left out.")
    assert desk.browser.run(numbers) == [f"#{number}" for number in range(221, 321)]


def test_only_what_can_be_typed_is_offered_for_copying(desk: Desk) -> None:
    desk.add("rest", assignee="nobody-there")
    desk.open()
    desk.browser.wait_text(".hk-list", f"hermes kanban --board {desk.slug} assign")
    commands = desk.browser.run(
        """document.querySelectorAll('details').forEach((e) => { e.open = true; });
        return [...document.querySelectorAll('.hk-command .hk-mono')].map((e) => e.innerText)"""
    )
    assert [text for text in commands if not text.startswith(("hermes ", "hermes-kanban ", "pip ", "sqlite3 "))] == []


def test_an_empty_board_says_that_all_is_well(desk: Desk) -> None:
    desk.browser.errors()  # of the tests before
    desk.open()
    page = desk.browser.text(".hk")
    assert "All is well. Nothing needs you." in page
    assert "Nothing runs, and nothing is ready to." in page
    desk.browser.click("button", "Last week")
    assert desk.browser.run("return document.querySelector('[aria-pressed=true]').innerText") == "Last week"
    assert [text for text in desk.browser.errors() if "hermes-kanban" in text] == []


def test_the_boards_own_tab_stays_as_it_is(desk: Desk, dashboard: Dashboard) -> None:
    found = json.loads(dashboard.request("GET", "/api/dashboard/plugins", None, dashboard.token)[1])
    tabs = {plugin["name"]: (plugin["source"], plugin["tab"]) for plugin in found}
    assert tabs["kanban"][0] == "bundled"
    assert tabs["kanban"][1]["path"] == "/kanban"
    assert tabs["hermes-kanban"] == ("user", {"path": "/kanban-health", "position": "after:kanban"})
    desk.open()
    links = desk.browser.run("return [...document.querySelectorAll('nav a')].map((e) => e.innerText.toLowerCase())")
    assert links.index("kanban health") == links.index("kanban") + 1


def test_hostile_text_is_shown_as_text_and_does_nothing(desk: Desk) -> None:
    gated = desk.add(HOSTILE, body=HOSTILE)
    desk.board.block(gated, HOSTILE, None, HOSTILE)
    (busy,) = desk.start(HOSTILE)
    (desk.location.logs / f"{busy}.log").write_text(f"{HOSTILE}\n")
    desk.open()
    sees(desk, HOSTILE)
    assert HOSTILE in desk.browser.text(".hk-item[data-level=warning] .hk-reason")
    desk.browser.click(".hk-table button", HOSTILE)
    desk.browser.wait_text("dialog .hk-log", HOSTILE)
    assert desk.browser.count(".hk script, .hk img, .hk iframe") == 0
    assert desk.browser.run("return typeof window.hacked") == "undefined"


def test_colours_and_unseen_characters_do_not_disguise_a_text(desk: Desk) -> None:
    gated = desk.add("pay \u202egpj.eciovni\u202c now")
    desk.board.block(gated, "a\x1b[31mb\x00\u2066c", None, "anna")
    (desk.location.logs).mkdir(parents=True, exist_ok=True)
    (desk.location.logs / f"{gated}.log").write_text("\x1b[1;32mok\x1b[0m \x1b]0;title\x07done\x07\n\u202edne\n")
    desk.open()
    sees(desk, "pay \ufffdgpj.eciovni\ufffd now")
    assert "ab\ufffd\ufffdc" in desk.browser.text(".hk-item .hk-reason")
    assert desk.browser.element("button", "Unblock: pay \ufffdgpj.eciovni\ufffd now")
    desk.browser.click(".hk-item .hk-link")
    assert desk.browser.wait_text("dialog .hk-log", "done") == "ok done\ufffd\n\ufffddne"


def test_without_the_token_there_is_no_data_and_no_deed(desk: Desk, dashboard: Dashboard) -> None:
    task_id = desk.add("a secret plan", initial_status="blocked", created_by="anna")
    seen = {"status": "blocked", "run_id": 0, "lock": ""}
    act = {"board": desk.slug, "verb": "unblock", "task_id": task_id, "seen": seen, "as_of": 2**40}
    shown = {"board": desk.slug, "shown": [{"task_id": task_id, "run_id": 1}]}
    routes = [
        ("GET", f"overview?board={desk.slug}", None), ("GET", f"charts?board={desk.slug}", None),
        ("GET", "boards", None), ("GET", f"stale?board={desk.slug}", None),
        ("GET", f"tasks/{task_id}?board={desk.slug}", None),
        ("POST", "act", act), ("POST", "reclaim-stale", shown),
    ]  # fmt: skip
    for token in (None, "wrong"):
        for method, path, body in routes:
            status, text = dashboard.request(method, f"/api/plugins/hermes-kanban/{path}", body, token)
            assert status == 401, path
            assert "secret plan" not in text
    assert desk.board.task(task_id).status == "blocked"
    assert dashboard.request("POST", "/api/plugins/hermes-kanban/act", act, dashboard.token)[0] == 200
    assert desk.board.task(task_id).status == "ready"


# --- what cannot be shown -------------------------------------------------------------------------------------------


def choose_board(desk: Desk, slug: str) -> None:
    """Choose a board in the list, as a person would by its name."""
    desk.browser.run(
        """const list = document.querySelector('.hk-board select');
        Object.getOwnPropertyDescriptor(HTMLSelectElement.prototype, 'value').set.call(list, arguments[0]);
        list.dispatchEvent(new Event('change', {bubbles: true}))""",
        slug,
    )


def test_a_board_that_cannot_be_read_is_not_shown_as_another_and_leads_back(desk: Desk) -> None:
    desk.add("paint the boat", initial_status="blocked", created_by="anna")
    broken = locations.locate("broken-board").database
    broken.parent.mkdir(parents=True, exist_ok=True)
    broken.write_bytes(b"this is no database, and long enough to be taken for one" * 20)
    desk.open()
    sees(desk, "paint the boat")
    choose_board(desk, "broken-board")
    desk.browser.wait_text("[role=alert]", "is not an SQLite database")
    assert titles(desk) == []
    assert desk.browser.count(".hk-facts, .hk-chart") == 0
    chosen = "const one = document.querySelector('.hk-board select'); return one && one.value"
    desk.browser.wait_for(lambda: desk.browser.run(chosen) == "broken-board", "the choice to stay")
    choose_board(desk, desk.slug)
    sees(desk, "paint the boat")
    desk.browser.open(f"{desk.dashboard.base}/kanban-health?board=broken-board")
    desk.browser.wait_text("[role=alert]", "is not an SQLite database")
    desk.browser.wait_for(lambda: desk.browser.count(".hk-board select"), "the way to the others")
    choose_board(desk, desk.slug)
    sees(desk, "paint the boat")
    broken.unlink()


def test_a_dashboard_that_hangs_is_not_taken_for_one_that_answers(desk: Desk) -> None:
    desk.add("feed the fish", initial_status="blocked", created_by="anna")
    desk.open()
    sees(desk, "feed the fish")
    desk.browser.run("const real = AbortSignal.timeout; AbortSignal.timeout = () => real.call(AbortSignal, 300);")
    with desk.dashboard.hanging():
        desk.browser.wait_text("[role=alert]", "This is what was last seen. The dashboard does not answer.")
        assert titles(desk) == ["feed the fish"]
        desk.browser.run("AbortSignal.timeout = () => new AbortController().signal;")
    desk.browser.wait_for(lambda: desk.browser.count("[role=alert]") == 0, "the page to be up to date")


def test_nothing_is_asked_while_the_tab_is_hidden(desk: Desk) -> None:
    desk.open()
    desk.browser.run(
        """window.hides = true; window.waits = [];
        Object.defineProperty(document, 'hidden', {get: () => window.hides, configurable: true});
        const later = window.setTimeout;
        window.setTimeout = (deed, delay, ...more) => { window.waits.push(delay); return later(deed, delay, ...more); };
        const turn = (hidden) => { window.hides = hidden; document.dispatchEvent(new Event('visibilitychange')); };
        performance.clearResourceTimings(); turn(false); window.waits.length = 0; turn(true);"""
    )
    answered = """return performance.getEntriesByType('resource').filter((e) => e.name.includes('/overview')).length"""
    desk.browser.wait_for(lambda: desk.browser.run(answered), "the question under way to be answered")
    asks_again = "return window.waits.filter((delay) => delay >= 2000 && delay % 2000 === 0)"
    assert desk.browser.run(asks_again) == []
    task_id = desk.add("wake me", initial_status="blocked", created_by="anna")
    desk.browser.run("window.hides = false; document.dispatchEvent(new Event('visibilitychange'))")
    sees(desk, "wake me")
    desk.board.unblock(task_id, "anna")
    sees(desk)


# --- how it looks --------------------------------------------------------------------------------------------------


def test_a_phone_shows_all_of_it_without_sideways_scrolling(desk: Desk) -> None:
    long = "reorganise-the-warehouse-" * 6
    one, two, _ = desk.start(long, "sort the shelves", "water the plants")
    desk.kill(one, two)
    gated = desk.add("ask for the key")
    desk.board.block(gated, "nobody-knows-where-it-is-" * 8, None, "anna")
    desk.open(*PHONE)
    sees(desk, long, "sort the shelves", "ask for the key")
    wide = "return document.documentElement.scrollWidth - window.innerWidth"
    outside = """const width = window.innerWidth;
        return [...document.querySelectorAll('.hk *')].filter((e) => e.checkVisibility()
            && e.getBoundingClientRect().right > width + 1).map((e) => e.className || e.tagName)"""
    assert desk.browser.run(wide) <= 0
    assert desk.browser.run(outside) == []
    desk.browser.resize(1280, 900)
    lines = "return [...document.querySelectorAll('.hk-table td > span:first-child')].map((e) => e.offsetHeight)"
    assert max(desk.browser.run(lines)) < 30, "a long title leaves the other columns their width"
    desk.browser.resize(*PHONE)
    desk.browser.click("button", "Reclaim all stale")
    desk.browser.wait_text("dialog", "sort the shelves")
    assert desk.browser.run(outside) == []
    desk.browser.click("dialog button", "Reclaim 2 tasks")
    sees(desk, "ask for the key")
    desk.browser.click(".hk-table button", "water the plants")
    desk.browser.wait_text("dialog", "Latest output")
    assert desk.browser.run(outside) == []


# The ratio of brightness between a text and what it stands on, by the rule of WCAG 2; grounds lie over each other.
CONTRASTS = """
const canvas = Object.assign(document.createElement('canvas'), {width: 1, height: 1});
const pen = canvas.getContext('2d', {willReadFrequently: true});
const rgba = (color) => { pen.clearRect(0, 0, 1, 1); pen.fillStyle = color; pen.fillRect(0, 0, 1, 1);
    const [r, g, b, a] = pen.getImageData(0, 0, 1, 1).data; return [r, g, b, a / 255]; };
const over = (top, under) => [0, 1, 2].map((i) => top[i] * top[3] + under[i] * (1 - top[3])).concat(1);
const ground = (e) => e ? over(rgba(getComputedStyle(e).backgroundColor), ground(e.parentElement)) : [255, 255, 255, 1];
const light = (c) => { const [r, g, b] = c.slice(0, 3).map((v) => v / 255)
    .map((v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
const shown = [...document.querySelectorAll(arguments[0])].filter((e) => e.checkVisibility() && e.innerText.trim());
return shown.map((e) => {
    const under = ground(e), text = over(rgba(getComputedStyle(e).color), under);
    const [low, high] = [light(under), light(text)].sort((a, b) => a - b);
    return [(high + 0.05) / (low + 0.05), light(under), e.className || e.tagName, e.innerText.slice(0, 30)]; });
"""


@pytest.mark.parametrize(("theme", "dark"), [("default", True), ("midnight", True), ("nous-blue", False)])
def test_every_word_can_be_read_on_dark_and_on_light_ground(desk: Desk, theme: str, dark: bool) -> None:
    one, two, _ = desk.start("mow the lawn", "trim the hedge", "feed the cat")
    desk.kill(one, two)
    desk.dashboard.use_theme(theme)
    desk.open()
    sees(desk, "mow the lawn", "trim the hedge")
    words = desk.browser.run(CONTRASTS, ".hk :is(p, dt, dd, th, td, h2, button, summary, span, strong)")
    assert len(words) > 40
    assert [(round(ratio, 2), name, text) for ratio, _, name, text in words if ratio < 4.5] == []
    assert {under < 0.2 for _, under, name, _ in words if name == "hk-reason"} == {dark}


def test_the_keyboard_alone_is_enough(desk: Desk) -> None:
    (lost,) = desk.start("wind the clock")
    desk.kill(lost)
    desk.open()
    sees(desk, "wind the clock")

    def tab_to(name: str) -> None:
        for _ in range(80):
            desk.browser.press("tab")
            if desk.browser.focused().startswith(name):
                return
        raise AssertionError(f"no way to {name!r} by the tab key")

    tab_to("wind the clock")
    desk.browser.press("enter")
    desk.browser.wait_text("dialog", "Latest output")
    desk.browser.press("escape")
    desk.browser.wait_for(lambda: desk.browser.count("dialog") == 0, "the dialog to close")
    tab_to("Reclaim: wind the clock")
    outline = desk.browser.run("return getComputedStyle(document.activeElement).outlineStyle")
    assert outline == "solid", "it is seen where the focus is"
    desk.browser.press("enter")
    desk.browser.wait_text(NEWS, f"{lost} was reclaimed")
    sees(desk)
    desk.browser.wait_for(lambda: desk.browser.focused() == "Needs you", "the focus to stay near the list")


def test_the_focus_stays_when_somebody_else_settles_what_had_it(desk: Desk) -> None:
    first, second = (desk.add(title, initial_status="blocked", created_by="anna") for title in ("sort", "stack"))
    desk.open()
    sees(desk, "sort", "stack")
    focus = "[...document.querySelectorAll('.hk-item .hk-button')].find((e) => e.ariaLabel === arguments[0]).focus()"
    desk.browser.run(focus, "Unblock: stack")
    desk.board.unblock(first, "ben")
    sees(desk, "stack")
    assert desk.browser.focused() == "Unblock: stack"
    desk.board.unblock(second, "ben")
    sees(desk)
    desk.browser.wait_for(lambda: desk.browser.focused() == "Needs you", "the focus to stay near the list")


def test_the_output_follows_its_end_until_somebody_reads(desk: Desk) -> None:
    task_id = desk.add("talk", initial_status="blocked", created_by="anna")
    log = desk.location.logs / f"{task_id}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    log.write_text("".join(f"{number} {'word ' * 60}\n" for number in range(18)))
    desk.open(*PHONE)
    desk.browser.click(".hk-item .hk-link", "talk")
    desk.browser.wait_text("dialog .hk-log", "17 word")
    top = "return Math.round(document.querySelector('.hk-log').scrollTop)"
    assert desk.browser.run(top) > 100
    desk.browser.run("document.querySelector('.hk-log').scrollTop = 7")
    with log.open("a") as stream:
        stream.write("and one more\n")
    desk.browser.wait_text("dialog .hk-log", "and one more")
    assert desk.browser.run(top) == 7


def test_a_screen_reader_is_told_names_and_news(desk: Desk) -> None:
    (busy,) = desk.start("bake the bread")
    desk.add("choose the flour", initial_status="blocked", created_by="anna")
    desk.open()
    sees(desk, "choose the flour")
    tree = desk.browser.devtools("Accessibility.getFullAXTree")["nodes"]
    named = {(node["role"]["value"], node.get("name", {}).get("value", "")) for node in tree if "role" in node}
    for expected in (
        ("heading", "Kanban Health"), ("region", "State of the board"), ("region", "Needs you"), ("region", "Running"),
        ("button", "Unblock: choose the flour"), ("button", "Stop: bake the bread"), ("columnheader", "Lease left"),
    ):  # fmt: skip
        assert expected in named
    assert ("status", "") in {(role, name) for role, name in named if role == "status"}
    assert [name for role, name in named if role == "button" and not name] == []
    assert any(role in ("image", "img") and name.startswith("Completed: 0") for role, name in named)
    assert desk.board.task(busy).status == "running"
