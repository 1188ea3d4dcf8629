"""Files that setup looks at and changes: read whole, written whole or not at all, never one that changed meanwhile."""

from __future__ import annotations

import hashlib
import os
import stat
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from hermes_kanban_plugin.errors import SetupRefused

NEW_FILE_MODE = 0o600  # what is in a config.yaml may be a secret


class Snapshot(NamedTuple):
    """A file as it was seen: where it really is (behind links), its bytes (None: no file) and its mode."""

    path: Path
    target: Path
    content: bytes | None
    mode: int

    @property
    def text(self) -> str:
        """The content as text; nothing for a file that is not there.

        Raises:
            SetupRefused: it is not UTF-8.
        """
        try:
            return (self.content or b"").decode("utf-8")
        except UnicodeDecodeError as problem:
            raise SetupRefused(
                f"{self.path}: it is not UTF-8 text ({problem.reason} at byte {problem.start})"
            ) from None


def look(path: Path, mode: int = NEW_FILE_MODE) -> Snapshot:
    """Return a file as it is now; a link is followed.

    Args:
        path: the file, or a link to it.
        mode: what the file gets if it is to be made.

    Raises:
        SetupRefused: it cannot be read, or is no file.
    """
    target = Path(os.path.realpath(path))
    try:
        content = target.read_bytes()
        mode = stat.S_IMODE(target.stat().st_mode)
    except FileNotFoundError:
        return Snapshot(path, target, None, mode)
    except OSError as problem:
        raise SetupRefused(f"{path} cannot be read ({problem.strerror})") from problem
    return Snapshot(path, target, content, mode)


def refuse_unwritable(seen: Snapshot) -> None:
    """Check that a file can be replaced.

    Raises:
        SetupRefused: the file or its folder belongs to somebody else, or is read-only.
    """
    folder = seen.target.parent
    while not folder.exists():
        folder = folder.parent
    if not os.access(folder, os.W_OK | os.X_OK) or (seen.content is not None and not os.access(seen.target, os.W_OK)):
        raise SetupRefused(f"{seen.target} cannot be written by this user")


def replace(seen: Snapshot, content: bytes | None) -> None:
    """Put new bytes (None: no file) in the place of those that were seen: whole, on the disk, with the same mode.

    Raises:
        SetupRefused: the file is not what was seen any more, or cannot be written.
    """
    try:
        if look(seen.path).content != seen.content:
            raise SetupRefused(f"{seen.path} was changed by somebody else meanwhile; it was left alone, run it again")
        if content is None:
            seen.target.unlink(missing_ok=True)
            return
        seen.target.parent.mkdir(parents=True, exist_ok=True)
        _write(seen, content)
    except OSError as problem:
        raise SetupRefused(f"{seen.target} cannot be written ({problem.strerror}); it was left as it was") from problem


def _write(seen: Snapshot, content: bytes) -> None:
    unfinished = seen.target.with_name(f".{seen.target.name}.{os.getpid()}-{os.urandom(4).hex()}")
    descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            if seen.content is not None:
                owner = seen.target.stat()
                with suppress(OSError):  # only root may give a file away; a member of the group may at least keep it
                    os.fchown(stream.fileno(), owner.st_uid, owner.st_gid)
            os.fchmod(stream.fileno(), seen.mode)
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(unfinished, seen.target)
    except BaseException:
        with suppress(OSError):
            unfinished.unlink()
        raise
    _sync(seen.target.parent)


def _sync(folder: Path) -> None:
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def digest(content: bytes) -> str:
    """Return the SHA-256 of bytes, in hex."""
    return hashlib.sha256(content).hexdigest()
