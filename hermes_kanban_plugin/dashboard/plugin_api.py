"""The routes of the page, mounted by the host at ``/api/plugins/hermes-kanban/`` behind its session token.

The host guards every route below ``/api`` and imports this file by its path, so it only ties requests to the modules
beside it. Handlers are plain functions, which run in threads: a locked board must not hold up the dashboard.
"""

from __future__ import annotations

import logging
import sqlite3
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, HTTPException
from pydantic import BaseModel, Field

from hermes_kanban_plugin.dashboard import actions, charts, overview, story
from hermes_kanban_plugin.errors import CallerMistake, ChangedMeanwhile, KanbanError, UnknownBoard, UnknownTask
from hermes_kanban_plugin.runtime import Runtime
from hermes_kanban_plugin.store.moves import Seen

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hermes_kanban_plugin.board import Board

router = APIRouter()
log = logging.getLogger(__name__)

CHANGED = "It changed meanwhile, look again. Nothing was done."
_MISSING = (UnknownBoard, UnknownTask)
MAX_RUN = 2**62


class Desk:
    """A runtime of this process, whose boards stay open; one request at a time uses it.

    A person waits for each answer, so that a locked board is not waited for as long as a dispatcher would.
    """

    def __init__(self, busy: int) -> None:
        self._lock = threading.Lock()
        self._busy = busy
        self.runtime: Runtime | None = None

    @contextmanager
    def taken(self) -> Iterator[Runtime]:
        """Have the desk for oneself, with the settings in force; a slip in them hides no board."""
        with self._lock:
            if self.runtime is None:
                self.runtime = Runtime(lenient=True, busy=self._busy)
            self.runtime.reload()
            yield self.runtime

    def clear(self) -> None:
        """Close all boards."""
        with self._lock:
            if self.runtime is not None:
                self.runtime.close()
            self.runtime = None


# What is done may wait for a writer, for a tick of somebody else, or for a worker to end; who looks does not.
LOOKING, DOING = Desk(busy=1_000), Desk(busy=5_000)


class ShownTask(BaseModel):
    """What the page showed of a task."""

    status: str = Field(max_length=40)
    run_id: int = Field(ge=0, le=MAX_RUN)
    lock: str = Field(max_length=500)


class Act(BaseModel):
    """One button pressed; ``as_of`` is the newest event when the page was drawn."""

    board: str = Field(max_length=100)
    verb: str = Field(max_length=40)
    task_id: str = Field(max_length=200)
    seen: ShownTask
    as_of: int = Field(ge=0, le=MAX_RUN)
    life: str | None = Field(default=None, max_length=80)


class ShownRun(BaseModel):
    """One row of the preview."""

    task_id: str = Field(max_length=200)
    run_id: int = Field(ge=0, le=MAX_RUN)


class ReclaimStale(BaseModel):
    """The preview confirmed."""

    board: str = Field(max_length=100)
    shown: list[ShownRun] = Field(min_length=1, max_length=10_000)


@contextmanager
def _serving(slug: str | None, desk: Desk = LOOKING) -> Iterator[tuple[Runtime, Board]]:
    """Open a board for one request."""
    with _explained(), desk.taken() as runtime:
        yield runtime, overview.open_board(runtime, slug)


@contextmanager
def _explained() -> Iterator[None]:
    """What goes wrong becomes a status and one sentence."""
    try:
        yield
    except ChangedMeanwhile as changed:
        raise HTTPException(409, CHANGED) from changed
    except _MISSING as missing:
        raise HTTPException(404, _line(missing)) from missing
    except CallerMistake as mistake:
        raise HTTPException(400, _line(mistake)) from mistake
    except (KanbanError, sqlite3.Error) as problem:
        raise HTTPException(503, _line(problem)) from problem
    except Exception as bug:  # a person who looks at a board must learn more than a bare status
        log.exception("a request of the page Kanban Health failed")
        said = f"A mistake of hermes-kanban ({type(bug).__name__}: {_line(bug)}). Report it with the dashboard's log."
        raise HTTPException(500, said) from bug


def _line(problem: Exception) -> str:
    return " ".join(str(problem).split())


@router.get("/boards")
def read_boards() -> dict[str, Any]:
    """Return the names of the boards, also when one of them cannot be shown."""
    with _explained(), LOOKING.taken() as runtime:
        return {"boards": overview.names(runtime)}


@router.get("/overview")
def read_overview(board: str | None = None) -> dict[str, Any]:
    """Return what the page shows and asks for again and again."""
    with _serving(board) as (runtime, opened):
        return overview.overview(runtime, opened)


@router.get("/charts")
def read_charts(board: str | None = None) -> dict[str, Any]:
    """Return the charts, which change slowly and cost more."""
    with _serving(board) as (_, opened):
        return charts.draw(opened)


@router.get("/tasks/{task_id:path}")
def read_task(task_id: str, board: str | None = None) -> dict[str, Any]:
    """Return the story of one task."""
    with _serving(board) as (runtime, opened):
        return story.story(runtime, opened, task_id)


@router.get("/stale")
def read_stale(board: str | None = None) -> dict[str, Any]:
    """Return what "Reclaim all stale" would do."""
    with _serving(board) as (runtime, opened):
        return actions.preview_stale(runtime, opened)


@router.post("/act")
def act(wish: Act) -> dict[str, Any]:
    """Do what one button says, on the task as it was shown."""
    seen = Seen(wish.seen.status, wish.seen.run_id, wish.seen.lock)
    with _serving(wish.board, DOING) as (runtime, opened):
        press = actions.Press(wish.verb, wish.task_id, seen, wish.as_of, wish.life)
        return {"sentence": actions.act(runtime, opened, press)}


@router.post("/reclaim-stale")
def reclaim_stale(wish: ReclaimStale) -> dict[str, Any]:
    """Take back what is stale, of what was shown."""
    shown = [(one.task_id, one.run_id) for one in wish.shown]
    with _serving(wish.board, DOING) as (runtime, opened):
        taken = actions.reclaim_stale(runtime, opened, shown)
    return {"taken": list(taken), "sentence": _reclaimed(taken, len(shown))}


def _reclaimed(taken: dict[str, str], shown: int) -> str:
    """Say what became of what was shown."""
    gone = sum(column == "blocked" for column in taken.values())
    said = f"{len(taken)} task{'' if len(taken) == 1 else 's'} reclaimed."
    if gone:
        said += f" {gone} failed too often and {'is' if gone == 1 else 'are'} blocked now."
    left = shown - len(taken)
    return said + (f" {left} changed meanwhile and {'was' if left == 1 else 'were'} left alone." if left > 0 else "")
