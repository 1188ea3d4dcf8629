"""The folder of a directory install: it is in the ``plugins/`` of one home, and the others get a link to it by setup.

Rule source: contract section 7 (a plugin folder counts for its own home only).
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from hermes_kanban_plugin.configuration import PLUGIN_ID

if TYPE_CHECKING:
    from pathlib import Path

    from hermes_kanban_plugin.installation.homes import Home


def place_in(home: Home) -> Path:
    """Return where a home looks for us."""
    return home.folder / "plugins" / PLUGIN_ID


def leads_to(home: Home) -> str | None:
    """Return what the link in a home says, or None where there is no link."""
    place = place_in(home)
    return os.readlink(place) if place.is_symlink() else None


def needs_link(home: Home, clone: Path, made: str | None) -> bool:
    """Say whether a home lacks its link: there is none, or one that leads nowhere, or an older one of ours.

    A folder that is there, or a link that somebody made to one, is somebody's decision and stays.

    Args:
        home: the home.
        clone: the folder of the directory install.
        made: where a link leads that setup made there before, or None.
    """
    place, said = place_in(home), leads_to(home)
    if said is None:
        return not place.exists()
    if not place.exists():
        return True
    return said == made and not os.path.samefile(place, clone)
