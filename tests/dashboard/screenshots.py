"""``python -m tests.dashboard.screenshots``: the pictures of the page for the documentation, taken anew.

Two real dashboards on loopback with real workers: one home in trouble whose dispatcher was killed, one where all is
well. The past week on the boards is made up. Needs chromium, as the tests of the page do.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
from PIL import Image

from tests.conftest import wait_for
from tests.dashboard.browser import Browser
from tests.dashboard.conftest import Dashboard, Desk, lose, works

FOLDER = Path(__file__).resolve().parents[2] / "docs" / "screenshots"
WIDE, PHONE = (1180, 940), (375, 860)
LANES = {
    "coder": 'for module in lexer parser printer; do echo "compiling $module"; done; exec sleep 3000',
    "writer": "echo 'reading the notes of the last release'; exec sleep 3000",
    "tester": "echo 'E   AssertionError: 3 of 41 invoices are rounded the wrong way'; exit 1",
}
PAST = ("Refactor the parser", "Write the release notes", "Mend the login test", "Translate the manual")
ENDS = ("infrastructure", "infrastructure", "interrupted", "crashed", "crashed", "timed_out", "protocol_violation")
DAY = 86_400


def main() -> None:
    """Take every picture."""
    FOLDER.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="hermes-") as scratch:
        browser = Browser(Path(scratch))
        try:
            with served(Path(scratch) / "troubled") as dashboard:
                trouble(dashboard, browser)
            with served(Path(scratch) / "healthy") as dashboard:
                health(dashboard, browser)
        finally:
            browser.close()


@contextmanager
def served(folder: Path) -> Iterator[Dashboard]:
    """A dashboard; all that was started in its home is ended with it."""
    folder.mkdir()
    dashboard = Dashboard(folder, LANES, max_in_progress=6)
    os.environ["HERMES_HOME"] = str(dashboard.home)
    try:
        yield dashboard
    finally:
        dashboard.close()
        for process in psutil.process_iter(["environ"]):
            if (process.info["environ"] or {}).get("HERMES_HOME") == str(dashboard.home):
                process.kill()


def dispatch(dashboard: Dashboard) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "hermes_kanban_plugin.cli.main", "dispatcher"]
    with (dashboard.folder / "dispatcher.log").open("ab") as log:
        return subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True)


def trouble(dashboard: Dashboard, browser: Browser) -> None:
    """Take the pictures of a board whose dispatcher was killed together with two workers."""
    desk = Desk(dashboard, browser, "default")
    invent_a_week(desk, mishaps=0.22)
    busy = [
        desk.add(title, assignee=who)
        for title, who in (
            ("Refactor the payment module", "coder"), ("Write the chapter on backups", "writer"),
            ("Port the importer to the new API", "coder"), ("Draw the map of the modules", "writer"),
        )
    ]  # fmt: skip
    failing = desk.add("Check the invoices of October", assignee="tester")
    dispatcher = dispatch(dashboard)
    for task_id in busy:
        works(desk.board, task_id)
    wait_for(lambda: desk.board.task(failing).status == "blocked", "the failing task to be given up", 60)
    lose(desk.runtime, desk.board, busy[0])
    wait_for(lambda: len(desk.board.runs(busy[0])) == 2, "the rescue")
    works(desk.board, busy[0])
    dispatcher.kill()
    dispatcher.wait()
    lose(desk.runtime, desk.board, busy[0], busy[2])
    asked = desk.add("Choose a licence for the examples", assignee="writer")
    desk.board.block(asked, "MIT or Apache? Both appear in the old files.", None, "ana")
    looping = "UPDATE kp_runs SET repeated_calls = 7, progress_at = claimed_at - 340 WHERE task_id = ?"
    desk.board.writer.execute(looping, [busy[1]])
    take(desk, "troubled", "default")
    take(desk, "troubled-light", "nous-blue")
    take(desk, "troubled-phone", "default", PHONE)
    take(desk, "preview", "default", click="Reclaim all stale")
    take(desk, "task", "default", click="Refactor the payment module")
    desk.runtime.close()


def health(dashboard: Dashboard, browser: Browser) -> None:
    """Take the pictures of a board on which all goes well, and of one with nothing on it."""
    desk, empty = Desk(dashboard, browser, "default"), Desk(dashboard, browser, "side-projects")
    invent_a_week(desk, mishaps=0.03)
    titles = ("Refactor the payment module", "Port the importer to the new API", "Measure the start of the gateway")
    busy = [desk.add(title, assignee="coder") for title in titles]
    draft = desk.add("Write the chapter on backups", assignee="writer")
    for title in ("Translate the chapter on backups", "Publish the manual"):
        desk.add(title, assignee="writer", parents=[draft])
    dispatch(dashboard)
    for task_id in (*busy, draft):
        works(desk.board, task_id)
    take(desk, "healthy", "default")
    take(empty, "empty", "nous-blue")
    for one in (desk, empty):
        one.runtime.close()


def take(desk: Desk, name: str, theme: str, size: tuple[int, int] = WIDE, click: str = "") -> None:
    """Take one picture."""
    desk.dashboard.use_theme(theme)
    desk.open(*size)
    if click:
        desk.browser.click("button", click)
        desk.browser.wait_for(lambda: desk.browser.count("dialog li"), "the dialog")
    path = FOLDER / f"{name}.png"
    desk.browser.screenshot(path)
    with Image.open(path) as picture:
        picture.quantize(256).save(path, optimize=True)
    print(f"{path.name}: {path.stat().st_size // 1024} KB")


def invent_a_week(desk: Desk, mishaps: float) -> None:
    """Write a week of finished work into the history; ``mishaps`` is the share of tasks with a lost attempt."""
    chance, now, writer = random.Random(4), desk.board.clock.now(), desk.board.writer
    events: list[tuple[int, str, str, int | None]] = []
    for number in range(150):
        task_id, done = f"t_past{number:04d}", now - 3600 - int(chance.random() ** 1.4 * 7 * DAY)
        seconds = 60 + int(chance.expovariate(1 / 900))
        began = done - seconds
        writer.execute(
            "INSERT INTO tasks (id, title, status, assignee, created_at, started_at, completed_at, workspace_kind) "
            "VALUES (?, ?, 'done', 'coder', ?, ?, ?, 'scratch')",
            [task_id, f"{chance.choice(PAST)} ({number})", began - 120, began, done],
        )
        events.append((began - 120, "created", task_id, None))
        lost = chance.random() < mishaps
        for cause in [chance.choice(ENDS), "completed"] if lost else ["completed"]:
            ended = done if cause == "completed" else began + seconds // 2
            outcome = "reclaimed" if cause in ("infrastructure", "interrupted") else cause
            run_id = writer.execute(
                "INSERT INTO task_runs (task_id, profile, status, outcome, started_at, ended_at) "
                "VALUES (?, 'coder', ?, ?, ?, ?) RETURNING id",
                [task_id, outcome, outcome, began, ended],
            ).fetchone()["id"]
            writer.execute(
                "INSERT INTO kp_runs (run_id, task_id, lane, source_status, claimed_at, launch_deadline, accepted_at, "
                "ended_at, cause) VALUES (?, ?, 'command', 'ready', ?, ?, ?, ?, ?)",
                [run_id, task_id, began, began, began, ended, cause],
            )
            events += [(began, "claimed", task_id, run_id), (ended, outcome, task_id, run_id)]
            began = ended
    writer.executemany(
        "INSERT INTO task_events (created_at, kind, task_id, run_id) VALUES (?, ?, ?, ?)",
        sorted(events, key=lambda row: row[0]),
    )


if __name__ == "__main__":
    main()
