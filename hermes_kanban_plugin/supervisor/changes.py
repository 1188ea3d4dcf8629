"""What a worker changed in its workspace: by git where there is a repository, by the files' times elsewhere.

Nothing is opened, so that a board file that lies in a workspace keeps its locks (contract W1). It may never hold a
supervisor up: whatever is not found in time is left out. Standard library only: the supervisor uses this module.
"""

from __future__ import annotations

import os
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from hermes_kanban_plugin.handoff import MAX_FILES, Changes

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

MAX_DIFFERENCE = 2000
MAX_COMMITS = 20
# A path that is longer is cut to its end, which names the file.
MAX_PATH = 200
# Folders that tools fill by the thousand; what is in them is nobody's work.
_SKIPPED = frozenset({".git", ".hg", ".svn", "__pycache__", "node_modules", ".venv", "venv", ".tox", ".mypy_cache"})
# Nothing that a worker may have configured in its repository is run.
_GIT = (
    "git",
    "--no-optional-locks",
    "-c",
    "core.fsmonitor=false",
    "-c",
    "core.quotePath=false",
    "-c",
    "color.ui=never",
)
_KEPT = ("PATH", "HOME", "TMPDIR", "GIT_CEILING_DIRECTORIES")


def changes_in(directory: str, since: int, environment: Mapping[str, str], seconds: float) -> Changes:
    """Return what changed below a folder since a moment.

    Args:
        directory: the workspace.
        since: when the worker started, epoch seconds.
        environment: the worker's environment; git is looked up on its PATH.
        seconds: how long this may take.
    """
    deadline = time.monotonic() + seconds
    if os.path.exists(os.path.join(directory, ".git")):
        found = _by_git(directory, since, environment, deadline)
        if found is not None:
            return found
    return _listed(sorted(_newer_files(directory, since, deadline)))


def _listed(names: list[str], difference: str = "") -> Changes:
    shown = [_shown(name) for name in names[:MAX_FILES]]
    return Changes(shown, max(0, len(names) - MAX_FILES), difference[:MAX_DIFFERENCE])


def _shown(name: str) -> str:
    """Return a path as text that any board can hold, on one line: a file may be called whatever bytes there are."""
    text = os.fsencode(name).decode(errors="replace")
    line = "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text)
    return line if len(line) <= MAX_PATH else f"…{line[1 - MAX_PATH :]}"


def _by_git(directory: str, since: int, environment: Mapping[str, str], deadline: float) -> Changes | None:
    kept = {name: environment[name] for name in _KEPT if name in environment}
    kept |= {"LC_ALL": "C", "GIT_TERMINAL_PROMPT": "0", "GIT_OPTIONAL_LOCKS": "0"}

    def ask(*words: str) -> str | None:
        return _run([*_GIT, *words], directory, kept, deadline)

    status = ask("status", "--porcelain=v1", "-z", "--no-renames")
    if status is None:
        return None
    files = sorted(entry[3:] for entry in status.split("\0") if entry)
    commits = ask("log", f"--max-count={MAX_COMMITS}", f"--since=@{since}", "--format=commit %h %s") or ""
    difference = ask("diff", "--no-ext-diff", "--no-textconv", "--stat=100", "HEAD") or ""
    return _listed(files, "\n".join(part.rstrip() for part in (commits, difference) if part.strip()))


def _run(command: list[str], directory: str, environment: dict[str, str], deadline: float) -> str | None:
    """Return what a command printed, or None when it failed, is not there or took too long."""
    import subprocess  # late: only a supervisor whose worker left something unfinished pays for it

    left = deadline - time.monotonic()
    if left <= 0:
        return None
    try:
        done = subprocess.run(
            command, cwd=directory, env=environment, stdin=subprocess.DEVNULL, capture_output=True, timeout=left,
            check=False,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.decode(errors="replace") if done.returncode == 0 else None


def _newer_files(directory: str, since: int, deadline: float) -> Iterator[str]:
    folders = [directory]
    while folders:
        for entry in _entries(folders.pop()):
            if time.monotonic() >= deadline:  # asked for each, because one folder may hold a million files
                return
            try:
                if entry.is_dir(follow_symlinks=False):
                    if entry.name not in _SKIPPED:
                        folders.append(entry.path)
                elif entry.stat(follow_symlinks=False).st_mtime >= since:
                    yield os.path.relpath(entry.path, directory)
            except OSError:
                continue


def _entries(folder: str) -> Iterator[os.DirEntry[str]]:
    """Yield what is in a folder; one that cannot be read is empty."""
    with suppress(OSError), os.scandir(folder) as found:
        yield from found
