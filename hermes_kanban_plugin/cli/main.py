"""Entry of the command: parse, run, and end with the right status.

Exit status: 0 done; 1 our fault or the machine's; 2 the caller's mistake. A mistake is one line on standard error.
A word that is none of ours is handed to ``hermes kanban`` as it stands.
"""

from __future__ import annotations

import logging
import os
import sqlite3
import sys
from importlib import import_module
from typing import TYPE_CHECKING

from hermes_kanban_plugin import requirements
from hermes_kanban_plugin.errors import KanbanError

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
    except KanbanError as problem:
        print(f"hermes-kanban: {' '.join(str(problem).split())}", file=sys.stderr)
        return problem.exit_code
    except sqlite3.Error as problem:
        print(f"hermes-kanban: the board could not be used: {problem}", file=sys.stderr)
        return 1
    except (OverflowError, UnicodeEncodeError) as problem:
        print(f"hermes-kanban: a number or a name cannot be used ({problem}); nothing was changed", file=sys.stderr)
        return 2
    except ImportError as problem:
        print(f"hermes-kanban: {_what_is_missing(problem)}", file=sys.stderr)
        return 1
    except ValueError as problem:  # pydantic's: another program wrote a value of another kind into a column
        said = " ".join(str(problem).split())
        print(f"hermes-kanban: a value on the board cannot be read, correct it: {said}", file=sys.stderr)
        return 1
    except BrokenPipeError:
        # Whoever read our output has seen enough; do not complain again when the stream is flushed at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as problem:
        print(f"hermes-kanban: {problem}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def _what_is_missing(problem: ImportError) -> str:
    lacking = requirements.missing()
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
