"""``status``: is the board served, by whom, what runs, and what bounds it; works with everything down."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, NamedTuple

from hermes_kanban_plugin import __version__, locations, machine
from hermes_kanban_plugin.clock import Clock
from hermes_kanban_plugin.dispatch import standing
from hermes_kanban_plugin.dispatch.standing import State
from hermes_kanban_plugin.errors import InvalidSettings
from hermes_kanban_plugin.memory import Memory

if TYPE_CHECKING:
    import argparse

    from hermes_kanban_plugin.dispatch.standing import BoardStanding, Standing

_CAPS = ("max_spawn", "max_in_progress", "max_in_progress_per_profile")
_OWN_CAPS = ("assignee_caps", "pools")
_MEMORY = {
    Memory.TIGHT: "tight: no further worker is started while one runs (memory_guard)",
    Memory.CRITICAL: "none left: no worker is started (memory_guard)",
    Memory.UNKNOWN: "cannot be seen: two workers run at most (memory_guard)",
}
# A board full of runs is counted, not listed: who needs all of them asks for JSON.
SHOWN_RUNS = 20
_INDENT, _LEAST_TITLE = 11, 12
_DISABLED = "the gateway may not dispatch: kanban.dispatch_in_gateway or HERMES_KANBAN_DISPATCH_IN_GATEWAY says no"


class _Bounds(NamedTuple):
    """What bounds the running tasks: the caps with where each comes from, the memory, what is wrong with the settings.

    ``memory`` is None when nobody looks at it; ``disabled`` says that the gateway may not dispatch.
    """

    caps: dict[str, dict[str, Any]]
    memory: Memory | None
    problems: list[str]
    disabled: bool = False


def status(args: argparse.Namespace) -> int:
    """Say who dispatches and what runs; the exit status is 0 while a dispatcher of ours serves, else 1.

    With ``--probe`` one line, and an exit status for each state that a monitor tells apart.
    """
    now = Clock().now()
    root = locations.kanban_root()
    if args.probe:
        return _probe(args, now)
    boards = [locations.locate_existing(args.board)] if args.board else locations.serving_boards(root)
    found = standing.look(root, boards, now)
    bounds = _bounds()
    from hermes_kanban_plugin.cli import output

    if args.json:
        output.print_json(_as_json(found, bounds, now))
    else:
        _print_standing(found, bounds, now)
    sound = found.serves and not any(board.problem or found.leaves_out(board) for board in found.boards)
    return 0 if sound else 1


def _probe(args: argparse.Namespace, now: int) -> int:
    from hermes_kanban_plugin.cli import output
    from hermes_kanban_plugin.dispatch.health import Health, check

    root = locations.kanban_root()
    slug = locations.locate_existing(args.board).slug if args.board else None
    found = standing.look(root, locations.serving_boards(root), now)
    bounds = _bounds()
    caps = [bounds.caps[name]["value"] for name in _CAPS[:2] if name in bounds.caps]
    seen = check(found, caps, slug, disabled=bounds.disabled)
    if args.json:
        output.print_json({**seen._asdict(), "exit_status": seen.health.exit_status, "sentence": _sentence(found, now)})
        return seen.health.exit_status
    limit = f" of {seen.cap}" if seen.cap is not None else ""
    named = {"paused": seen.paused, "not served": seen.left, "unreadable": seen.unreadable}
    some = "".join(f"; {what}: {', '.join(slugs)}" for what, slugs in named.items() if slugs)
    why = f"; {_DISABLED}" if seen.health is Health.DISABLED else ""
    text = f"{seen.running}{limit} running, {seen.waiting} waiting{some}; {_sentence(found, now)}{why}"
    output.print_line(f"{seen.health}: {text}")
    return seen.health.exit_status


def _bounds() -> _Bounds:
    from hermes_kanban_plugin import configuration
    from hermes_kanban_plugin.host import dispatcher_watcher

    root = locations.kanban_root()
    try:
        loaded = configuration.load(root)
    except InvalidSettings as mistake:
        return _Bounds({}, None, [" ".join(str(mistake).split())])
    given = loaded.host.model_fields_set
    source = str(locations.settings_file(root))
    caps = {
        name: {"value": getattr(loaded.host, name), "source": source if name in given else "default"} for name in _CAPS
    }
    ours = {name: value for name, value in loaded.plugin.model_dump(mode="json").items() if name in _OWN_CAPS and value}
    for name, value in ours.items():
        variable = f"{configuration.ENV_PREFIX}{name.upper()}"
        caps[name] = {"value": value, "source": variable if variable in os.environ else source}
    memory = machine.memory() if loaded.plugin.memory_guard else None
    problems = [f"section kanban, the default counts for {words}" for words in loaded.ignored]
    allowed = loaded.host.dispatch_in_gateway and dispatcher_watcher.environment_allows()
    return _Bounds(caps, memory, problems, disabled=not allowed)


def _shown(value: Any) -> str:
    """Return a cap as it is shown: a number, or the numbers of assignees and pools."""
    if not isinstance(value, dict):
        return str(value)
    sizes = {name: part["size"] if isinstance(part, dict) else part for name, part in value.items()}
    return ", ".join(f"{name}={size}" for name, size in sizes.items())


def _as_json(found: Standing, bounds: _Bounds, now: int) -> dict[str, Any]:
    return {
        "version": __version__,
        "dispatcher": {
            "state": found.state.value,
            "serves": found.serves,
            "pid": found.pid,
            "lock_holder_pid": found.holder,
            "started_by": found.started_by,
            "since": found.term.began_at if found.term else None,
            "last_tick_at": found.term.last_tick_at if found.term else None,
            "last_tick_age_seconds": max(0, now - found.term.last_tick_at) if found.term else None,
            "sentence": _sentence(found, now),
        },
        "caps": bounds.caps,
        "memory": bounds.memory.value if bounds.memory else None,
        "settings_problems": bounds.problems,
        "boards": [_board_as_json(board, now) for board in found.boards],
    }


def _board_as_json(board: BoardStanding, now: int) -> dict[str, Any]:
    return {
        "board": board.slug,
        "path": board.path,
        "problem": board.problem,
        "last_tick_at": board.term.last_tick_at if board.term else None,
        "counts": board.counts,
        "paused": board.paused._asdict() if board.paused else None,
        "running": [
            {
                **run,
                "age_seconds": None if run["started_at"] is None else max(0, now - run["started_at"]),
                "lease_left_seconds": None if run["claim_expires"] is None else run["claim_expires"] - now,
            }
            for run in board.running
        ],
    }


def _sentence(found: Standing, now: int) -> str:
    """Say in one sentence how the home is dispatched, and the command that helps when it is not."""
    from hermes_kanban_plugin.cli import output

    pid, term = found.pid, found.term
    tick = f"last tick {output.span(term.last_tick_at, now)} ago" if term else "no tick yet"
    restart = "start it: hermes gateway restart (or hermes-kanban dispatcher)"
    by = f", started by {found.started_by}" if found.started_by else ""
    sentences = {
        State.SERVING: f"serving, pid {pid}{by}; {tick}",
        State.ELSEWHERE: f"serving from another machine or container, pid {pid} there; {tick}",
        State.SILENT: f"pid {pid} lives and does not tick ({tick}); wake it: kill -CONT {pid}, or end it: kill {pid}",
        State.HERMES: f"not ours: pid {found.holder} holds the lock, a Hermes without us; see: hermes-kanban doctor",
        State.DEAD: f"dead, pid {pid} ended without a word; {tick}; {restart}",
        State.STOPPED: f"stopped; {tick}; {restart}",
        State.NEVER: f"never ran here; {restart}",
        State.OTHERS: f"serves only board {found.only!r}, pid {pid}{by}; {serve_all(pid)}",
    }
    return sentences[found.state]


def _print_standing(found: Standing, bounds: _Bounds, now: int) -> None:
    from hermes_kanban_plugin.cli import output

    output.print_labelled("dispatcher", _sentence(found, now), _INDENT)
    if found.serves and found.term:
        output.print_labelled("since", output.moment(found.term.began_at), _INDENT)
    for problem in bounds.problems:
        output.print_labelled("settings", problem, _INDENT)
    if bounds.caps:
        caps = {name: cap for name, cap in bounds.caps.items() if cap["value"] is not None}
        said = [f"{name} {_shown(cap['value'])} ({cap['source']})" for name, cap in caps.items()]
        output.print_labelled("caps", ", ".join(said) or "none", _INDENT)
    if bounds.memory in _MEMORY:
        output.print_labelled("memory", _MEMORY[bounds.memory], _INDENT)
    if not found.boards:
        output.print_labelled("board", "none yet; make one: hermes-kanban init", _INDENT)
    for board in found.boards:
        _print_board(board, now)
        if found.state is not State.OTHERS and found.leaves_out(board):
            words = f"not served: the dispatcher was told to serve only board {found.only!r}; {serve_all(found.pid)}"
            output.print_labelled("", words, _INDENT)


def serve_all(pid: int | None) -> str:
    """Say how a dispatcher that serves one board is replaced by one for all."""
    return f"to serve all boards end it (kill {pid}) and start it without --board: hermes-kanban dispatcher"


def _print_board(board: BoardStanding, now: int) -> None:
    from hermes_kanban_plugin.cli import output
    from hermes_kanban_plugin.dispatch.health import paused_note

    if board.problem:
        output.print_labelled("board", f"{board.slug}: {board.problem}", _INDENT)
        return
    output.print_labelled("board", f"{board.slug}: {output.counted(board.counts) or 'empty'}", _INDENT)
    note = paused_note(board)
    if note is not None:
        output.print_labelled("", f"{note}; go on: hermes-kanban resume {board.slug}", _INDENT)
    rows = [
        (
            run["task_id"],
            run["run_id"],
            output.span(run["started_at"], now),
            _left(run["claim_expires"], now),
            run["assignee"] or "",
        )
        for run in board.running[:SHOWN_RUNS]
    ]
    if rows:
        heads = ("task", "run", "age", "lease", "assignee")
        used = sum(2 + max(len(str(cell)) for cell in cells) for cells in zip(heads, *rows, strict=True))
        room = max(_LEAST_TITLE, output.width() - used)
        titles = [output.cut(output.clean(run["title"]), room) for run in board.running[:SHOWN_RUNS]]
        output.print_line()
        output.print_table((*heads, "title"), [(*row, title) for row, title in zip(rows, titles, strict=True)], "")
    if len(board.running) > SHOWN_RUNS:
        words = f"and {len(board.running) - SHOWN_RUNS} more: hermes-kanban list --status running"
        output.print_line(output.addressed(words, board.slug))


def _left(expires: int | None, now: int) -> str:
    from hermes_kanban_plugin.cli import output

    if expires is None:
        return "none"
    return output.span(now, expires) if expires > now else "expired"
