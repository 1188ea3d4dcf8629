"""What setup did, written down before it is done, so that it can be taken back exactly.

The file holds the earlier text of each changed ``config.yaml``, which may have secrets in it, so only its owner may
read it.
"""

from __future__ import annotations

import json
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, NamedTuple

from hermes_kanban_plugin.installation import enabling, files, homes
from hermes_kanban_plugin.locations import SETTINGS

if TYPE_CHECKING:
    from pathlib import Path

    from hermes_kanban_plugin.installation.enabling import Traces
    from hermes_kanban_plugin.installation.files import Snapshot

NAME = "hermes-kanban-setup.json"
_VERSION = 1
# What a path that we write down has at the top of its home.
_TOPS = ((SETTINGS,), ("plugins",))


class Entry(NamedTuple):
    """What setup did to one ``config.yaml``.

    ``before`` is the text it had (None: it was not there) and ``after`` the digest of what setup wrote. ``exact`` says
    whether ``before`` is all that was changed since; otherwise only the parts are known: what was ``enabled``, taken
    from ``disabled``, the earlier word for the override (``override``, if setup wrote one), and the keys ``made``.
    """

    before: str | None
    after: str
    exact: bool
    enabled: bool
    disabled: bool
    allowed: bool
    override: str | None
    made: tuple[tuple[str, ...], ...]

    def undone(self, now: Traces) -> Traces:
        """Return what the file shall say about us when what setup did is taken from it as it is now."""
        return enabling.Traces(
            enabled=now.enabled and not self.enabled,
            disabled=now.disabled or self.disabled,
            override=self.override if self.allowed and now.allows_override else now.override,
        )


class Journal(NamedTuple):
    """Everything that setup did in one Hermes home; keys are paths.

    ``by_hand`` are the profiles that somebody had enabled us in before setup came; None: that was not written down.
    """

    entries: dict[str, Entry] = {}
    links: dict[str, str] = {}
    by_hand: tuple[str, ...] | None = None

    def is_later(self, profile: str) -> bool:
        """Say whether a profile that setup never wrote to was made, or enabled us, after setup: by cloning, mostly."""
        return self.by_hand is not None and profile not in self.by_hand


def path_in(root: Path) -> Path:
    """Return where the journal of a Hermes home is."""
    return root / "kanban" / NAME


def load(seen: Snapshot, root: Path) -> Journal | None:
    """Return what a journal says, or None for one that is missing or unreadable.

    Args:
        seen: the journal.
        root: the root home as it is now; one that was moved or mounted elsewhere took its journal with it.
    """
    try:
        document = json.loads(seen.content or b"")
        entries = {_moved(path, root): _entry(one) for path, one in document["files"].items()}
        links = {_moved(path, root): str(target) for path, target in document["links"].items()}
        by_hand = document.get("by_hand")  # not yet in the journals of the first days
        return Journal(entries, links, None if by_hand is None else tuple(str(profile) for profile in by_hand))
    except (ValueError, TypeError, KeyError, AttributeError):
        return None


def _moved(path: str, root: Path) -> str:
    """Return where a file of a home is by now: the last parts of its path, below this root."""
    parts = PurePath(path).parts
    length = next((number for number in (1, 2, 3) if parts[-number:][:1] in _TOPS), 1)
    home = parts[-length - 2 : -length] if parts[-length - 2 : -length - 1] == (homes.PROFILES,) else ()
    return str(root.joinpath(*home, *parts[-length:]))


def _entry(document: dict[str, Any]) -> Entry:
    made = tuple(tuple(str(name) for name in path) for path in document["made"])
    return Entry(**{**document, "made": made})


def dump(journal: Journal) -> bytes:
    """Return a journal as it is written."""
    document = {
        "version": _VERSION,
        "files": {path: entry._asdict() for path, entry in journal.entries.items()},
        "links": journal.links,
        "by_hand": journal.by_hand,
    }
    return (json.dumps(document, indent=1, ensure_ascii=False) + "\n").encode()


def note(earlier: Entry | None, seen: Snapshot, after: bytes) -> Entry:
    """Return what is to be remembered of a change, together with what was remembered of an earlier one.

    Args:
        earlier: what setup did to this file before, if anything of it is still there.
        seen: the file before the change.
        after: what is written.
    """
    old, new = enabling.read(seen.text), enabling.read(after.decode("utf-8"))
    made = [path for path in enabling.containers(after.decode("utf-8")) if path not in enabling.containers(seen.text)]
    allowed = new.override != old.override
    fresh = Entry(
        before=None if seen.content is None else seen.text,
        after=files.digest(after),
        exact=True,
        enabled=new.enabled and not old.enabled,
        disabled=old.disabled and not new.disabled,
        allowed=allowed,
        override=old.override if allowed else None,
        made=tuple(made),
    )
    if earlier is None or not (old.enabled or old.allows_override):
        return fresh
    unbroken = earlier.exact and seen.content is not None and files.digest(seen.content) == earlier.after
    return fresh._replace(
        before=earlier.before,
        exact=unbroken,
        enabled=fresh.enabled or earlier.enabled,
        disabled=fresh.disabled or earlier.disabled,
        allowed=fresh.allowed or earlier.allowed,
        override=earlier.override if earlier.allowed else fresh.override,
        made=tuple(dict.fromkeys([*earlier.made, *made])),
    )
