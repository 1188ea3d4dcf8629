"""Deliverables of a finished task: found, checked and copied out of the scratch workspace before that is removed.

The copies are made before the completion's transaction, so that no file is read under the board's write lock, and are
taken away again when the completion is refused. Rule source: contract section 6 (artifacts).
"""

from __future__ import annotations

import re
import shutil
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

from hermes_kanban_plugin.errors import ArtifactNotPreserved
from hermes_kanban_plugin.store.cleanups import is_managed
from hermes_kanban_plugin.store.outcomes import StoredArtifact

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hermes_kanban_plugin.locations import BoardLocation
    from hermes_kanban_plugin.models import Task

MAX_BYTES = 25 * 1024 * 1024


class Preserved(NamedTuple):
    """The deliverables' paths as they are after copying, and the copies that were made."""

    paths: list[str]
    copies: list[StoredArtifact]

    def discard(self) -> None:
        """Remove the copies, because the completion they were made for did not happen."""
        for copy in self.copies:
            stored = Path(copy.stored_path)
            stored.unlink(missing_ok=True)
            with suppress(OSError):  # other attachments are in it
                stored.parent.rmdir()


def named_in(text: str, task: Task, location: BoardLocation) -> list[str]:
    """Return the existing files of the task's scratch workspace that a text names by their full path."""
    workspace = scratch_of(task, location)
    if workspace is None:
        return []
    found = re.findall(re.escape(str(workspace)) + r"[/\\][^\s`\"'<>]+", text)
    paths = (path.rstrip(".,;:!?)]}") for path in found)
    return [path for path in dict.fromkeys(paths) if Path(path).is_file()]


def preserve(paths: Sequence[str], task: Task, location: BoardLocation, *, dry_run: bool = False) -> Preserved:
    """Copy those deliverables that lie in the scratch workspace to the task's attachments; others stay where they are.

    In a dry run they are looked at, and none is copied.

    Raises:
        ArtifactNotPreserved: a declared file of the scratch workspace is missing, no regular file, larger than
            ``MAX_BYTES``, or cannot be copied; nothing is left behind.
    """
    workspace = scratch_of(task, location)
    kept = Preserved([], [])
    for path in paths:
        try:
            source = Path(path).expanduser()
            if workspace is None or not source.resolve().is_relative_to(workspace.resolve()):
                kept.paths.append(path)
                continue
            copy = _copy(source, location.attachments / task.id, dry_run=dry_run)
        except (OSError, ValueError, RuntimeError) as problem:  # also: no such user after ~, a NUL in the path
            kept.discard()
            raise _refusal(path, getattr(problem, "strerror", None) or str(problem)) from problem
        except ArtifactNotPreserved:
            kept.discard()
            raise
        kept.copies.append(copy)
        kept.paths.append(copy.stored_path)
    return kept


def scratch_of(task: Task, location: BoardLocation) -> Path | None:
    """Return the task's scratch workspace if it is a managed one."""
    if task.workspace_kind != "scratch" or not task.workspace_path:
        return None
    managed = is_managed(task.workspace_path, [str(location.workspaces)])
    return Path(task.workspace_path) if managed else None


def _copy(source: Path, folder: Path, *, dry_run: bool) -> StoredArtifact:
    if not source.is_file():
        raise _refusal(str(source), "it is missing or not a regular file")
    if source.stat().st_size > MAX_BYTES:
        raise _refusal(str(source), f"it is larger than {MAX_BYTES} bytes")
    if dry_run:
        return StoredArtifact(source.name, str(folder / source.name), source.stat().st_size)
    folder.mkdir(parents=True, exist_ok=True)
    with source.open("rb") as original:
        target, stream = _open_free_name(folder, source.name)
        try:
            with stream:
                shutil.copyfileobj(original, stream)
        except BaseException:
            target.unlink(missing_ok=True)
            raise
    return StoredArtifact(target.name, str(target.resolve()), target.stat().st_size)


def _open_free_name(folder: Path, name: str) -> tuple[Path, BinaryIO]:
    """Make a new file under the first free name; made, not looked for, because another run may be copying too."""
    for number in count():
        target = folder / (f"{Path(name).stem}_{number}{Path(name).suffix}" if number else name)
        with suppress(FileExistsError):
            return target, target.open("xb")
    raise AssertionError("unreachable: the numbers do not end")


def _refusal(path: str, why: str) -> ArtifactNotPreserved:
    return ArtifactNotPreserved(
        f"could not preserve the declared artifact {path}: {why}. The task is still in flight and its workspace was "
        "kept; fix the path and call again with the same hand-off"
    )
