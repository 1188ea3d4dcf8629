"""Asks the host which toolsets it would pin for the workers of each profile: a program of its own, run for the answer.

Finding that out loads the plugins of third parties. A gateway has loaded them in the root home before it starts any
worker, so this does it there too, and only then looks at each profile; and it does it in a process that ends right
after, so that their code never runs in a dispatcher. Prints one line of JSON, profile to list of names.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
from typing import Any


def main(profiles: list[str]) -> int:
    """Print the toolsets of profiles; one that cannot be asked about, or has none in this version, is left out.

    Args:
        profiles: ``name=home`` of each.
    """
    answers, sys.stdout = sys.stdout, sys.stderr  # whatever a plugin prints is not the answer
    getattr(importlib.import_module("hermes_cli.plugins"), "discover_plugins", int)()
    found = {}
    for name, _, home in (profile.partition("=") for profile in profiles):
        toolsets = _toolsets(home)
        if toolsets is not None:
            found[name] = toolsets
    print(json.dumps(found), file=answers, flush=True)
    return 0


def _toolsets(home: str) -> list[str] | None:
    constants: Any = importlib.import_module("hermes_constants")
    token = constants.set_hermes_home_override(home)
    try:
        config = importlib.import_module("hermes_cli.config").load_config()
        return sorted(map(str, importlib.import_module("hermes_cli.tools_config")._get_platform_tools(config, "cli")))
    except Exception as problem:  # noqa: BLE001 - isolation edge: the other profiles have an answer
        print(f"{home}: {problem}", file=sys.stderr)
        return None
    finally:
        constants.reset_hermes_home_override(token)


if __name__ == "__main__":
    status = main(sys.argv[1:])
    sys.stderr.flush()
    os._exit(status)  # a thread of a plugin must not keep this process
