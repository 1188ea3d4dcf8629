"""Whether the files that a dispatcher starts supervisors from are still those that it was started with itself.

They are gone after an uninstall, and of another version after an upgrade. A dispatcher that went on would start
supervisors that cannot run, one failure of the task each.
"""

from __future__ import annotations

import os

_FOLDER = os.path.dirname(os.path.abspath(__file__))
_PACKAGE = os.path.join(os.path.dirname(_FOLDER), "__init__.py")

Stamp = frozenset[tuple[str, int, int, int]]


def stamp() -> Stamp | None:
    """Return what tells these files from others in their place, or None when they are gone; some microseconds."""
    found = set()
    try:
        with os.scandir(_FOLDER) as entries:
            paths = [entry.path for entry in entries if entry.name.endswith(".py")]
        for path in (_PACKAGE, *paths):
            facts = os.stat(path)
            found.add((path, facts.st_ino, facts.st_size, facts.st_mtime_ns))
    except OSError:
        return None
    return frozenset(found)
