"""The tab in the host's dashboard: a link from a home's plugin folder to the page that is in our package.

The dashboard looks at the plugin folder of the home it runs in and not at entry points, so that an installed
distribution needs the link; a directory install has the page in its own folder. Rule source: contract section 7.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from hermes_kanban_plugin.configuration import PLUGIN_ID

if TYPE_CHECKING:
    from hermes_kanban_plugin.installation.homes import Home

# A folder beside the one of a directory install, so that neither is ever in the way of the other.
FOLDER = f"{PLUGIN_ID}-dashboard"
PAGE = Path(__file__).resolve().parents[1] / "dashboard"


def place_in(home: Home) -> Path:
    """Return where the link to the page stands in a home."""
    return home.folder / "plugins" / FOLDER / PAGE.name


def is_linked(home: Home) -> bool:
    """Say whether the link leads to the page of this package."""
    place = place_in(home)
    return place.is_symlink() and os.readlink(place) == str(PAGE)


def is_ours(home: Home) -> bool:
    """Say whether setup made what stands there, of whatever installation: a link to a page of ours."""
    place = place_in(home)
    return place.is_symlink() and Path(os.readlink(place)).parts[-2:] == PAGE.parts[-2:]


def may_link(home: Home) -> bool:
    """Say whether nothing but an older link of ours stands in the way."""
    return is_ours(home) or not os.path.lexists(place_in(home))
