"""What setup is about to change: one file or one link at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from pathlib import Path

    from hermes_kanban_plugin.installation.files import Snapshot


class Change(NamedTuple):
    """One thing to do: bytes for a file, or a link to a folder (``link``); None for either means that it goes away."""

    path: Path
    what: str
    seen: Snapshot | None = None
    content: bytes | None = None
    link: Path | None = None
