"""The homes of a Hermes installation: the root, and one per profile. Each has a ``config.yaml`` of its own.

Rule source: contract section 7 (a worker loads the plugins of its profile's home) and the host's names for profiles.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from hermes_kanban_plugin.errors import InvalidArgument
from hermes_kanban_plugin.locations import SETTINGS

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

ROOT_PROFILE = "default"
PROFILES = "profiles"
_PROFILE = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")


class Home(NamedTuple):
    """One home: the profile's name and its folder."""

    profile: str
    folder: Path

    @property
    def config(self) -> Path:
        """Its settings file."""
        return self.folder / SETTINGS


def find(root: Path, only: Sequence[str] | None = None) -> list[Home]:
    """Return the root home and those of all profiles, or only some of them.

    Args:
        root: the root home.
        only: names of profiles; ``default`` is the root home.

    Raises:
        InvalidArgument: there is no such profile.
    """
    folder = root / PROFILES
    entries = sorted(folder.iterdir()) if folder.is_dir() else []
    profiles = [one for one in entries if one.is_dir() and one.name != ROOT_PROFILE and _PROFILE.fullmatch(one.name)]
    homes = [Home(ROOT_PROFILE, root), *(Home(one.name, one) for one in profiles)]
    if not only:
        return homes
    known = {home.profile: home for home in homes}
    missing = [name for name in only if name not in known]
    if missing:
        raise InvalidArgument(f"there is no profile {missing[0]!r} in {root}; there are: {', '.join(known)}")
    return [known[name] for name in dict.fromkeys(only)]
