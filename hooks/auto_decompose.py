"""The built-in decomposer: hands cards in ``triage`` to the host's own command, one process each, beside the tick.

The host does this inside its dispatcher loop, where it holds everything up (contract section 4, W27). A card that the
loop breaker parked is left for a human (contract W11). Whether it worked is seen on the board: the card left triage.
"""

from __future__ import annotations

import logging
import os
import signal
import subprocess
from typing import TYPE_CHECKING, NamedTuple
from weakref import WeakKeyDictionary

from hermes_kanban_plugin import host, worker_logs
from hermes_kanban_plugin.dispatch.context import Phase
from hermes_kanban_plugin.hookspecs import hookimpl
from hermes_kanban_plugin.logbook import entry
from hermes_kanban_plugin.store import queries

if TYPE_CHECKING:
    from pathlib import Path

    from hermes_kanban_plugin.dispatch.context import TickContext
    from hermes_kanban_plugin.runtime import Runtime

    Key = tuple[Path, str]

log = logging.getLogger(__name__)

LOOK_SECONDS = 1.0
FIRST_PAUSE_SECONDS = 60.0
LONGEST_PAUSE_SECONDS = 3600.0
AUTHOR = "auto-decomposer"
# What would make the command take itself for a worker.
_SCOPED = {
    f"HERMES_KANBAN_{end}"
    for end in ("TASK", "RUN_ID", "CLAIM_LOCK", "WORKSPACE", "BRANCH", "GOAL_MODE", "GOAL_MAX_TURNS", "BOARD")
}


class _Running(NamedTuple):
    process: subprocess.Popen[bytes]
    deadline: float
    output: Path


class _Pause(NamedTuple):
    until: float
    seconds: float


class Decompositions:
    """The decompositions that one dispatcher has under way, and the cards that have to wait for another try."""

    def __init__(self) -> None:
        self._running: dict[Key, _Running] = {}
        self._pauses: dict[Key, _Pause] = {}
        self._looked: dict[Path, float] = {}

    def attend(self, context: TickContext) -> None:
        """Bury what ended, end what takes too long or is not wanted any more, and start what may start; never waits."""
        database, now = context.board.location.database, context.runtime.clock.monotonic()
        wanted = context.settings.host.auto_decompose
        for key in [key for key in self._running if key[0] == database]:
            self._check(context, key, now, wanted=wanted)
        is_due = now - self._looked.get(database, -LOOK_SECONDS) >= LOOK_SECONDS
        free = context.settings.host.auto_decompose_per_tick - len(self._running)
        if wanted and is_due and free > 0 and context.may_start and not context.runtime.stopping.is_set():
            self._looked[database] = now
            self._start_some(context, now, free)

    def stop(self) -> None:
        """End everything that is under way; the cards stay where they are."""
        for running in self._running.values():
            _kill(running.process)
            running.process.wait()
        self._running.clear()

    def _check(self, context: TickContext, key: Key, now: float, *, wanted: bool) -> None:
        running = self._running[key]
        if running.process.poll() is None:
            if now >= running.deadline or not wanted:
                why = "too slow" if wanted else "switched off"
                log.warning(entry("decompose_stopped", why, board=context.board.slug, task=key[1]))
                _kill(running.process)
            return
        del self._running[key]
        card = queries.find_task(context.board.reader, key[1])
        if card is not None and card.status == "triage":
            self._put_off(key, now, f"{running.output} says why")
        else:
            self._pauses.pop(key, None)
            log.info(entry("decomposed", board=context.board.slug, task=key[1]))

    def _start_some(self, context: TickContext, now: float, free: int) -> None:
        database = context.board.location.database
        cards = queries.open_triage_ids(context.board.reader)
        waiting = {(database, card) for card in cards}
        self._pauses = {key: pause for key, pause in self._pauses.items() if key[0] != database or key in waiting}
        due = [card for card in cards if (database, card) not in self._running and self._is_due((database, card), now)]
        if due and not host.can_decompose():
            return
        for card in due[:free]:
            self._start(context, card, now)

    def _is_due(self, key: Key, now: float) -> bool:
        return key not in self._pauses or now >= self._pauses[key].until

    def _start(self, context: TickContext, card: str, now: float) -> None:
        location = context.board.location
        output = worker_logs.log_of(location.logs, f"{card}.decompose")
        words = ["kanban", "--board", location.slug, "decompose", card, "--author", AUTHOR, "--json"]
        limits = context.settings.host
        try:
            output.parent.mkdir(parents=True, exist_ok=True)
            worker_logs.rotate(output, limits.worker_log_rotate_bytes, limits.worker_log_backup_count)
            with open(output, "ab") as stream:
                process = subprocess.Popen(
                    [*host.command(), *words],
                    stdin=subprocess.DEVNULL, stdout=stream, stderr=subprocess.STDOUT,
                    env={name: value for name, value in os.environ.items() if name not in _SCOPED},
                    cwd=location.root, start_new_session=True,
                )  # fmt: skip
        except OSError as problem:
            self._put_off((location.database, card), now, str(problem))
            return
        deadline = now + context.settings.plugin.decompose_seconds
        self._running[location.database, card] = _Running(process, deadline, output)
        log.info(entry("decompose", board=location.slug, task=card, pid=process.pid))

    def _put_off(self, key: Key, now: float, why: str) -> None:
        known = self._pauses.get(key)
        seconds = min(2 * known.seconds, LONGEST_PAUSE_SECONDS) if known else FIRST_PAUSE_SECONDS
        self._pauses[key] = _Pause(now + seconds, seconds)
        log.info(entry("decompose_failed", f"tried again in {seconds:.0f} s: {why}", task=key[1]))


_of: WeakKeyDictionary[Runtime, Decompositions] = WeakKeyDictionary()


@hookimpl(trylast=True)
def kanban_tick(context: TickContext, phase: Phase) -> None:
    """Attend to the board's cards in triage; only in a dispatcher, because somebody must be there when they end."""
    if phase is Phase.REPORT and not context.dry_run and context.runtime.watch is not None:
        _of.setdefault(context.runtime, Decompositions()).attend(context)


@hookimpl(trylast=True)
def kanban_gateway_shutdown(runtime: Runtime) -> None:
    """End what is under way: nobody would be there to bound it."""
    if runtime in _of:
        _of.pop(runtime).stop()


def _kill(process: subprocess.Popen[bytes]) -> None:
    """End a decomposition and what it started; its pid is its own as long as it is not buried."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
