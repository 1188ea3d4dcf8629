"""Losses to recover from, staged with the real host: each ends with what the board and the process table showed.

A row works in a house (tests/live/house.py): a home with the host, a scripted model and our plugin, or without it. The
benchmark measures the rows, and tests/live/test_rows.py asserts how they end.
"""

from __future__ import annotations

import signal
import threading
import time
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator

    from tests.live.house import LiveHouse

SAMPLE_SECONDS = 0.02
# Looking through the process table costs more than looking at the board.
SAMPLES_PER_SCAN = 10
LIMIT_SECONDS = 240.0
PARKED = "SLOW_FIRST=900"
# How long a task that was given up is watched, to see whether anything opens it again.
REST_SECONDS = 3.0
_GLANCE = """
    SELECT consecutive_failures,
      (SELECT count(*) FROM task_runs WHERE task_id = :task AND ended_at IS NULL) AS open_runs,
      (SELECT count(*) FROM task_events WHERE task_id = :task AND kind = 'spawned') AS begun
    FROM tasks WHERE id = :task"""


class Result(NamedTuple):
    """What came of a loss; times in seconds since then, None for what did not happen.

    ``again`` is when the next attempt was spawned, ``over`` when the task came to rest. ``failures`` is the task's
    count of failures when the next attempt began, or at the end when there was none. ``most_runs`` and ``most_workers``
    are the most open runs and living workers that the task ever had at once. ``strangers_live`` says whether all
    processes that only shared a pid with a worker are still there.
    """

    task: str
    status: str
    again: float | None
    over: float
    failures: int
    outcomes: list[str]
    events: list[str]
    most_runs: int
    most_workers: int
    strangers_live: bool = True


class Observer:
    """Looks at one task all the time, in a thread: when attempts began, how many runs and workers it has at once."""

    def __init__(self, house: LiveHouse, task: str) -> None:
        self._house = house
        self._task = task
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self.spawned: list[tuple[float, int]] = []
        self.most_runs = 0
        self.most_workers = 0

    def __enter__(self) -> Observer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _look(self) -> None:
        samples = 0
        with closing(self._house.reader()) as board:
            while not self._done.wait(SAMPLE_SECONDS):
                self._note(board.execute(_GLANCE, {"task": self._task}).fetchone())
                samples += 1
                if samples % SAMPLES_PER_SCAN == 0:
                    self.most_workers = max(self.most_workers, len(self._house.workers(self._task)))

    def _note(self, seen: sqlite3.Row) -> None:
        self.most_runs = max(self.most_runs, seen["open_runs"])
        moment = (time.monotonic(), seen["consecutive_failures"])
        self.spawned += [moment] * (seen["begun"] - len(self.spawned))


class Scene:
    """One task, what happens to it, and what comes of it."""

    def __init__(self, house: LiveHouse, observer: Observer, task: str) -> None:
        self.house = house
        self.task = task
        self._observer = observer
        self._lost_at = time.monotonic()
        self._attempts = 0

    def parked(self, attempt: int = 1) -> int:
        """Wait until an attempt's worker waits for the model, and return its pid."""
        pid = self.house.parked(self.task, attempt, LIMIT_SECONDS)
        self.house.wait_until(lambda: len(self._observer.spawned) >= attempt, "the attempt to be seen")
        return pid

    def parked_or_given_up(self, attempt: int) -> int | None:
        """Wait until an attempt's worker waits for the model and return its pid; None if the task is given up first."""

        def look() -> tuple[int | None] | None:
            if self.house.task(self.task)["status"] in ("blocked", "done"):
                return (None,)
            there = self.house.server.attempts(self.task) >= attempt and self.house.server.holds(self.task)
            pid = self.house.worker_pid(self.task) if there else None
            return (pid,) if pid else None

        return self.house.wait_until(look, f"attempt {attempt} of {self.task}", LIMIT_SECONDS)[0]

    def claimed_by(self) -> str:
        """Return the lock of the last claim; it begins with the machine's name."""
        claims = [event for event in self.house.events(self.task) if event["kind"] == "claimed"]
        return str(claims[-1]["payload"]["lock"])

    def lose(self) -> None:
        """Let the time count from now."""
        self._lost_at = time.monotonic()
        self._attempts = len(self._observer.spawned)

    def result(self, *statuses: str, seconds: float = LIMIT_SECONDS) -> Result:
        """Wait until the task is done (or in another of these columns) and return what came of the loss."""
        status = self.house.settle(self.task, *(statuses or ("done",)), seconds=seconds)
        over = time.monotonic() - self._lost_at
        if status == "blocked":
            time.sleep(REST_SECONDS)
            status = self.house.task(self.task)["status"]
        time.sleep(2 * SAMPLE_SECONDS)  # the observer sees the last change too
        later = self._observer.spawned[self._attempts :]
        at, failures = later[0] if later else (None, self.house.task(self.task)["consecutive_failures"])
        return Result(
            self.task,
            status,
            None if at is None else at - self._lost_at,
            over,
            failures,
            [run["outcome"] for run in self.house.runs(self.task)],
            self.house.kinds(self.task),
            self._observer.most_runs,
            self._observer.most_workers,
        )


@contextmanager
def scene(house: LiveHouse, body: str = PARKED, *flags: str) -> Iterator[Scene]:
    """Create a task and watch it."""
    task = house.create("a task to lose", body, "worker", *flags)
    with Observer(house, task) as observer:
        yield Scene(house, observer, task)


# -- rows in a house whose gateway runs --------------------------------------------------------------------------------


def run_undisturbed(house: LiveHouse) -> Result:
    """Lose nothing: from the created task to its end."""
    with scene(house, "") as play:
        return play.result()


def signal_worker(house: LiveHouse, number: int, age: float = 0) -> Result:
    """Send the first attempt's worker a signal while it waits for the model.

    Args:
        house: where.
        number: the signal.
        age: for how long it is left in peace before, seconds.
    """
    with scene(house) as play:
        pid = play.parked()
        time.sleep(age)
        play.lose()
        house.kill(pid, number)
        return play.result()


def signal_attempts(house: LiveHouse, number: int, times: int) -> Result:
    """Send the worker of each of the first attempts a signal; ends early when the task is given up."""
    with scene(house, f"SLOW_FIRST{times}=900") as play:
        play.parked()
        play.lose()
        for attempt in range(1, times + 1):
            pid = play.parked_or_given_up(attempt)
            if pid is None:
                break
            house.kill(pid, number)
        return play.result("done", "blocked")


def leave_unfinished(house: LiveHouse) -> Result:
    """Let every worker end with plain text, without having completed or blocked its task."""
    with scene(house, "EXIT0=1") as play:
        return play.result("blocked", "done")


# -- rows that start gateways of their own -----------------------------------------------------------------------------


def lose_gateway(house: LiveHouse, number: int, away: float = 5) -> Result:
    """End the gateway while a worker works, and start it again; the worker goes on to its end.

    Args:
        house: where.
        number: the signal for the gateway.
        away: how long there is no gateway, seconds.
    """
    gateway = house.start_gateway()
    with scene(house, f"SLOW_FIRST={away + 5}") as play:
        play.parked()
        play.lose()
        house.end(gateway, number)
        time.sleep(away)
        house.start_gateway()
        return play.result()


def lose_machine(house: LiveHouse, times: int = 1, hostname: str | None = None, age: float = 0) -> Result:
    """Kill everything and start the gateway again, so often; time counts from the last start.

    Args:
        house: where.
        times: how often in a row.
        hostname: the machine comes back under this name.
        age: for how long each attempt is left in peace before, seconds.
    """
    named = name_machine(house, hostname) if hostname else {}
    house.start_gateway()
    with scene(house, f"SLOW_FIRST{times}=900") as play:
        for attempt in range(1, times + 1):
            play.parked(attempt)
            time.sleep(age)
            house.kill_everything()
            play.lose()
            house.start_gateway(**named)
        result = play.result("done", "blocked")
        if hostname is not None and not play.claimed_by().startswith(f"{hostname}:"):
            raise RuntimeError(f"the machine kept its name: {play.claimed_by()}")
        return result


def name_machine(house: LiveHouse, hostname: str) -> dict[str, str]:
    """Return variables under which Python programs believe that the machine has another name."""
    folder = house.folder / "named"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(
        f"import os, platform, socket\n"
        f"socket.gethostname = platform.node = lambda: {hostname!r}\n"
        f"os.uname = lambda known=os.uname(): os.uname_result((known[0], {hostname!r}, *known[2:]))\n"
    )
    return {"PYTHONPATH": str(folder)}


def lose_owner(house: LiveHouse) -> Result:
    """Kill the gateway that dispatches, and a worker, while another gateway of the machine lives."""
    house.add_profile("second")
    owner = house.start_gateway()
    with scene(house) as play:
        pid = play.parked()
        house.start_gateway("second")
        play.lose()
        house.end(owner, signal.SIGKILL)
        house.kill(pid)
        return play.result()


def reuse_pids(house: LiveHouse, *flags: str) -> Result:
    """Kill everything and give the pids that the board knows to innocent processes; time counts from the next start."""
    house.start_gateway()
    with scene(house, PARKED, *flags) as play:
        play.parked()
        house.kill_everything()
        strangers = [house.start(["sleep", "900"], "strangers") for _ in range(2)]
        give_pids(house, play.task, *(stranger.pid for stranger in strangers))
        play.lose()
        house.start_gateway()
        result = play.result()
        return result._replace(strangers_live=all(stranger.poll() is None for stranger in strangers))


def give_pids(house: LiveHouse, task: str, worker: int, supervisor: int) -> None:
    """Write other pids to where the board knows those of a task's worker and supervisor."""
    house.write("UPDATE tasks SET worker_pid = ? WHERE id = ?", worker, task)
    house.write("UPDATE task_runs SET worker_pid = ? WHERE task_id = ? AND ended_at IS NULL", worker, task)
    if house.plugin:
        house.write(
            "UPDATE kp_runs SET worker_pid = ?, supervisor_pid = ? WHERE task_id = ? AND ended_at IS NULL",
            worker, supervisor, task,
        )  # fmt: skip


def lose_between_claim_and_pid(house: LiveHouse) -> Result:
    """Kill everything when a task is claimed and no process is on the board yet; time counts from the next start."""
    flag = house.folder / "frozen"
    house.start_gateway(HERMES_KANBAN_TEST_POINT=f"supervisor.before_accept=stop@{flag}")
    with scene(house, "") as play:
        house.wait_until(flag.exists, "the launch to be frozen")
        assert house.task(play.task)["worker_pid"] is None
        house.kill_everything()
        play.lose()
        house.start_gateway()
        return play.result()
