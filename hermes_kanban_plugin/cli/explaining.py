"""Verbs that answer "why is my task not running" and "what is wrong here": they change no byte of a board."""

from __future__ import annotations

import sqlite3
from collections import Counter
from contextlib import suppress
from typing import TYPE_CHECKING

from hermes_kanban_plugin import locations
from hermes_kanban_plugin.cli import output
from hermes_kanban_plugin.diagnosis import surroundings, why
from hermes_kanban_plugin.diagnosis.finding import Level
from hermes_kanban_plugin.errors import BoardUnusable, SchemaTooNew

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from hermes_kanban_plugin.diagnosis.answer import Answer
    from hermes_kanban_plugin.diagnosis.facts import Case
    from hermes_kanban_plugin.diagnosis.finding import Finding

_INDENT = 9
# After an outage every task may have the same finding; who needs all of them asks for JSON.
SHOWN_OF_A_KIND = 10
# What a line that can be typed begins with.
_PROGRAMS = ("hermes ", "hermes-kanban ", "kill ", "pip ", "sqlite3 ", "timedatectl ")


def explain(args: argparse.Namespace) -> None:
    """Say why one task is not running, and what happens next."""
    from hermes_kanban_plugin.runtime import Runtime

    runtime = Runtime(spare=True)
    try:
        board = runtime.open(locations.locate_existing(args.board))
        facts = surroundings.look(runtime, board, args.task_id)
    finally:
        runtime.close()
    case = facts.case(args.task_id)
    assert case is not None  # look() refuses what is not on the board
    found = surroundings.addressed_answer(why.explain(case, facts), facts.board)
    return output.print_json(found) if args.json else _print_answer(case, found)


def _print_answer(case: Case, found: Answer) -> None:
    head = len(found.task_id) + len(found.status) + 2
    output.print_line(found.task_id, found.status, output.cut(case.task.title, output.width() - head))
    output.print_labelled("why", found.reason, _INDENT)
    also = found.evidence.get("also")
    if also:
        output.print_labelled("also", str(also), _INDENT)
    if "exit_code" in found.evidence or "exit_signal" in found.evidence:
        lines = str(found.evidence.get("last_output") or "").strip().splitlines()
        output.print_labelled("printed", lines[-1] if lines else "nothing", _INDENT)
    output.print_labelled("next", found.next.sentence, _INDENT)
    if found.next.at is not None:
        output.print_labelled("at", output.moment(found.next.at), _INDENT)
    if found.next.command:
        _print_command(found.next.command)


def diagnose(args: argparse.Namespace) -> int:
    """Say what is wrong on a board; the exit status is 1 if something holds up work."""
    from hermes_kanban_plugin.runtime import Runtime

    runtime = Runtime(spare=True)
    try:
        board = runtime.open(locations.locate_existing(args.board))
        facts = surroundings.look(runtime, board, args.task)
        found = surroundings.diagnose(runtime, facts)
    finally:
        runtime.close()
    least = Level(args.severity).rank if args.severity else 0
    shown = [one for one in found if one.level.rank >= least]
    if args.json:
        output.print_json({"board": facts.board, "findings": [one.model_dump(mode="json") for one in shown],
                           "cut": list(facts.cut)})  # fmt: skip
    else:
        print_findings(shown)
    return 1 if any(one.holds_up for one in found) else 0


def print_findings(found: Sequence[Finding]) -> None:
    """Print findings, each with the command that mends it, no line wider than the terminal."""
    if not found:
        output.print_line("nothing is wrong")
    shown: Counter[str] = Counter()
    for one in found:
        shown[one.kind] += 1
        if shown[one.kind] > SHOWN_OF_A_KIND:
            continue
        output.print_labelled(one.level.value, one.sentence, _INDENT)
        if one.fix:
            _print_command(one.fix)
    for kind, number in shown.items():
        if number > SHOWN_OF_A_KIND:
            output.print_labelled("more", f"{number - SHOWN_OF_A_KIND} like that ({kind}); all: with --json", _INDENT)


def _print_command(command: str) -> None:
    """Print a command in one piece, so that it can be copied; an instruction in words like any other text."""
    if command.startswith(_PROGRAMS):
        output.print_command(command, _INDENT)
    else:
        output.print_labelled("", command, _INDENT)


def board_findings(board: str | None) -> list[Finding]:
    """Return what is wrong on one board, or on all that are served; what cannot be read is left to other checks."""
    from hermes_kanban_plugin.runtime import Runtime

    found: list[Finding] = []
    runtime = Runtime(spare=True)
    chosen = [locations.locate_existing(board)] if board else locations.serving_boards(runtime.root)
    try:
        for location in chosen:
            with suppress(BoardUnusable, SchemaTooNew, sqlite3.Error):
                found += surroundings.inspect(runtime, location)
    finally:
        runtime.close()
    return found
