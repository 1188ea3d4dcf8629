"""The command ``hermes-kanban`` of a directory install: a program beside that of Hermes, which pip makes for a package.

It names the folder, looks there last, and says what to do when the folder is gone.
"""

from __future__ import annotations

import shlex
import sys
from typing import TYPE_CHECKING

from hermes_kanban_plugin.configuration import PLUGIN_ID
from hermes_kanban_plugin.installation.files import Snapshot, look

if TYPE_CHECKING:
    from pathlib import Path

_MARK = "# Made by the setup of hermes-kanban for a plugin folder"
_MODE = 0o755
# Read by sh as "run that Python with me", and by Python as a string: a path may be long or have spaces in it.
_PROGRAM = """#!/bin/sh
'''exec' {python} "$0" "$@"
' '''
{mark}; its setup --undo removes it.
import sys

sys.path.append({clone!a})
try:
    from hermes_kanban_plugin.cli.main import main
except ImportError as problem:
    sys.exit(f"hermes-kanban: {{problem}}; install the plugin again, or remove {{__file__}}")
sys.exit(main())
"""


def look_in(scripts: Path) -> Snapshot:
    """Return the command as it is now, in the folder of an environment's programs."""
    return look(scripts / PLUGIN_ID, _MODE)


def text_for(clone: Path) -> str:
    """Return the program that runs our command line from a folder."""
    return _PROGRAM.format(python=shlex.quote(sys.executable), mark=_MARK, clone=str(clone))


def is_ours(seen: Snapshot) -> bool:
    """Say whether setup made what stands there, for whatever folder."""
    return seen.content is not None and _MARK.encode() in seen.content
