"""The demo's tasks and what each of them waits for."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from ruamel.yaml import YAML

from hermes_kanban_plugin.demo import jobs

if TYPE_CHECKING:
    from hermes_kanban_plugin.board import Board

# Which task waits for which: ten tasks, six levels deep.
GRAPH: dict[str, tuple[str, ...]] = {
    "collect": (),
    "compress": ("collect",),
    "checksum": ("collect",),
    "lines": ("collect",),
    "words": ("collect",),
    "index": ("collect",),
    "verify": ("compress", "checksum"),
    "review": ("verify",),
    "merge": ("verify", "lines", "words", "index"),
    "publish": ("merge", "review"),
}
MAX_IN_PROGRESS = 3


def write_settings(root: Path) -> None:
    """Write a configuration with one lane per job."""
    sources = str(Path(jobs.__file__).resolve().parent.parent)
    lanes = {name: {"command": [sys.executable, jobs.__file__, name, sources]} for name in GRAPH}
    document = {
        "kanban": {"max_in_progress": MAX_IN_PROGRESS},
        "plugins": {"entries": {"hermes-kanban": {"lanes": lanes}}},
    }
    with (root / "config.yaml").open("w") as stream:
        YAML(typ="safe", pure=True).dump(document, stream)


def add_tasks(board: Board, workspace: Path) -> dict[str, str]:
    """Put the tasks on the board; returns their ids by name."""
    ids: dict[str, str] = {}
    for name, parents in GRAPH.items():
        ids[name] = board.create_task(
            title=(jobs.JOBS[name].__doc__ or name).splitlines()[0],
            assignee=name,
            parents=tuple(ids[parent] for parent in parents),
            workspace_kind="dir",
            workspace_path=str(workspace),
            created_by="demo",
        )
    return ids
