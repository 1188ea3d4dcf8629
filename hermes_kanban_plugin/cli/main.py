"""Entry of the command: parse, run, and end with the right status.

Exit status: 0 done; 1 our fault or the machine's; 2 the caller's mistake. A mistake is one line on standard error.
A word that is none of ours is handed to ``hermes kanban`` as it stands.
"""

from __future__ import annotations

import io
import logging
import os
import sqlite3
import sys
from importlib import import_module
from typing import TYPE_CHECKING

from hermes_kanban_plugin import locations, requirements
from hermes_kanban_plugin.errors import KanbanError
from hermes_kanban_plugin.store import connection

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    from hermes_kanban_plugin.cli import parser

    words = list(sys.argv[1:] if arguments is None else arguments)
    theirs = parser.words_for_the_host(words)
    if theirs is not None and _has_host():
        return _hand_over(theirs)
    _make_printable()
    parsed = parser.parse(words)
    level = logging.DEBUG if os.environ.get("HERMES_KANBAN_PLUGIN_DEBUG") else logging.WARNING
    logging.basicConfig(level=level, format="%(asctime)s %(levelname)s %(message)s")
    return perform(parsed)


def perform(parsed: argparse.Namespace) -> int:
    """Run a parsed verb and return the exit status; whatever goes wrong is one line on standard error.

    Args:
        parsed: its ``run`` names the function, as ``module.function`` below this package.
    """
    module, _, function = str(parsed.run).partition(".")
    try:
        run = getattr(import_module(f"hermes_kanban_plugin.cli.{module}"), function)
        status = int(run(parsed) or 0)
        sys.stdout.flush()  # a reader that went away is noticed here and not at exit
        return status
    except (KanbanError, sqlite3.Error, ImportError, ValueError, OverflowError) as problem:
        return _complain(problem, parsed)
    except BrokenPipeError:
        # Whoever read our output has seen enough; do not complain again when the stream is flushed at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as problem:
        print(f"hermes-kanban: {problem}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def _make_printable() -> None:
    """Let every text be printed: what a terminal's encoding lacks as an escape, and nowhere if there is no output."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115 - stays until the process ends
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _complain(problem: Exception, parsed: argparse.Namespace) -> int:
    """Say in one line what went wrong, and return the exit status."""
    from hermes_kanban_plugin.cli import output

    board = getattr(parsed, "board", None)
    words, status = _explained(problem, board)
    print(f"hermes-kanban: {output.clean(output.addressed(words, board))}", file=sys.stderr)
    if isinstance(problem, ImportError) and getattr(parsed, "until_eof", False):
        return requirements.CANNOT_RUN  # the gateway that started us has another dispatcher
    return status


def _explained(problem: Exception, board: str | None) -> tuple[str, int]:
    """Return what went wrong in words, and the exit status."""
    if isinstance(problem, KanbanError):
        return str(problem), problem.exit_code
    if isinstance(problem, sqlite3.Error):
        return connection.explained(problem, locations.locate(board).database), 1
    if isinstance(problem, (OverflowError, UnicodeEncodeError)):
        return f"a number or a name cannot be used ({problem}); nothing was changed", 2
    if isinstance(problem, ImportError):
        return _what_is_missing(problem), 1
    # pydantic's: another program wrote a value of another kind into a column
    return f"a value on the board cannot be read, correct it: {problem}", 1


def _what_is_missing(problem: ImportError) -> str:
    lacking = requirements.unfit()
    if lacking:
        return requirements.advice(lacking)
    again = requirements.pip("install", "--force-reinstall", "--no-deps", requirements.DISTRIBUTION)
    return f"the installation is broken ({problem}), repair it with: {again}"


def _has_host() -> bool:
    from hermes_kanban_plugin import host

    return host.is_there()


def _hand_over(words: list[str]) -> int:
    """Become ``hermes kanban`` with these words: signals, terminal and exit status are the host's from here on."""
    from hermes_kanban_plugin import host

    command = [*host.command(), "kanban", *words]
    try:
        os.execv(command[0], command)
    except OSError as problem:
        print(f"hermes-kanban: {command[0]} cannot be run ({problem.strerror}); check HERMES_BIN", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
