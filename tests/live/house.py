"""A Hermes home with the real host in it: its own configuration, gateway, workers and board, and a scripted model."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import psutil

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tests.live.model_server import ModelServer

Found = TypeVar("Found")

FAKE_CHAT = Path(__file__).with_name("fake_chat")
PLUGIN = "hermes-kanban"
WORKER = "worker"
COMMAND_SECONDS = 60
LOOK_SECONDS = 0.02


class CommandFailed(Exception):
    """A command ended with another status than 0; the text has its output."""


class LiveHouse:
    """One home, below a folder of its own; everything that was started in it ends with :meth:`close`.

    Args:
        folder: an empty or new folder; the Hermes home is ``home`` in it.
        server: the model that its workers and its gateway talk to.
        plugin: whether our plugin is enabled, in the root home and in every profile.
        kanban: keys of the host's ``kanban:`` section, beside a tick of 1 s and no auto-decompose.
        ours: keys of ours under ``plugins.entries.hermes-kanban``.
    """

    def __init__(
        self,
        folder: Path,
        server: ModelServer,
        *,
        plugin: bool = True,
        kanban: dict[str, Any] | None = None,
        ours: dict[str, Any] | None = None,
    ) -> None:
        self.folder = folder
        self.server = server
        self.home = folder / "home"
        self.database = self.home / "kanban.db"
        self.logs = folder / "logs"
        self.plugin, self.kanban, self.ours = plugin, kanban or {}, ours or {}
        self.chats = False
        self.started: list[subprocess.Popen[bytes]] = []
        self.scratch = folder / "tmp"
        for needed in (self.home, self.logs, self.scratch):
            needed.mkdir(parents=True)
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("HERMES", "_HERMES"))}
        self.environment = kept | {
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{kept.get('PATH', '')}",
            "HOME": str(folder),
            "TMPDIR": str(self.scratch),  # all that a supervisor of ours keeps of this
            "HERMES_HOME": str(self.home),
            "HERMES_MANAGED_DIR": str(folder / "managed"),
            "HERMES_DISABLE_LAZY_INSTALLS": "1",
            "HERMES_GATEWAY_MAX_STARTS": "0",
            "FAKECHAT_ALLOW_ALL_USERS": "true",
        }
        self.configure()
        self.add_profile(WORKER)

    # -- configuration ------------------------------------------------------------------------------------------------

    def configure(self, *, plugin: bool | None = None, kanban: dict[str, Any] | None = None, **ours: Any) -> None:
        """Write config.yaml of the root home and of every profile; what is not given stays as it was."""
        self.plugin = self.plugin if plugin is None else plugin
        self.kanban = self.kanban | (kanban or {})
        self.ours = self.ours | ours
        for home in (self.home, *self.profiles()):
            (home / "config.yaml").write_text(json.dumps(self._document(home)), encoding="utf-8")  # JSON is YAML

    def _document(self, home: Path) -> dict[str, Any]:
        enabled = [PLUGIN] if self.plugin else []
        document: dict[str, Any] = {
            "model": {
                "default": "scripted", "provider": "custom", "base_url": self.server.url,
                "api_key": "a-key-for-nobody", "context_length": 131072,
            },
            "kanban": {"dispatch_interval_seconds": 1, "auto_decompose": False, **self.kanban},
        }  # fmt: skip
        if home == self.home and self.chats:
            enabled.append("fakechat")
            document["platforms"] = {"fakechat": {"enabled": True}}
        entries = {PLUGIN: {"allow_tool_override": True, **self.ours}} if self.plugin else {}
        return {**document, "plugins": {"enabled": enabled, "disabled": [], "entries": entries}}

    def add_profile(self, name: str) -> Path:
        """Make a profile; returns its home. A folder with a config.yaml is all that the host asks for."""
        home = self.home / "profiles" / name
        home.mkdir(parents=True)
        self.configure()
        return home

    def profiles(self) -> list[Path]:
        """Return the homes of all profiles."""
        return sorted((self.home / "profiles").glob("*"))

    def open_chat(self) -> None:
        """Add the platform ``fakechat`` with the chat ``c1``; before a gateway is started."""
        shutil.copytree(FAKE_CHAT, self.home / "plugins" / "fakechat", ignore=shutil.ignore_patterns("__pycache__"))
        self.chats = True
        self.configure()

    def say(self, line: str) -> None:
        """Send a chat message to the gateway, such as ``/kanban list``."""
        inbox = self.home / "chat" / "inbox"
        inbox.parent.mkdir(exist_ok=True)
        with inbox.open("a") as written:
            written.write(line + "\n")

    def heard(self) -> list[str]:
        """Return every message that the gateway sent to the chat, oldest first."""
        sent = self.home / "chat" / "sent.jsonl"
        return [json.loads(line)["text"] for line in sent.read_text().splitlines()] if sent.exists() else []

    # -- commands and processes ---------------------------------------------------------------------------------------

    def hermes(self, *arguments: str, **environment: str) -> str:
        """Run ``hermes …`` as a process; returns its output.

        Raises:
            CommandFailed: it did not end with status 0.
        """
        return self.run([sys.executable, "-m", "hermes_cli.main", *arguments], **environment)

    def hermes_kanban(self, *arguments: str, **environment: str) -> str:
        """Run our own command as a process; returns its output.

        Raises:
            CommandFailed: it did not end with status 0.
        """
        return self.run([sys.executable, "-m", "hermes_kanban_plugin.cli.main", *arguments], **environment)

    def run(self, command: list[str], **environment: str) -> str:
        """Run a command in this home to its end; returns its output, without what it said to stderr.

        Raises:
            CommandFailed: it did not end with status 0.
        """
        done = subprocess.run(
            command, env=self.environment | environment, cwd=self.folder, stdin=subprocess.DEVNULL,
            capture_output=True, text=True, timeout=COMMAND_SECONDS, check=False,
        )  # fmt: skip
        if done.returncode:
            raise CommandFailed(f"{command} ended with {done.returncode}\n{done.stdout}{done.stderr}")
        return done.stdout

    def start(self, command: list[str], log: str, **environment: str) -> subprocess.Popen[bytes]:
        """Start a process that stays, in a session of its own; its output is appended to ``logs/<log>.log``."""
        with (self.logs / f"{log}.log").open("ab") as output:
            process = subprocess.Popen(
                command, env=self.environment | environment, cwd=self.folder, stdin=subprocess.DEVNULL,
                stdout=output, stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip
        self.started.append(process)
        return process

    def start_gateway(self, profile: str | None = None, **environment: str) -> subprocess.Popen[bytes]:
        """Start ``hermes gateway run`` and wait until it runs; its output is the log ``gateway``.

        Args:
            profile: start the gateway of this profile instead: a second one of the machine, with the same board.
            environment: variables for it alone.
        """
        home = self.home / "profiles" / profile if profile else self.home
        chosen = ["-p", profile] if profile else []
        # "hermes gateway restart" of another home kills whatever gateway does not say that it has a home of its own.
        marked = [sys.executable, "-X", f"hermes_home={home.resolve()}", "-m", "hermes_cli.main"]
        command = [*marked, *chosen, "gateway", "run"]
        process = self.start(command, "gateway", **environment)

        def look() -> bool:
            assert process.poll() is None, f"the gateway ended with {process.returncode}\n{self.said_by('gateway')}"
            return self._gateway_state(home) == (process.pid, "running")

        self.wait_until(look, "the gateway to run")
        return process

    def _gateway_state(self, home: Path) -> tuple[int, str] | None:
        try:
            state = json.loads((home / "gateway_state.json").read_text())
        except (OSError, ValueError):
            return None
        return state["pid"], state["gateway_state"]

    def start_dispatcher(self, log: str = "dispatcher") -> subprocess.Popen[bytes]:
        """Start our dispatcher without a gateway."""
        return self.start([sys.executable, "-m", "hermes_kanban_plugin.cli.main", "dispatcher"], log)

    def said_by(self, log: str) -> str:
        """Return the output of a started process, all that was started under this name."""
        path = self.logs / f"{log}.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def host_log(self, name: str = "agent", home: Path | None = None) -> str:
        """Return a log file of the host, ``logs/<name>.log`` of a home: ``agent``, ``gateway``, ``errors``."""
        path = (home or self.home) / "logs" / f"{name}.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def end(self, process: subprocess.Popen[bytes], number: int = signal.SIGTERM, seconds: float = 30) -> int:
        """Signal a process that this house started and wait for its end; returns its status."""
        process.send_signal(number)
        return process.wait(seconds)

    def processes(self) -> list[psutil.Process]:
        """Return every living process of this home, whoever started it: found by what its environment says."""
        return [process for process in psutil.process_iter() if self.owns(process)]

    def owns(self, process: psutil.Process) -> bool:
        """Say whether a process belongs to this home."""
        try:
            said = process.environ()
            if process.status() == psutil.STATUS_ZOMBIE:
                return False
        except (psutil.Error, OSError):
            return False
        return said.get("TMPDIR") == str(self.scratch) or Path(said.get("HERMES_HOME", "/")).is_relative_to(self.home)

    def kill(self, pid: int, number: int = signal.SIGKILL) -> None:
        """Send a signal to a process of this home.

        Raises:
            AssertionError: it is none of ours.
        """
        process = psutil.Process(pid)
        assert self.owns(process), f"{pid} is no process of {self.home}: {process}"
        process.send_signal(number)

    def workers(self, task_id: str) -> list[int]:
        """Return the pids of the living workers of a task: Hermes processes that were told to work on it."""
        working = [process for process in psutil.process_iter() if _works_on(process, task_id)]
        return _without_forks([process for process in working if self.owns(process)])

    def dispatchers(self) -> list[int]:
        """Return the pids of our living dispatchers in this home."""
        return _without_forks([process for process in self.processes() if "dispatcher" in _words_of(process)])

    def worker_pid(self, task_id: str) -> int | None:
        """Return the pid of the living worker of a task, or None.

        Raises:
            AssertionError: there is more than one.
        """
        pids = self.workers(task_id)
        assert len(pids) < 2, f"{task_id} has {len(pids)} workers"
        return pids[0] if pids else None

    def kill_everything(self) -> None:
        """Kill every process of this home, as the loss of the machine would, and wait until they are gone."""
        deadline = time.monotonic() + 30
        while left := self.processes():
            assert time.monotonic() < deadline, f"these would not die: {left}"
            for process in left:
                with suppress(psutil.Error):
                    process.kill()
            for child in self.started:
                child.poll()
            time.sleep(LOOK_SECONDS)

    def close(self) -> None:
        """Kill everything of this home and wait until it is gone."""
        self.kill_everything()
        for child in self.started:
            child.wait(5)

    # -- the board ----------------------------------------------------------------------------------------------------

    def create(self, title: str, body: str = "", assignee: str = WORKER, *flags: str) -> str:
        """Create a task with ``hermes kanban create``; returns its id."""
        said = self.hermes("kanban", "create", title, "--body", body, "--assignee", assignee, "--json", *flags)
        return str(json.loads(said)["id"])

    def rows(self, query: str, values: Sequence[Any] | dict[str, Any] = ()) -> list[dict[str, Any]]:
        """Read the board with nothing but SQLite, in a connection that can change nothing; [] while there is none."""
        if not self.database.exists():
            return []
        with closing(self.reader()) as connection:
            return [dict(row) for row in connection.execute(query, values)]

    def reader(self) -> sqlite3.Connection:
        """Return a connection to the board that can change nothing, for who looks often; the caller closes it."""
        connection = sqlite3.connect(f"file:{self.database}?mode=ro", uri=True, timeout=5, isolation_level=None)
        connection.row_factory = sqlite3.Row
        return connection

    def write(self, statement: str, *values: Any) -> None:
        """Change the board behind everybody's back, to stage what a crash leaves."""
        with closing(sqlite3.connect(self.database, timeout=30)) as connection, connection:
            connection.execute(statement, values)

    def task(self, task_id: str) -> dict[str, Any]:
        """Return the row of a task."""
        return self.rows("SELECT * FROM tasks WHERE id = ?", [task_id])[0]

    def runs(self, task_id: str) -> list[dict[str, Any]]:
        """Return the runs of a task, oldest first."""
        return self.rows("SELECT * FROM task_runs WHERE task_id = ? ORDER BY id", [task_id])

    def events(self, task_id: str) -> list[dict[str, Any]]:
        """Return the history of a task, oldest first, with decoded payloads."""
        found = self.rows("SELECT * FROM task_events WHERE task_id = ? ORDER BY id", [task_id])
        return [{**row, "payload": json.loads(row["payload"]) if row["payload"] else None} for row in found]

    def kinds(self, task_id: str) -> list[str]:
        """Return the kinds of the events of a task, oldest first."""
        return [event["kind"] for event in self.events(task_id)]

    # -- waiting ------------------------------------------------------------------------------------------------------

    def wait_until(self, look: Callable[[], Found | None], what: str, seconds: float = 60) -> Found:
        """Look until there is something to see, and return it.

        Raises:
            AssertionError: it did not happen in time; the text has the board and the ends of the logs.
        """
        deadline = time.monotonic() + seconds
        while not (found := look()):
            assert time.monotonic() < deadline, f"waited {seconds} s for {what}\n{self.describe()}"
            time.sleep(LOOK_SECONDS)
        return found

    def settle(self, task_id: str, *statuses: str, seconds: float = 60) -> str:
        """Wait until a task is in one of the columns (``done`` unless told), and return which."""
        wanted = statuses or ("done",)

        def look() -> str | None:
            status = self.task(task_id)["status"]
            return status if status in wanted else None

        return self.wait_until(look, f"{task_id} to be {' or '.join(wanted)}", seconds)

    def parked(self, task_id: str, attempt: int = 1, seconds: float = 60) -> int:
        """Wait until an attempt's worker waits inside a held model call (``SLOW``); returns its pid."""

        def look() -> int | None:
            there = self.server.attempts(task_id) >= attempt and self.server.holds(task_id)
            return self.worker_pid(task_id) if there else None

        return self.wait_until(look, f"attempt {attempt} of {task_id} to wait for the model", seconds)

    def describe(self) -> str:
        """Return what is on the board and what was said last, for the message of a failed test."""
        tasks = self.rows("SELECT id, title, status, current_run_id, consecutive_failures FROM tasks")
        events = self.rows("SELECT task_id, run_id, kind, substr(payload, 1, 160) AS payload FROM task_events")
        logs = [f"--- {path.name}\n{path.read_text(errors='replace')[-2000:]}" for path in self.logs.glob("*.log")]
        return "\n".join([*map(str, tasks), *map(str, events[-30:]), *logs])


def _without_forks(processes: list[psutil.Process]) -> list[int]:
    """Leave out children that are not yet what they will be: between fork and exec they look like their parent."""
    pids = {process.pid for process in processes}
    return [process.pid for process in processes if _parent_of(process) not in pids]


def _parent_of(process: psutil.Process) -> int | None:
    try:
        return process.ppid()
    except psutil.Error:
        return None


def _words_of(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def _works_on(process: psutil.Process, task_id: str) -> bool:
    return f"work kanban task {task_id}" in _words_of(process)
