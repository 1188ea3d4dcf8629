"""Runs in a process of its own, as the host: calls the host's own tool handlers on prepared boards.

Reads a JSON list of scenarios from standard input, prints the answers of each as the last line. No test module:
the parity tests start it with the installed host.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

import tools.kanban_tools as host
from hermes_cli.plugins import invoke_hook  # noqa: F401 - loaded, so that the host's hooks are where they always are

HANDLERS = {
    "kanban_heartbeat": host._handle_heartbeat,
    "kanban_block": host._handle_block,
    "kanban_complete": host._handle_complete,
}


def play(scenario: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the host's answers to one scenario's calls."""
    os.environ.update(scenario["environment"])
    try:
        return [json.loads(HANDLERS[call["tool"]](call["arguments"])) for call in scenario["calls"]]
    finally:
        for name in scenario["environment"]:
            del os.environ[name]


if __name__ == "__main__":
    print(json.dumps([play(scenario) for scenario in json.load(sys.stdin)]))
