"""What the tests of the dashboard's page share: a board to spoil, buttons to press, the real dashboard, a browser."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from hermes_kanban_plugin import locations
from hermes_kanban_plugin.board import Board, create_board
from hermes_kanban_plugin.dashboard.actions import Press
from hermes_kanban_plugin.dispatch.tick import tick
from hermes_kanban_plugin.installation import tab
from hermes_kanban_plugin.installation.homes import Home
from hermes_kanban_plugin.manager import Manager
from hermes_kanban_plugin.models import HeldRun
from hermes_kanban_plugin.runtime import Runtime
from hermes_kanban_plugin.store.moves import Seen
from hermes_kanban_plugin.testing import FakeClock, violations
from tests.conftest import lives, wait_for
from tests.dashboard.browser import CHROMIUM, DRIVER, MISSING, Browser, free_port
from tests.diagnosis.conftest import Scene

START_SECONDS = 60.0


@pytest.fixture
def scene(board: Board, clock: FakeClock) -> Scene:
    """A board whose processes, profiles and plugins are what the test says."""
    return Scene(board, clock)


def press_of(board: Board, verb: str, task_id: str) -> Press:
    """Return the press of a button that is drawn now."""
    task = board.task(task_id)
    seen = Seen(task.status, task.current_run_id or 0, task.claim_lock or "")
    as_of = board.reader.execute("SELECT COALESCE(max(id), 0) FROM task_events").fetchone()[0]
    return Press(verb, task_id, seen, as_of)


def works(board: Board, task_id: str) -> HeldRun:
    """Return the run that holds a task, once its worker is there."""

    def look() -> HeldRun | None:
        run = board.held_run(task_id)
        return run if run is not None and run.worker_pid else None

    return wait_for(look, f"a worker for {task_id}")


def lose(runtime: Runtime, board: Board, *task_ids: str) -> list[HeldRun]:
    """Kill the workers of tasks together with their supervisors, as the loss of the machine would."""
    runs = [works(board, task_id) for task_id in task_ids]
    for pid in [pid for run in runs for pid in (run.supervisor_pid, run.worker_pid)]:
        assert pid is not None
        assert pid > 1
        with suppress(ProcessLookupError):  # a worker may have followed its supervisor already
            os.kill(pid, signal.SIGKILL)
    for launched in runtime.launched:
        if launched.lease.task_id in task_ids:
            launched._process.wait(10)
    for run in runs:
        wait_for(lambda pid=run.worker_pid or 0: not lives(pid), "the worker to be gone")
    return runs


# --- the real dashboard --------------------------------------------------------------------------------------------


class Dashboard:
    """``hermes dashboard`` on loopback, in a home of its own with our plugin enabled and its page linked."""

    def __init__(self, folder: Path, lanes: dict[str, str] | None = None, **kanban: Any) -> None:
        self.folder = folder
        self.home = folder / "home"
        self.port = free_port()
        self.base = f"http://127.0.0.1:{self.port}"
        lanes = lanes or {"sleeper": "echo the worker has begun; exec sleep 600"}
        commands = {name: {"command": ["sh", "-c", line]} for name, line in lanes.items()}
        ours = {"lanes": commands, "terminate_grace_seconds": 1, "farewell_seconds": 1}
        document = {"kanban": kanban, "plugins": {"enabled": ["hermes-kanban"], "entries": {"hermes-kanban": ours}}}
        self.home.mkdir()
        (self.home / "config.yaml").write_text(json.dumps(document))
        link = tab.place_in(Home("default", self.home))
        link.parent.mkdir(parents=True)
        link.symlink_to(tab.PAGE)
        self._log = (folder / "dashboard.log").open("ab")
        command = [sys.executable, "-m", "hermes_cli.main", "dashboard", "--port", str(self.port)]
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("HERMES", "_HERMES"))}
        self._process = subprocess.Popen(
            [*command, "--no-open", "--skip-build"], cwd=folder, stdin=subprocess.DEVNULL, stdout=self._log,
            stderr=self._log, start_new_session=True,
            env=kept | {
                "HOME": str(folder), "HERMES_HOME": str(self.home), "HERMES_MANAGED_DIR": str(folder / "managed"),
                "HERMES_DISABLE_LAZY_INSTALLS": "1",
            },
        )  # fmt: skip
        try:
            self.token = wait_for(self._find_token, "the dashboard to answer", START_SECONDS)
        except BaseException:
            self.close()
            raise

    def _find_token(self) -> str | None:
        assert self._process.poll() is None, (self.folder / "dashboard.log").read_text()
        try:
            with urllib.request.urlopen(self.base, timeout=5) as answer:
                found = re.search(r'__HERMES_SESSION_TOKEN__\s*=\s*"([^"]+)"', answer.read().decode())
        except OSError:
            return None
        return found[1] if found else None

    def request(self, method: str, path: str, body: Any = None, token: str | None = None) -> tuple[int, str]:
        """Ask the server; returns status and text."""
        headers = {"Content-Type": "application/json"} | ({"X-Hermes-Session-Token": token} if token else {})
        data = None if body is None else json.dumps(body).encode()
        asked = urllib.request.Request(f"{self.base}{path}", data, headers, method=method)
        try:
            with urllib.request.urlopen(asked, timeout=30) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as refused:
            with refused:
                return refused.code, refused.read().decode()

    @contextmanager
    def hanging(self) -> Iterator[None]:
        """Let the server neither answer nor refuse for a while."""
        os.kill(self._process.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(self._process.pid, signal.SIGCONT)

    def use_theme(self, name: str) -> None:
        """Choose a theme, as its menu does."""
        assert self.request("PUT", "/api/dashboard/theme", {"name": name}, self.token)[0] == 200

    def close(self) -> None:
        """End the server; with a browser connected it does not heed SIGTERM (live-host, section 7)."""
        for number in (signal.SIGINT, signal.SIGKILL):
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, number)
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(5)
                break
        self._log.close()


@pytest.fixture(scope="module")
def dashboard(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dashboard]:
    """The real dashboard, one for all tests of a module; each test has a board of its own in it."""
    served = Dashboard(tmp_path_factory.mktemp("dashboard"))
    yield served
    served.close()


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """A real browser, one for all tests of a module."""
    if not (CHROMIUM and DRIVER):
        pytest.skip(MISSING)
    window = Browser(tmp_path_factory.mktemp("browser"))
    yield window
    window.close()


class Desk:
    """A board of the real dashboard, and the page that shows it. Nothing dispatches it but the test itself."""

    def __init__(self, dashboard: Dashboard, browser: Browser, slug: str) -> None:
        self.dashboard, self.browser, self.slug = dashboard, browser, slug
        self.location = locations.locate(slug)
        create_board(self.location)
        self.runtime = Runtime(dashboard.home, manager=Manager(discover=False))

    @property
    def board(self) -> Board:
        return self.runtime.open(self.location)

    def open(self, width: int = 1280, height: int = 900) -> None:
        """Show the board and wait until all of it is drawn."""
        self.browser.resize(width, height)
        self.browser.open(f"{self.dashboard.base}/kanban-health?board={self.slug}")
        self.browser.wait_for(lambda: self.browser.count(".hk-chart svg") == 4, "the page to be drawn")

    def add(self, title: str = "a task", **fields: Any) -> str:
        return self.board.create_task(**{"title": title, "assignee": "sleeper", **fields})

    def start(self, *titles: str) -> list[str]:
        """Add tasks and start a worker for each; returns their ids."""
        ids = [self.add(title) for title in titles]
        tick(self.board, self.runtime)
        for task_id in ids:
            works(self.board, task_id)
        return ids

    def kill(self, *task_ids: str) -> None:
        """Kill the workers of tasks together with their supervisors."""
        lose(self.runtime, self.board, *task_ids)

    def events(self, task_id: str, kind: str) -> list[dict[str, Any]]:
        """Return the payloads of what happened to a task."""
        return [event.payload or {} for event in self.board.events(task_id) if event.kind == kind]

    def close(self) -> None:
        """End every worker of this board."""
        for launched in self.runtime.launched:
            if launched.poll() is None:
                launched._process.terminate()
        for launched in self.runtime.launched:
            launched._process.wait(30)
        self.runtime.close()


@pytest.fixture
def desk(
    dashboard: Dashboard, browser: Browser, home: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> Iterator[Desk]:
    """A new board in the real dashboard."""
    monkeypatch.setenv("HERMES_HOME", str(dashboard.home))
    slug = re.sub(r"[^a-z0-9]+", "-", request.node.name.lower()).strip("-")[:40].strip("-")
    made = Desk(dashboard, browser, slug)
    dashboard.use_theme("default")
    yield made
    made.close()
    assert violations(made.location.database) == []


@pytest.fixture
def without_news(browser: Browser) -> Iterator[Callable[[bool], None]]:
    """Cut the page off from what happens on the board, so that it keeps showing what it has; False lets it in again."""

    def cut(off: bool) -> None:
        browser.devtools("Network.enable")
        browser.devtools("Network.setBlockedURLs", {"urls": ["*/overview*"] if off else []})

    yield cut
    cut(False)
