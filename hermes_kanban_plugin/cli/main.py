"""Entry of the command: parse, run, and end with the right status.

Exit status: 0 done; 1 our fault or the machine's; 2 the caller's mistake. A mistake is one line on standard error.
"""

from __future__ import annotations

import logging
import os
import sqlite3
import sys
from typing import TYPE_CHECKING

from hermes_kanban_plugin.errors import KanbanError

if TYPE_CHECKING:
    from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    from hermes_kanban_plugin.cli.parser import parse

    parsed = parse(arguments)
    level = logging.DEBUG if os.environ.get("HERMES_KANBAN_PLUGIN_DEBUG") else logging.WARNING
    logging.basicConfig(level=level, format="%(asctime)s %(levelname)s %(message)s")
    try:
        status = int(parsed.run(parsed) or 0)
        sys.stdout.flush()  # a reader that went away is noticed here and not at exit
        return status
    except KanbanError as problem:
        print(f"hermes-kanban: {' '.join(str(problem).split())}", file=sys.stderr)
        return problem.exit_code
    except sqlite3.Error as problem:
        print(f"hermes-kanban: the board could not be used: {problem}", file=sys.stderr)
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


if __name__ == "__main__":
    sys.exit(main())
