"""In a checkout of this repository `import tools` is the host's package: for us, for pytest, and for a worker there."""

from __future__ import annotations

from importlib.metadata import distribution
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

# The current folder stands first on the path of `python -c`, as it does for `python -m pytest`.
CODE = """
import json, sys
assert sys.path[0] == "", sys.path
{first}
import tools
import tools.kanban_tools
import hermes_kanban_plugin.tools.kanban_heartbeat as ours
print(json.dumps({{"tools": tools.__file__, "kanban": tools.kanban_tools.__file__, "ours": ours.__file__}}))
"""

FIRST = {
    "host first": "",
    "our package first": "import hermes_kanban_plugin",
    "our tools first": "import hermes_kanban_plugin.tools.kanban_heartbeat",
    "our hooks first": "import hermes_kanban_plugin.hooks.orphan_scan",
    "checkout on the path": "import os; sys.path.insert(0, os.getcwd())",
}


@pytest.mark.parametrize("first", FIRST.values(), ids=FIRST)
def test_tools_is_the_hosts_in_the_checkout(root: Path, run_python: Callable[..., Any], first: str) -> None:
    seen = run_python(CODE.format(first=first), cwd=root)
    host = distribution("hermes-agent")
    assert seen["tools"] == str(host.locate_file("tools/__init__.py"))
    assert seen["kanban"] == str(host.locate_file("tools/kanban_tools.py"))
    assert seen["ours"] == str(root / "tools" / "kanban_heartbeat.py")


def test_tools_is_the_hosts_in_this_very_process() -> None:
    import tools

    assert tools.__file__ == str(distribution("hermes-agent").locate_file("tools/__init__.py"))


def test_checkout_works_with_nothing_of_ours_installed(
    root: Path, host_site: Path, run_python: Callable[..., Any]
) -> None:
    seen = run_python(CODE.format(first=""), cwd=root, path=[host_site])
    assert seen["tools"] == str(host_site / "tools" / "__init__.py")
    assert seen["ours"] == str(root / "tools" / "kanban_heartbeat.py")
