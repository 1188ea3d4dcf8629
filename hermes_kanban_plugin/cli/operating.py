"""Verbs of a person who looks after the board: is it served, and putting right what hangs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hermes_kanban_plugin import __version__, locations
from hermes_kanban_plugin.clock import Clock
from hermes_kanban_plugin.dispatch import standing
from hermes_kanban_plugin.dispatch.standing import State
from hermes_kanban_plugin.errors import InvalidArgument, InvalidSettings

if TYPE_CHECKING:
    import argparse

    from hermes_kanban_plugin.dispatch.standing import BoardStanding, Standing

_COLUMNS = ("running", "ready", "review", "blocked", "todo", "triage", "scheduled", "done")
_CAPS = ("max_spawn", "max_in_progress", "max_in_progress_per_profile")
# A board full of runs is counted, not listed: who needs all of them asks for JSON.
SHOWN_RUNS = 20
_INDENT, _TITLE = 11, 32


# --- status --------------------------------------------------------------------------------------------------------


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
    caps, problems = _caps()
    from hermes_kanban_plugin.cli import output

    if args.json:
        output.print_json(_as_json(found, caps, problems, now))
    else:
        _print_standing(found, caps, problems, now)
    return 0 if found.serves else 1


def _probe(args: argparse.Namespace, now: int) -> int:
    from hermes_kanban_plugin.cli import output
    from hermes_kanban_plugin.dispatch.health import check

    root = locations.kanban_root()
    slug = locations.locate_existing(args.board).slug if args.board else None
    found = standing.look(root, locations.serving_boards(root), now)
    caps, _ = _caps()
    seen = check(found, [caps[name]["value"] for name in _CAPS[:2] if name in caps], slug)
    if args.json:
        output.print_json({**seen._asdict(), "exit_status": seen.health.exit_status, "sentence": _sentence(found, now)})
        return seen.health.exit_status
    limit = f" of {seen.cap}" if seen.cap is not None else ""
    paused = f"; paused: {', '.join(seen.paused)}" if seen.paused else ""
    text = f"{seen.running}{limit} running, {seen.waiting} waiting{paused}; {_sentence(found, now)}"
    output.print_line(f"{seen.health}: {text}")
    return seen.health.exit_status


def _caps() -> tuple[dict[str, dict[str, Any]], list[str]]:
    """Return the caps with where each comes from, and what is wrong with the settings."""
    from hermes_kanban_plugin import settings

    root = locations.kanban_root()
    try:
        loaded = settings.load(root)
    except InvalidSettings as mistake:
        return {}, [" ".join(str(mistake).split())]
    given = loaded.host.model_fields_set
    source = str(root / "config.yaml")
    caps = {
        name: {"value": getattr(loaded.host, name), "source": source if name in given else "default"} for name in _CAPS
    }
    return caps, [f"section kanban, the default counts for {words}" for words in loaded.ignored]


def _as_json(found: Standing, caps: dict[str, Any], problems: list[str], now: int) -> dict[str, Any]:
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
        "caps": caps,
        "settings_problems": problems,
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
        State.HERMES: f"not ours: pid {found.holder} holds the lock, Hermes dispatches; {restart}",
        State.DEAD: f"dead, pid {pid} ended without a word; {tick}; {restart}",
        State.STOPPED: f"stopped; {tick}; {restart}",
        State.NEVER: f"never ran here; {restart}",
    }
    return sentences[found.state]


def _print_standing(found: Standing, caps: dict[str, Any], problems: list[str], now: int) -> None:
    from hermes_kanban_plugin.cli import output

    output.print_labelled("dispatcher", _sentence(found, now), _INDENT)
    if found.serves and found.term:
        output.print_labelled("since", output.moment(found.term.began_at), _INDENT)
    for problem in problems:
        output.print_labelled("settings", problem, _INDENT)
    if caps:
        said = [f"{name} {cap['value']} ({cap['source']})" for name, cap in caps.items() if cap["value"] is not None]
        output.print_labelled("caps", ", ".join(said) or "none", _INDENT)
    if not found.boards:
        output.print_labelled("board", "none yet; make one: hermes-kanban init", _INDENT)
    for board in found.boards:
        _print_board(board, now)


def _print_board(board: BoardStanding, now: int) -> None:
    from hermes_kanban_plugin.cli import output
    from hermes_kanban_plugin.dispatch.health import paused_note

    if board.problem:
        output.print_labelled("board", f"{board.slug}: {board.problem}", _INDENT)
        return
    counts = [f"{board.counts[name]} {name}" for name in _COLUMNS if board.counts.get(name)]
    output.print_labelled("board", f"{board.slug}: {', '.join(counts) or 'empty'}", _INDENT)
    note = paused_note(board)
    if note is not None:
        output.print_labelled("", f"{note}; go on: hermes-kanban resume {board.slug}", _INDENT)
    rows = [
        (
            run["task_id"],
            run["run_id"],
            output.span(run["started_at"], now),
            _left(run["claim_expires"], now),
            run["assignee"],
            output.cut(str(run["title"]), _TITLE),
        )
        for run in board.running[:SHOWN_RUNS]
    ]
    if rows:
        output.print_line()
        output.print_table(("task", "run", "age", "lease", "assignee", "title"), rows, "")
    if len(board.running) > SHOWN_RUNS:
        output.print_line(f"and {len(board.running) - SHOWN_RUNS} more: hermes-kanban list --status running")


def _left(expires: int | None, now: int) -> str:
    from hermes_kanban_plugin.cli import output

    if expires is None:
        return "none"
    return output.span(now, expires) if expires > now else "expired"


# --- putting right -------------------------------------------------------------------------------------------------


def reclaim(args: argparse.Namespace) -> None:
    """Take one task back from its run, or with ``--stale`` every task whose run is proven gone.

    A supervised worker is stopped by its supervisor, and nothing starts beside it before it is gone; any other worker
    is stopped first.
    """
    if args.stale:
        if args.task_id:
            raise InvalidArgument(f"--stale looks at every run; leave {args.task_id} out, or leave --stale out")
        return _reclaim_stale(args)
    if not args.task_id:
        raise InvalidArgument("which task? hermes-kanban reclaim TASK, or all that are proven gone: reclaim --stale")
    from hermes_kanban_plugin.cli import acting
    from hermes_kanban_plugin.foreign import stop_foreign_worker

    with acting.board_or_copy(args) as board:
        task = board.task(args.task_id)
        if not args.dry_run:
            stop_foreign_worker(board, task, "reclaim")
        landed = board.reclaim(task, args.reason, acting.person_or_worker().profile)
    return acting.tell(args, "reclaim", "reclaimed", task.id, landed)


def _reclaim_stale(args: argparse.Namespace) -> None:
    from hermes_kanban_plugin.cli import acting, output
    from hermes_kanban_plugin.dispatch import stale
    from hermes_kanban_plugin.runtime import Runtime

    location = locations.locate_existing(args.board)
    runtime = Runtime()
    try:
        actor = acting.person_or_worker().profile
        sweep = stale.take_back(runtime.open(location), runtime, actor, dry_run=args.dry_run)
    finally:
        runtime.close()
    if args.json:
        taken, doubtful = ([one.model_dump(mode="json") for one in many] for many in (sweep.taken, sweep.doubtful))
        return output.print_json({"dry_run": args.dry_run, "taken": taken, "doubtful": doubtful})
    verb = "would reclaim" if args.dry_run else "reclaimed"
    for one in sweep.taken:
        output.print_line(verb, one.task_id, f"run {one.run_id}: {one.reason}")
    for one in sweep.doubtful:
        output.print_line("in doubt", one.task_id, f"run {one.run_id}: {one.reason}; look again in a moment")
    if not sweep.taken:
        output.print_line("nothing is proven stale")
    return None


def edit(args: argparse.Namespace) -> None:
    """Mend a task: take away a claim that nobody stands behind, forget its skills, count its failures anew."""
    if not (args.clear_claim or args.clear_skills or args.reset_failures):
        raise InvalidArgument(
            "edit needs --clear-claim, --clear-skills or --reset-failures; the result of a finished task is changed "
            f"with: hermes kanban edit {args.task_id} --result TEXT"
        )
    from hermes_kanban_plugin.cli import acting, output
    from hermes_kanban_plugin.foreign import refuse_living

    actor = acting.person_or_worker().profile
    lines: list[tuple[str, ...]] = []
    with acting.board_or_copy(args) as board:
        task = board.task(args.task_id)
        if args.clear_claim:
            refuse_living(board, task)
            lines.append(("claim cleared", task.id, board.clear_claim(task, actor)))
        if args.clear_skills:
            board.clear_skills(task.id, actor)
            lines.append(("skills cleared", task.id))
        if args.reset_failures:
            board.reset_failures(task.id, actor)
            lines.append(("failures reset", task.id, f"it was {task.consecutive_failures}"))
        status = board.task(task.id).status
    if args.json:
        return output.print_json({"task_id": task.id, "status": status, "dry_run": args.dry_run})
    for line in lines:
        output.print_line(*(("would be",) if args.dry_run else ()), *line)
    return None


def stop(args: argparse.Namespace) -> None:
    """End a task's worker and block the task until somebody unblocks it."""
    from hermes_kanban_plugin.cli import acting
    from hermes_kanban_plugin.foreign import stop_foreign_worker

    actor = acting.person_or_worker().profile
    reason = f"stopped by {actor}" + (f": {args.reason}" if args.reason else "")
    with acting.board_or_copy(args) as board:
        task = board.task(args.task_id)
        if not args.dry_run:
            stop_foreign_worker(board, task, "stop")
        board.stop(task, reason, actor)
    acting.tell(args, "stop", "stopped", task.id, "blocked", f"go on with: hermes-kanban unblock {task.id}")
