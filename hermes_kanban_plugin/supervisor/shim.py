"""The life of a supervisor: accept, start, watch, renew, bury, record.

It outlives the dispatcher and the gateway, holds one plain connection to the board for as long as its worker lives
(which also guards the write-ahead log, contract W1), and stops its worker when the run is no longer current or when
it could not renew the lease before it ended (self-fencing). Standard library only (POSIX).
"""

from __future__ import annotations

import os
import signal
import sqlite3
import sys
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from hermes_kanban_plugin import handoff, identity, outages, redaction, testpoints, wake
from hermes_kanban_plugin.causes import Cause
from hermes_kanban_plugin.clock import Clock
from hermes_kanban_plugin.errors import BoardUnusable, CallerMistake
from hermes_kanban_plugin.handoff import Remains
from hermes_kanban_plugin.rules import EXIT_TRY_LATER
from hermes_kanban_plugin.store import briefings, cleanups, failures, leases, outcomes
from hermes_kanban_plugin.store.connection import open_reader, open_writer
from hermes_kanban_plugin.store.transaction import immediate
from hermes_kanban_plugin.supervisor import changes, output, stubborn, sweep
from hermes_kanban_plugin.supervisor.alarm import Alarm
from hermes_kanban_plugin.supervisor.order import Order
from hermes_kanban_plugin.supervisor.staleness import Limits, Pulse, is_stale
from hermes_kanban_plugin.supervisor.verdicts import Decision, Stop, decide
from hermes_kanban_plugin.supervisor.worker import Ending, Worker, fork

if TYPE_CHECKING:
    from collections.abc import Callable

# How often the board is asked whether the run is still current; the question costs microseconds.
WATCH_SECONDS = 0.25
RECORD_ATTEMPTS_SECONDS = 60.0
# How long may be looked for what a worker left in its workspace: less than the part of a lease that is left by then.
LOOK_SECONDS, QUICK_LOOK_SECONDS = 3.0, 0.25


def main() -> int:
    """Read the order and carry it out.

    Returns:
        0; 1 when the worker was refused or the order is unreadable; 75 when the board could not be used, or no
        process for the worker was to be had.
    """
    for number in (signal.SIGHUP, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)  # a terminal's signals are the dispatcher's business
    try:
        order = Order.from_json(sys.stdin.read())
    except ValueError as problem:
        print(problem, file=sys.stderr)
        return 1
    try:
        return Supervisor(order, Clock()).run()
    except (sqlite3.Error, BoardUnusable) as problem:
        print(f"not started: {problem}", file=sys.stderr)
        return EXIT_TRY_LATER  # the board's trouble, not the task's


class Supervisor:
    """One run from accepted claim to recorded end."""

    def __init__(self, order: Order, clock: Clock) -> None:
        self.order = order
        self.clock = clock
        self.stop = Stop.NONE
        self._alarm = Alarm()
        self._stopped_at: float | None = None
        self._closed_at: float | None = None
        # The reader guards the write-ahead log and is closed last (see store/connection.py).
        self._reader = open_reader(order.database)
        self._writer = open_writer(order.database)
        self._lease_ends = 0.0
        self._expires = 0
        self._started = 0.0
        self._began = 0
        self._log_began = 0
        self._renewed = 0.0
        self._pulse = Pulse(None, 0.0)
        self._silence = 0.0
        self._told = False

    def run(self) -> int:
        """Carry the order out; returns the exit status of the supervisor."""
        try:
            with output.opened(self.order.log) as log:
                self._log_began = output.length(log)
                try:
                    worker = fork(self.order.argv, self.order.environment, self.order.directory, log)
                except OSError as problem:
                    print(f"not started: {problem}", file=sys.stderr)
                    return EXIT_TRY_LATER  # the machine is short of something, which is not the task's fault
                if not self._accept(worker):
                    return 1
                self._supervise(worker)
            return 0
        finally:
            self._writer.close()
            self._reader.close()
            wake.nudge(self.order.root)

    def _accept(self, worker: Worker) -> bool:
        """Take the claim over in the worker's name; the gate opens only after that is on the board."""
        testpoints.reach("supervisor.before_accept")
        me = identity.capture(os.getpid())
        now = self.clock.now()
        try:
            leases.accept(self._writer, self.order.lease, me, worker.identity, now + self.order.lease_seconds, now)
        except CallerMistake as refusal:
            worker.dismiss()
            print(f"not started: {refusal}", file=sys.stderr)
            return False
        except sqlite3.Error:
            worker.dismiss()
            raise
        self._began = now
        self._started = self._renewed = self.clock.monotonic()
        self._pulse = Pulse(None, self._started)
        self._lease_ends = self._started + self.order.lease_seconds
        self._expires = now + self.order.lease_seconds
        return True

    def _supervise(self, worker: Worker) -> None:
        testpoints.reach("supervisor.after_accept")
        worker.release()
        testpoints.reach("supervisor.after_release")
        self._watch(worker)
        living = sweep.end_leftovers(worker, self.order.lease, self.order.grace_seconds, self._keep_lease)
        testpoints.reach("supervisor.before_record")
        self._record(worker.bury(), worker.launch_problem(), living)
        testpoints.reach("supervisor.after_record")
        wake.nudge(self.order.root)
        self._clean_up()

    def _watch(self, worker: Worker) -> None:
        """Wait for the worker's end; meanwhile renew the lease and look for reasons to stop it."""
        while not worker.has_ended():
            now = self.clock.monotonic()
            self._keep_lease()
            if self.stop is Stop.NONE:
                self.stop = self._reason_to_stop(now)
            if self.stop is not Stop.NONE:
                self._stop(worker, now)
            self._alarm.wait(WATCH_SECONDS)
        if self._alarm.told_to_stop and self.stop is Stop.NONE:
            self.stop = Stop.INTERRUPTED  # both were told to stop, and the worker was quicker

    def _reason_to_stop(self, now: float) -> Stop:
        limit = self.order.max_runtime
        if self._alarm.told_to_stop:
            return Stop.INTERRUPTED
        if not self._is_current():
            return Stop.LEASE_LOST if now >= self._farewell_ends(now) else Stop.NONE
        if now >= self._lease_ends:
            return Stop.LEASE_LOST
        if limit is not None and now - self._started >= limit:
            return Stop.OVERDUE
        limits = Limits(self.order.heartbeat_limit, self.order.stale_timeout)
        return Stop.STALE if is_stale(self._pulse, limits, self._started, now) else Stop.NONE

    def _is_current(self) -> bool:
        """Ask the board whether the run still holds its task; a board that cannot be read gives no reason to stop."""
        try:
            task = leases.current(self._reader, self.order.lease)
        except CallerMistake:
            return False
        except sqlite3.Error:
            return True
        self._pulse = self._pulse.look(task["last_heartbeat_at"], self.clock.monotonic())
        return True

    def _farewell_ends(self, now: float) -> float:
        """Return until when a worker whose run is closed may go on: it gets some time if it closed it itself."""
        if self._closed_at is None:
            self._closed_at = now
        spoke = outcomes.has_final_word(self._reader, self.order.lease)
        return self._closed_at + (self.order.farewell_seconds if spoke else 0)

    def _keep_lease(self) -> None:
        """Renew the lease while anything of the run is left, unless it was lost: a long grace may outlast it."""
        if self.stop is not Stop.LEASE_LOST:
            self._renew_if_due(self.clock.monotonic())

    def _renew_if_due(self, now: float) -> None:
        length, wall = self.order.lease_seconds, self.clock.now()
        # By the board's clock it may be due earlier: that clock may have jumped ahead, or the machine have slept.
        if now - self._renewed < length / 3 and wall < self._expires - length / 2:
            return
        try:
            leases.renew(self._writer, self.order.lease, wall + length)
        except (CallerMistake, sqlite3.Error):
            return  # superseded shows in _is_current; a locked board is tried again until the lease ends
        self._renewed, self._lease_ends, self._expires = now, now + length, wall + length

    def _stop(self, worker: Worker, now: float) -> None:
        if self._stopped_at is None:
            self._stopped_at, self._silence = now, self._pulse.silence(now)
            self._announce()
            worker.signal_group(signal.SIGTERM)
            worker.signal_group(signal.SIGCONT)  # a stopped process must wake up to see the TERM
        elif now - self._stopped_at >= self.order.grace_seconds:
            worker.signal_group(signal.SIGKILL)
            if now - self._stopped_at >= self.order.grace_seconds + sweep.PROOF_SECONDS and not self._told:
                self._tell(sweep.group_members(worker.pid))

    def _tell(self, pids: list[int]) -> None:
        """Tell people of what may not be stopped; a board that is busy is tried again at the next look."""
        with suppress(sqlite3.Error, BoardUnusable):
            stubborn.tell(self._writer, self.order.lease, pids, self.clock.now())
            self._told = True

    def _announce(self) -> None:
        """Say on the board why the worker is stopped, so that it does not take the signal for an interruption."""
        if self.stop in (Stop.OVERDUE, Stop.STALE):
            with suppress(CallerMistake, sqlite3.Error):  # then it may; it is stopped in any case
                leases.note_stop(self._writer, self.order.lease, self.stop)

    def _record(self, ending: Ending, problem: str | None, living: list[int]) -> None:
        """Write how it ended; a run that already ended on the board (its worker spoke, or it lost it) keeps its end.

        While something of it lives on that would not end, nothing may start beside it, and this supervisor stays.
        """
        first, last = (
            redaction.redact(part(self.order.log, self._log_began)) or None for part in (output.head, output.tail)
        )
        facts = outcomes.ExitFacts(*ending, last_output=last, first_output=first)
        decision = self._decide(ending, problem, last)
        left = self._look_around(decision, facts)
        self._insist(lambda: self._write(decision, facts, left, living))
        if living:
            wake.nudge(self.order.root)
            stubborn.wait_until_gone(living, self.order.lease)
            self._insist(lambda: outcomes.record_exit(self._writer, self.order.lease, facts, self.clock.now()))

    def _decide(self, ending: Ending, problem: str | None, words: str | None) -> Decision:
        if problem is not None:
            return Decision(Cause.SPAWN_FAILED, problem)
        runtime = self.clock.monotonic() - self._started
        if self.order.completes and ending.exit_code == 0 and self.stop is Stop.INTERRUPTED:
            self.stop = Stop.NONE  # it was told to stop and finished its work all the same
        limit, silence = self.order.max_runtime, self._silence
        refusal = None
        if ending.exit_code == 0 and not self.order.completes:
            from hermes_kanban_plugin import quota  # late: few workers end so

            refusal = quota.refusal_in(outages.last_trouble(words), self.clock.now())
        return decide(
            ending, self.stop, completes=self.order.completes, runtime=runtime, limit=limit, silence=silence,
            refusal=refusal,
        )  # fmt: skip

    def _look_around(self, decision: Decision, facts: outcomes.ExitFacts) -> Remains | None:
        """Return what the worker left behind, where the next one is an agent that can go on from it."""
        cause = decision.cause
        with suppress(sqlite3.Error):
            cause = briefings.cause_of(self._reader, self.order.lease) or cause  # it gave up itself
        if self.order.completes or cause not in handoff.WORTH_KEEPING:
            return None
        self._keep_lease()
        # A worker that died is followed by the next one at once; the others can wait for a moment.
        seconds = QUICK_LOOK_SECONDS if cause is Cause.CRASHED else LOOK_SECONDS
        found = changes.changes_in(self.order.directory, self._began, self.order.environment, seconds)
        found = found._replace(difference=redaction.redact(found.difference))
        runtime = int(self.clock.monotonic() - self._started)
        return Remains(facts.last_output or "", found, facts.exit_code, facts.exit_signal, runtime)

    def _write(self, decision: Decision, facts: outcomes.ExitFacts, left: Remains | None, living: list[int]) -> None:
        """Write the end of the run, and the end of its processes or which of them live on, in one transaction."""
        lease, now = self.order.lease, self.clock.now()
        with immediate(self._writer):
            try:
                self._end_run(decision, facts, left, now)
            except CallerMistake:  # ended by its worker or taken by somebody else: that word stands
                if left is not None:
                    briefings.leave_afterwards(self._writer, lease, left, now)
            testpoints.reach("supervisor.in_record")
            outcomes.record_exit(self._writer, lease, facts, None if living else now)
            if living:
                stubborn.tell(self._writer, lease, living, now)

    def _end_run(self, decision: Decision, facts: outcomes.ExitFacts, left: Remains | None, now: int) -> None:
        lease, cause, payload = self.order.lease, decision.cause, self._payload(facts)
        terms = failures.terms_in_force(self._writer, self.order.terms)
        if cause is Cause.COMPLETED:
            summary = facts.last_output or "finished without output"
            outcomes.complete(self._writer, lease, outcomes.Handoff(summary=summary, metadata={"exit_code": 0}), now)
        elif cause.counts:
            words, killed = facts.last_output, facts.exit_signal == signal.SIGKILL
            failure = outcomes.Failure(cause, decision.error, payload, terms, words, left, telling=not killed)
            outcomes.fail(self._writer, lease, failure, now)
        else:
            if decision.retry_at is not None:
                outcomes.note_retry(self._writer, lease, decision.retry_at)
            outcomes.release(self._writer, lease, cause, decision.error, payload, now, terms)

    def _payload(self, facts: outcomes.ExitFacts) -> dict[str, object]:
        payload: dict[str, object] = {"claimer": self.order.lease.lock, "exit_code": facts.exit_code}
        if facts.exit_signal is not None:
            payload["exit_signal"] = facts.exit_signal
        if self.stop is Stop.OVERDUE:
            payload |= {
                "elapsed_seconds": int(self.clock.monotonic() - self._started),
                "limit_seconds": self.order.max_runtime,
            }
        if self.stop is Stop.STALE:
            payload |= {
                "elapsed_seconds": int(self.clock.monotonic() - self._started),
                "last_heartbeat_at": self._pulse.beat_at,
                "heartbeat_age_seconds": int(self._silence),
                "timeout_seconds": self.order.heartbeat_limit or self.order.stale_timeout,
            }
        return payload

    def _insist(self, write: Callable[[], None]) -> None:
        """Try a write until it is on the board; after a minute the orphan scan has to find out by itself."""
        deadline = self.clock.monotonic() + RECORD_ATTEMPTS_SECONDS
        while True:
            try:
                return write()
            except (sqlite3.Error, BoardUnusable) as problem:
                if self.clock.monotonic() >= deadline:
                    print(f"could not record the end of {self.order.lease}: {problem}", file=sys.stderr)
                    return None
                time.sleep(0.2)

    def _clean_up(self) -> None:
        """Remove the workspaces that are due, also of other tasks."""
        try:
            cleanups.remove_due(self._writer, [self.order.workspaces])
        except sqlite3.Error as problem:
            print(f"left for the next tick: clean-up of {self.order.lease.task_id}: {problem}", file=sys.stderr)
