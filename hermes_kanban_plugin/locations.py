"""Where boards and everything beside them live: the host's rules, exactly (contract section 1).

Standard library only.
"""

from __future__ import annotations

import json
import os
import re
import sys
from pathlib import Path
from typing import NamedTuple

from hermes_kanban_plugin.errors import InvalidArgument, UnknownBoard

DEFAULT_BOARD = "default"
SETTINGS = "config.yaml"
_SYSTEM_FOLDER = Path("/etc/hermes")
_SLUG = re.compile(r"[a-z0-9][a-z0-9\-_]{0,63}")


class BoardLocation(NamedTuple):
    """The files and folders of one board; ``root`` is the kanban home that all boards share."""

    slug: str
    root: Path
    database: Path
    workspaces: Path
    attachments: Path
    logs: Path
    metadata: Path


def kanban_root() -> Path:
    """Return the kanban home: ``HERMES_KANBAN_HOME``, else the root that the Hermes home belongs to.

    All profiles share it: a home inside the native one, or ``<root>/profiles/<name>``, leads to its root.

    Raises:
        InvalidArgument: the variable begins with the home of a user that does not exist.
    """
    return _override("HERMES_KANBAN_HOME") or hermes_root()


def hermes_root() -> Path:
    """Return the root home of Hermes, which the profiles live in; the kanban home, unless that was put elsewhere."""
    native = _native_home()
    home = os.environ.get("HERMES_HOME", "")
    if not home:
        return native
    path = Path(home).absolute()
    if path.resolve().is_relative_to(native.resolve()):
        return native
    return path.parent.parent if path.parent.name == "profiles" else path


def settings_file(root: Path) -> Path:
    """Return the settings file of a kanban home: that of the Hermes root, which need not be the same folder.

    Where Hermes has none, and the kanban home was put elsewhere, it is the one in the kanban home.
    """
    own = root / SETTINGS
    if root != kanban_root():
        return own
    hermes = hermes_root() / SETTINGS
    return hermes if hermes.exists() or not own.exists() else own


def managed_settings() -> Path | None:
    """Return the settings file of this machine's administrator, which wins over all others, if there is one."""
    wish = os.environ.get("HERMES_MANAGED_DIR", "").strip()
    path = (Path(wish) if wish else _SYSTEM_FOLDER) / SETTINGS
    return path if path.is_file() else None


def locate(slug: str | None = None) -> BoardLocation:
    """Return the location of a board, whether it exists or not.

    ``HERMES_KANBAN_DB`` wins over everything, a named board included; otherwise the named board, else the current one.

    Raises:
        InvalidArgument: the name cannot be a board's.
    """
    root = kanban_root()
    name = check_slug(slug) if slug else current_board(root)
    folder = root / "kanban" / "boards" / name
    home = root / "kanban" if name == DEFAULT_BOARD else folder
    database = root / "kanban.db" if name == DEFAULT_BOARD else folder / "kanban.db"
    return BoardLocation(
        slug=name,
        root=root,
        database=_override("HERMES_KANBAN_DB") or database,
        workspaces=_override("HERMES_KANBAN_WORKSPACES_ROOT") or home / "workspaces",
        attachments=_override("HERMES_KANBAN_ATTACHMENTS_ROOT") or home / "attachments",
        logs=home / "logs",
        metadata=folder / "board.json",
    )


def locate_existing(slug: str | None = None) -> BoardLocation:
    """Return the location of a board that is there.

    Raises:
        InvalidArgument: the name cannot be a board's.
        UnknownBoard: the board was never created.
    """
    location = locate(slug)
    if not location.database.exists():
        raise UnknownBoard(location.slug, location.database)
    return location


def current_board(root: Path) -> str:
    """Return the name of the current board: environment, then pointer file, then ``default``.

    The first one that exists wins; names that are not boards are passed over, as the host does.
    """
    pointer = root / "kanban" / "current"
    wishes = (os.environ.get("HERMES_KANBAN_BOARD", ""), _read_text(pointer))
    for wish in wishes:
        name = wish.strip().lower()
        if _SLUG.fullmatch(name) and board_exists(root, name):
            return name
    return DEFAULT_BOARD


def board_exists(root: Path, slug: str) -> bool:
    """Say whether a board's folder has its file or its metadata; ``default`` always exists."""
    folder = root / "kanban" / "boards" / slug
    return slug == DEFAULT_BOARD or (folder / "board.json").exists() or (folder / "kanban.db").exists()


def serving_boards(root: Path) -> list[BoardLocation]:
    """Return the boards that a dispatcher serves: not archived, with a file, each file once, default first."""
    folder = root / "kanban" / "boards"
    names = sorted(entry.name for entry in folder.iterdir() if entry.is_dir()) if folder.is_dir() else []
    found: dict[Path, BoardLocation] = {}
    for name in (DEFAULT_BOARD, *(name for name in names if name != DEFAULT_BOARD and _SLUG.fullmatch(name))):
        location = locate(name)
        if location.database.exists() and not metadata_of(location).get("archived"):
            found.setdefault(location.database.resolve(), location)
    return list(found.values())


def metadata_of(location: BoardLocation) -> dict[str, object]:
    """Return a board's ``board.json``, or nothing when it is missing or not readable."""
    try:
        read = json.loads(_read_text(location.metadata) or "{}")
    except ValueError:
        return {}
    return read if isinstance(read, dict) else {}


def check_slug(slug: str) -> str:
    """Return the board name as it is stored.

    Raises:
        InvalidArgument: it has characters that a board name cannot have.
    """
    name = slug.strip().lower()
    if not _SLUG.fullmatch(name):
        raise InvalidArgument(
            f"{slug!r} cannot be a board's name; use up to 64 of a-z, 0-9, - and _, starting with a letter or digit"
        )
    return name


def dispatcher_lock(root: Path) -> Path:
    """Return the lock file of the one dispatcher of a kanban home (contract section 2, file locks)."""
    return root / "kanban" / ".dispatcher.lock"


def tick_lock(database: Path) -> Path:
    """Return the lock file that is held while a board is ticked; the host's processes honour it too."""
    return database.with_name(f"{database.name}.dispatch.lock")


def _native_home() -> Path:
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local") / "hermes"
    return Path.home() / ".hermes"


def _override(name: str) -> Path | None:
    """Return the path a variable names; absolute, because workers get it and stand in another folder.

    Raises:
        InvalidArgument: it begins with the home of a user that does not exist.
    """
    value = os.environ.get(name, "").strip()
    try:
        return Path(value).expanduser().absolute() if value else None
    except RuntimeError as problem:
        raise InvalidArgument(f"{name} is {value!r}, and there is no such user; write the whole path") from problem


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return ""
