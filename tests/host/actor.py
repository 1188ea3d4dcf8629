"""A process that does what it is told, one line of Python at a time; conftest.py starts it as host or as ours.

Each line on standard input is JSON text: an expression, whose value is the answer, or statements. Each answer is one
line of JSON: ``{"value": …}`` or ``{"error": "…"}``. The names live as long as the process.
"""

from __future__ import annotations

import contextlib
import io
import json
import sys
import traceback
from typing import Any


def kanban(*arguments: str) -> str:
    """Run the host's own command line ``hermes kanban …`` in this process; returns what it printed."""
    from hermes_cli.main import main

    sys.argv = ["hermes", "kanban", *arguments]
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed), contextlib.suppress(SystemExit):
        main()
    return printed.getvalue()


def serve() -> None:
    names: dict[str, Any] = {"kanban": kanban}
    answers = sys.stdout
    sys.stdout = sys.stderr  # whatever else is printed must not be taken for an answer
    for line in sys.stdin:
        source = json.loads(line)
        try:
            answer = {"value": evaluate(source, names)}
        except Exception:  # noqa: BLE001 - the test decides whether this was expected
            answer = {"error": traceback.format_exc()}
        print(json.dumps(answer, default=repr), file=answers, flush=True)


def evaluate(source: str, names: dict[str, Any]) -> Any:
    try:
        code = compile(source, "<told>", "eval")
    except SyntaxError:
        exec(source, names)
        return None
    return eval(code, names)


if __name__ == "__main__":
    serve()
