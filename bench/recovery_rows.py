"""``python -m bench.recovery_rows [--trials N] [--only TEXT] [--page FILE]``: lost work in the real host, row by row.

Each sample is a fresh home with a gateway of the real host, real workers and a scripted model: with our plugin, and
with the host alone where that takes less than a minute. Writes docs/explanation/recovery-times.md; rows that are not
asked for stay there as they were. Takes about half an hour.
"""

from __future__ import annotations

import argparse
import signal
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from bench import rows
from tests.live.house import LiveHouse
from tests.live.model_server import ModelServer

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from bench.rows import Result

PAGE = Path(__file__).resolve().parents[1] / "docs" / "explanation" / "recovery-times.md"
# For the first 30 s of a task the host does not look whether its worker lives.
OLD_ENOUGH = 31.0
# The host's gateway ticks for the first time 5 s after its start; that is no part of what a loss costs.
SETTLE_SECONDS = 7
HEARTBEAT_LIMIT = 90
HOST_TICK = {"dispatch_interval_seconds": 1}
OUR_TICK = {"dispatch_interval_seconds": 60}


def _seasoned(house: LiveHouse) -> float:
    """Return for how long an attempt is left in peace before its loss, so that its age makes no difference."""
    return 0 if house.plugin else OLD_ENOUGH


class Case(NamedTuple):
    """One row of the page: ``published`` is what the host alone was seen to do where it is not measured each time."""

    case: str
    stage: Callable[[LiveHouse], Result]
    differs: str
    published: str | None = None
    own_gateways: bool = False
    ours: dict[str, Any] = {}


CASES = (
    Case(
        "nothing is lost: from `hermes kanban create` to the worker",
        rows.run_undisturbed,
        "the dispatcher is woken by the change; the tick plays no part",
    ),
    Case(
        "a. worker killed, 30 s after its start",
        lambda house: rows.signal_worker(house, signal.SIGKILL, _seasoned(house)),
        "counts as a failure in both",
    ),
    Case(
        "a'. worker killed, a few seconds after its start",
        lambda house: rows.signal_worker(house, signal.SIGKILL, 2),
        "the host looks away for the first 30 s of a task",
    ),
    Case(
        "b. worker told to stop (SIGTERM), 30 s after its start",
        lambda house: rows.signal_worker(house, signal.SIGTERM, _seasoned(house)),
        "the host books a protocol violation; here it is no failure. The worker itself takes 1.5 s to end",
    ),
    Case(
        f"c. worker frozen (SIGSTOP), `heartbeat_limit_seconds: {HEARTBEAT_LIMIT}`",
        lambda house: rows.signal_worker(house, signal.SIGSTOP),
        "the host waits an hour, and so do we unless the setting says otherwise; its dispatcher stands still while it "
        "stops the worker, ours does not; no failure here",
        published="next attempt 3608 s",
        ours={"heartbeat_limit_seconds": HEARTBEAT_LIMIT},
    ),
    Case(
        "d. gateway killed, back after 5 s, worker lives",
        lambda house: rows.lose_gateway(house, signal.SIGKILL),
        "one attempt in both; here the supervisor looks after the worker meanwhile",
        own_gateways=True,
    ),
    Case(
        "d'. the same with SIGTERM",
        lambda house: rows.lose_gateway(house, signal.SIGTERM),
        "one attempt in both",
        own_gateways=True,
    ),
    Case(
        "d''. gateway and worker killed, from the next start of the gateway",
        lambda house: rows.lose_machine(house, age=_seasoned(house)),
        "counts as a failure in the host, not here",
        own_gateways=True,
    ),
    Case(
        "d'''. the same twice",
        lambda house: rows.lose_machine(house, 2),
        "the host gives the task up: two restarts are two failures",
        own_gateways=True,
    ),
    Case(
        "d4. as d'', and the machine comes back under another name",
        lambda house: rows.lose_machine(house, hostname="another"),
        "the host does not know its own claim any more",
        published="next attempt 897 s, done 903 s",
        own_gateways=True,
    ),
    Case(
        "d5. two gateways, the one that dispatches is killed with a worker",
        rows.lose_owner,
        "the host's second gateway asks for the lock once, at its start",
        published="never (135 s watched)",
        own_gateways=True,
    ),
    Case(
        "e. everything killed, the pids belong to strangers at the next start",
        rows.reuse_pids,
        "the host sends SIGTERM to the stranger, which dies; here nobody innocent is signalled",
        published="next attempt 3603 s, done 3608 s",
        own_gateways=True,
    ),
    Case(
        "e'. the same, task with `--max-runtime 60`",
        lambda house: rows.reuse_pids(house, "--max-runtime", "60"),
        "likewise",
        published="next attempt 53 s, done 58 s",
        own_gateways=True,
    ),
    Case(
        "f. everything killed between the claim and the pid",
        rows.lose_between_claim_and_pid,
        "the host waits for the end of the claim, here a launch has `launch_seconds` (30)",
        published="next attempt 901 s, done 911 s",
        own_gateways=True,
    ),
    Case(
        "g. worker killed in every attempt",
        lambda house: rows.signal_attempts(house, signal.SIGKILL, 3),
        "given up after `failure_limit` attempts in both",
    ),
    Case(
        "h. worker told to stop in each of the first four attempts",
        lambda house: rows.signal_attempts(house, signal.SIGTERM, 4),
        "the host gives the task up, which was never at fault",
        published="given up after 57 s",
    ),
    Case(
        "i. worker always ends without having completed or blocked its task, from `hermes kanban create`",
        rows.leave_unfinished,
        "the host opens the task that it gave up in the same tick and goes on; here it stays given up",
        published="given up after 3 attempts, and started again",
    ),
)


def main() -> int:
    """Stage every case, print its figures and write the page; returns 0."""
    parser = argparse.ArgumentParser(prog="python -m bench.recovery_rows", description=__doc__)
    parser.add_argument("--trials", type=int, default=3)
    parser.add_argument("--only", metavar="TEXT", help="only the cases that begin with this")
    parser.add_argument("--page", type=Path, default=PAGE)
    args = parser.parse_args()
    lines = _known(args.page)
    with ModelServer() as server:
        for case in CASES:
            if case.case.startswith(args.only or ""):
                lines[case.case] = _measure(case, server, args.trials)
                print(lines[case.case], flush=True)
                ordered = [lines[one.case] for one in CASES if one.case in lines]
                args.page.write_text(_page(ordered, args.trials), encoding="utf-8")
    return 0


def _known(page: Path) -> dict[str, str]:
    """Return the rows of an earlier page by their case."""
    written = page.read_text(encoding="utf-8").splitlines() if page.exists() else []
    return {line.removeprefix("| ").partition(" | ")[0]: line for line in written if line.startswith("| ")}


def _measure(case: Case, server: ModelServer, trials: int) -> str:
    """Return the row of one case."""
    ours = [_sample(case, server, plugin=True) for _ in range(trials)]
    host = f"{case.published} (published)" if case.published else None
    if host is None:
        host = _figures([_sample(case, server, plugin=False) for _ in range(trials)])
    return f"| {case.case} | {host} | {_figures(ours)} | {case.differs} |"


def _sample(case: Case, server: ModelServer, *, plugin: bool) -> Result:
    """Stage a case once, in a house of its own."""
    with tempfile.TemporaryDirectory(prefix="hk-bench-", ignore_cleanup_errors=True) as folder:
        kanban = OUR_TICK if plugin else HOST_TICK
        house = LiveHouse(Path(folder) / "house", server, plugin=plugin, kanban=kanban, ours=case.ours)
        try:
            if not case.own_gateways:
                house.hermes("kanban", "init")
                house.start_gateway()
                time.sleep(SETTLE_SECONDS)
            return case.stage(house)
        finally:
            house.close()


def _figures(results: Sequence[Result]) -> str:
    """Return in words when the next attempt began and when the task came to rest."""
    again = [result.again for result in results if result.again is not None]
    words = {"done": "done", "blocked": "given up"}
    ends = "/".join(sorted({words[result.status] for result in results}))
    parts = [f"next attempt {_spread(again)}"] if again else ["no new attempt"]
    if not all(result.strangers_live for result in results):
        parts.append("a stranger died")
    return ", ".join([*parts, f"{ends} {_spread([result.over for result in results])}"])


def _spread(seconds: Sequence[float]) -> str:
    return f"{statistics.median(seconds):.1f} s ({min(seconds):.1f}–{max(seconds):.1f})"  # noqa: RUF001 - a range


def _page(lines: Sequence[str], trials: int) -> str:
    table = "\n".join(["| case | host alone | with the plugin | what differs |", "|---|---|---|---|", *lines])
    return f"""\
# Recovery times

How long it takes until lost work is taken up again, in seconds from the loss: by Hermes Agent 0.19.0 alone, and with
this plugin. Written by `python -m bench.recovery_rows`, which stages each case in a real gateway with real workers.

- Machine: 2 cores, Linux, with other work beside it. Each figure is the median of {trials}, with the least and the most
  behind it.
- "Next attempt" is when the next worker was started. "Done" includes 3 to 6 s that a worker needs to load Hermes before
  it asks its model for the first time, with and without the plugin.
- The host alone ran with a tick of 1 s (`kanban.dispatch_interval_seconds`). With its default of 60 s it needs up to a
  minute more in each case. The plugin ran with the default.
- Where a case says "30 s after its start", only the host is given that time; to the plugin the age makes no difference.
- "Published" stands at figures of the host alone that take up to an hour to wait for. They were measured once, with the
  same cases on such a machine, and are not measured again each time.

{table}

The same cases are staged by `tests/live/test_rows.py`, which looks at how they end and not at how long they take.
"""


if __name__ == "__main__":
    sys.exit(main())
