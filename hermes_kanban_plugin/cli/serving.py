"""Verbs that dispatch: one tick, or a loop of them."""

from __future__ import annotations

import json
import logging
import signal
import sys
from typing import TYPE_CHECKING

from hermes_kanban_plugin import locations, service, wake
from hermes_kanban_plugin.cli import output, parentage
from hermes_kanban_plugin.dispatch.loop import Dispatcher
from hermes_kanban_plugin.dispatch.tick import rehearse, running_on, tick
from hermes_kanban_plugin.runtime import Runtime
from hermes_kanban_plugin.store import dispatchers

if TYPE_CHECKING:
    import argparse

    from hermes_kanban_plugin.board import Board
    from hermes_kanban_plugin.models import TickReport


def dispatch(args: argparse.Namespace) -> int:
    """Run one tick on one board; the caps count the running tasks of all boards."""
    location = locations.locate_existing(args.board)
    runtime = Runtime()
    limits = {"max_spawn": args.max, "failure_limit": args.failure_limit}
    given = {name: value for name, value in limits.items() if value is not None}
    host = runtime.settings.host.model_copy(update=given)
    runtime.settings = runtime.settings.model_copy(update={"host": host})
    try:
        others = [other for other in locations.serving_boards(runtime.root) if other.database != location.database]
        board, elsewhere = runtime.open(location), running_on(runtime, others)
        run = rehearse if args.dry_run else tick
        report = run(board, runtime, elsewhere=elsewhere)
        served = _hand_over(board, report)
    finally:
        runtime.close()
    output.print_json(report) if args.json else _print_report(report, served)
    return 1 if report.plugin_failures else 0


def dispatcher(args: argparse.Namespace) -> int:
    """Serve the boards until SIGTERM or SIGINT; workers go on under their supervisors."""
    logging.getLogger("hermes_kanban_plugin").setLevel(logging.INFO)
    if args.until_eof:
        parentage.leave_path()
    listener = _print_json_reports if args.json else _print_reports
    board = locations.locate_existing(args.board).slug if args.board else None
    ends = {"drains": args.drain, "stops_workers": args.stop_workers}
    pulse = parentage.Pulse().beat if args.until_eof else _nothing
    serving = Dispatcher(Runtime(lenient=True), board, listener, **ends, pulse=pulse)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda received, _: serving.stop(signal.Signals(received).name))
    if args.until_eof:
        parentage.never_wait_for_reader()
        parentage.watch_input(lambda: serving.stop("the process that started it ended"))
    serving.run()
    return 0


def _nothing() -> None:
    """Show nobody that we work."""


def scan(args: argparse.Namespace) -> int:
    """Look for orphans on one board and take back what they hold."""
    runtime = Runtime(spare=True)
    try:
        board = runtime.open(locations.locate_existing(args.board))
        run = rehearse if args.dry_run else tick
        report = run(board, runtime, may_start=False)
        served = _hand_over(board, report)
    finally:
        runtime.close()
    if args.json:
        output.print_json(report)
    else:
        _print_report(report, served)
        would = "would have " if report.dry_run else ""
        output.print_line(f"scan: {would}{len(report.rescued)} rescued, {len(report.repaired)} repaired")
    return 1 if report.plugin_failures else 0


def manage_service(args: argparse.Namespace) -> int:
    """Install, look at or remove the dispatcher's service file."""
    unit = service.describe()
    if args.only_print:
        print(unit.text, end="")
    elif args.action == "status":
        output.print_line(service.status(unit))
    elif args.action == "install":
        started = service.install(unit)
        output.print_line("installed", unit.path, "and started" if started else "(start it with your service manager)")
    else:
        output.print_line("removed" if service.uninstall(unit) else "was not installed:", unit.path)
    return 0


def _print_reports(reports: list[TickReport]) -> None:
    for report in reports:
        if report.busy:
            # What waits is the same every tick; dispatch --dry-run says it.
            _print_report(report.model_copy(update={"skipped": []}))


def _print_json_reports(reports: list[TickReport]) -> None:
    for report in reports:
        if report.busy:
            print(json.dumps(report.model_dump(mode="json"), ensure_ascii=False))
    sys.stdout.flush()


def _hand_over(board: Board, report: TickReport) -> int | None:
    """Wake the dispatcher that keeps the tick lock of a board, if there is one; returns its pid."""
    term = dispatchers.serving(board.reader, board.clock.now()) if report.locked_out else None
    if term is None:
        return None
    wake.nudge(str(board.location.root))
    return term.dispatcher.pid


def _print_report(report: TickReport, served_by: int | None = None) -> None:
    if served_by is not None:
        words = f"the dispatcher (pid {served_by}) serves it and was told to look; nothing was done here"
        return output.print_line(f"board {report.board}: {words}")
    if report.locked_out:
        return output.print_line(f"board {report.board}: somebody else is ticking it right now, nothing was done")
    prefix = "would have " if report.dry_run else ""
    for rescued in (*report.rescued, *report.repaired):
        output.print_line(f"{prefix}rescued", rescued.task_id, f"run {rescued.run_id}: {rescued.reason}")
    for task_id in report.promoted:
        output.print_line(f"{prefix}promoted", task_id)
    for started in report.started:
        output.print_line(f"{prefix}started", started.task_id, f"for {started.assignee} on lane {started.lane}")
    for skipped in (*report.failed, *report.skipped):
        output.print_line("not started", skipped.task_id, skipped.reason)
    for failure in report.plugin_failures:
        output.print_line(f"board {report.board}: plugin", failure.plugin, "failed in", failure.hook, failure.error)
    return output.print_line(f"board {report.board}: {report.running} running")
