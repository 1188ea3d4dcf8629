"""Every verb and flag. Flags have the names that ``hermes kanban`` gives them (contract section 10).

A verb names its function (``run``: module and function below ``cli``), which is imported only when it is run: most of
the time that a command takes is imports.
"""

from __future__ import annotations

import argparse
import os
from functools import cache
from typing import TYPE_CHECKING, NoReturn

from hermes_kanban_plugin import __version__, rules
from hermes_kanban_plugin.cli import words
from hermes_kanban_plugin.cli.times import duration, moment

if TYPE_CHECKING:
    from collections.abc import Sequence

    _Verbs = argparse._SubParsersAction["Parser"]

STATUSES = sorted(status.value for status in rules.Status)
# As in diagnosis.finding, which is imported only when something is looked for; a test compares them.
LEVELS = ("info", "warning", "error", "critical")


class Parser(argparse.ArgumentParser):
    """A parser whose complaint is one line."""

    def error(self, message: str) -> NoReturn:
        """Say what is wrong and where the help is, and exit with status 2."""
        self.exit(2, f"hermes-kanban: {' '.join(message.split())}; see: {self.prog} --help\n")


@cache
def build() -> argparse.ArgumentParser:
    """Return the parser of ``hermes-kanban``, which is built once: that takes longer than most verbs do their work."""
    parser = Parser(
        prog="hermes-kanban", description="Kanban work for Hermes Agent that cannot get lost.", allow_abbrev=False
    )
    parser.add_argument("--version", action="version", version=f"hermes-kanban {__version__}")
    parser.add_argument("--board", metavar="SLUG", type=words.named, help="the board (default: the current one)")
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    _add_reading(verbs)
    _add_creating(verbs)
    _add_working(verbs)
    _add_operating(verbs)
    _add_keeping(verbs)
    _add_serving(verbs)
    _add_installing(verbs)
    return parser


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse a command line; words of a reason may stand before or after the flags, which argparse alone refuses."""
    parser = build()
    parsed, rest = parser.parse_known_args(arguments)
    if rest and isinstance(getattr(parsed, "reason", None), list) and not any(word.startswith("-") for word in rest):
        parsed.reason += rest
    elif rest:
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    return parsed


def words_for_the_host(arguments: Sequence[str]) -> list[str] | None:
    """Return the words to hand to ``hermes kanban`` when the verb is none of ours, or None when it is ours or absent.

    ``edit`` is both: without one of our flags it is the host's, which changes the result of a finished task.
    """
    board, rest = _split_board(list(arguments))
    if not rest or rest[0].startswith("-"):
        return None
    verb, *more = rest
    if verb in commands_of(build()):
        ours = next((word.ours for word in words.EXTENDED if word.name == verb == "edit"), ())
        if not ours or {"-h", "--help", *(f"--{name.replace('_', '-')}" for name in ours)} & set(more):
            return None
    return [*board, *rest]


def _split_board(arguments: list[str]) -> tuple[list[str], list[str]]:
    """Return the flags that may stand before the verb, and what follows them."""
    if arguments[:1] == ["--board"]:
        return arguments[:2], arguments[2:]
    named = 1 if arguments and arguments[0].startswith("--board=") else 0
    return arguments[:named], arguments[named:]


def commands_of(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    """Return the verbs of a parser with their own parsers."""
    (verbs,) = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    return dict(verbs.choices)


def positive(text: str) -> int:
    """Return a whole number of at least 1."""
    if not text.isdigit() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 1")
    return int(text)


def workspace(text: str) -> tuple[str, str | None]:
    """Return kind and path of ``scratch``, ``worktree``, ``worktree:PATH`` or ``dir:PATH``."""
    kind, _, path = text.strip().partition(":")
    if (kind in ("scratch", "worktree") and ":" not in text) or (kind in ("dir", "worktree") and path.strip()):
        return kind, os.path.expanduser(path.strip()) or None
    raise argparse.ArgumentTypeError(f"{text!r} is no workspace; use scratch, worktree, worktree:PATH or dir:PATH")


def _verb(verbs: _Verbs, name: str, run: str, about: str, *, json: bool = False) -> argparse.ArgumentParser:
    parser: Parser = verbs.add_parser(name, help=about, description=about, allow_abbrev=False)
    parser.set_defaults(run=run)
    # Also after the verb; the default must not undo what stood before it.
    parser.add_argument("--board", metavar="SLUG", type=words.named, default=argparse.SUPPRESS, help="the board")
    if json:
        parser.add_argument("--json", action="store_true", help="print JSON")
    return parser


def _trying(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    words.add_trying_flags(parser)
    return parser


def _add_reading(verbs: _Verbs) -> None:
    listing = _verb(verbs, "list", "reading.list_tasks", "list tasks, best first", json=True)
    listing.add_argument("--mine", action="store_true", help="only tasks of $HERMES_PROFILE")
    listing.add_argument("--assignee", help="only tasks of this assignee")
    listing.add_argument("--status", choices=STATUSES, help="only tasks in this column")
    listing.add_argument("--tenant", help="only tasks of this tenant")
    listing.add_argument("--archived", action="store_true", help="archived tasks too")
    listing.add_argument("--why", action="store_true", help="why each unfinished task does not run")
    show = _verb(verbs, "show", "reading.show", "show one task with its runs, comments and history", json=True)
    show.add_argument("task_id")
    runs = _verb(verbs, "runs", "reading.list_runs", "list the attempts at a task", json=True)
    runs.add_argument("task_id")
    events = _verb(verbs, "events", "reading.list_events", "print the history, of one task or of the board", json=True)
    events.add_argument("task_id", nargs="?")
    events.add_argument("--follow", action="store_true", help="go on until interrupted")
    events.add_argument("--after", type=int, default=0, metavar="ID", help="only events after this id")
    findings = _verb(verbs, "diagnostics", "explaining.diagnose", "say what is wrong on the board", json=True)
    findings.add_argument("--severity", choices=LEVELS, help="only findings of this level or worse")
    findings.add_argument("--task", metavar="TASK", help="only what concerns this task")


def _add_creating(verbs: _Verbs) -> None:
    _trying(_verb(verbs, "init", "acting.init", "make the board if it is missing"))
    create = _trying(_verb(verbs, "create", "acting.create", "add a task"))
    create.add_argument("title")
    create.add_argument("--body", help="what is to be done")
    create.add_argument("--assignee", help="a profile, or a lane of the settings")
    create.add_argument("--parent", action="append", default=[], metavar="TASK", help="a task to wait for (repeatable)")
    create.add_argument(
        "--workspace", type=workspace, default=("scratch", None), help="scratch | dir:PATH | worktree[:PATH]"
    )
    create.add_argument("--branch", help="the branch of a worktree")
    create.add_argument("--tenant")
    create.add_argument("--priority", type=int, default=0, help="higher goes first")
    create.add_argument("--triage", action="store_true", help="park it for somebody to specify")
    create.add_argument("--idempotency-key", help="return the task that has this key instead of a second one")
    scope = create.add_argument("--idempotency-scope", default="all", choices=["all", "open"])
    scope.help = "open: a finished task does not answer to the key"
    create.add_argument(
        "--max-runtime", type=duration, metavar="TIME", help="limit of one attempt: 300, 90s, 30m, 2h, 1d"
    )
    create.add_argument("--start-at", type=moment, metavar="WHEN", help="not before then: 2027-03-01, 09:30, or both")
    create.add_argument("--start-in", type=duration, metavar="TIME", help="not before so long: 90s, 30m, 2h, 1d")
    create.add_argument("--created-by", default="user")
    create.add_argument("--skill", action="append", default=[], dest="skills", help="a skill to load (repeatable)")
    create.add_argument("--max-retries", type=positive, metavar="N", help="give up at the Nth failure in a row")
    create.add_argument("--goal", action="store_true", dest="goal_mode", help="work until a judge agrees")
    create.add_argument("--goal-max-turns", type=positive, metavar="N")
    create.add_argument("--initial-status", choices=("running", "blocked"), default="running")
    link = _trying(_verb(verbs, "link", "acting.link", "make one task wait for another"))
    link.add_argument("parent_id")
    link.add_argument("child_id")


def _add_working(verbs: _Verbs) -> None:
    claim = _trying(_verb(verbs, "claim", "acting.claim", "take a ready task yourself, in a terminal"))
    claim.add_argument("task_id")
    claim.add_argument(
        "--ttl", type=positive, default=900, metavar="SECONDS", help="how long the claim lasts (default 900)"
    )
    beating = "say that the work goes on; extends the lease"
    heartbeat = _trying(_verb(verbs, "heartbeat", "acting.heartbeat", beating))
    heartbeat.add_argument("task_id")
    heartbeat.add_argument("--note")
    complete = _trying(_verb(verbs, "complete", "acting.complete", "mark tasks done"))
    complete.add_argument("task_ids", nargs="+", metavar="task_id")
    complete.add_argument("--result", help="a result line")
    complete.add_argument("--summary", help="what was done (one task only)")
    complete.add_argument("--metadata", help="facts as a JSON object (one task only)")
    complete.add_argument("--artifact", action="append", metavar="PATH", help="a file to keep (repeatable)")
    block = _trying(_verb(verbs, "block", "acting.block", "park tasks, with a reason"))
    block.add_argument("task_id")
    block.add_argument("reason", nargs="*")
    block.add_argument("--ids", nargs="+", default=[], metavar="TASK", help="more tasks with the same reason")
    block.add_argument("--kind", choices=sorted(rules.BLOCK_KINDS))


def _add_operating(verbs: _Verbs) -> None:
    unblock = _trying(_verb(verbs, "unblock", "acting.unblock", "open blocked or scheduled tasks again"))
    unblock.add_argument("task_ids", nargs="+", metavar="task_id")
    unblock.add_argument("--reason", help="kept as a comment")
    outages = "list what fails the same way for several tasks, or say that it is over"
    lasting = _trying(_verb(verbs, "outages", "lasting.list_or_close", outages))
    lasting.add_argument("--close", type=positive, metavar="ID", help="this one is over: its tasks come back")
    for word in (*words.NEW, *words.EXTENDED):
        parser = _verb(verbs, word.name, word.run, word.about)
        if word.name == "reclaim":
            parser.add_argument("task_id", nargs="?")
            parser.add_argument("--reason")
        elif word.name == "edit":
            parser.add_argument("task_id")
        elif word.name == "schedule":
            parser.add_argument("task_id")
            parser.add_argument("reason", nargs="*")
        word.add_flags(parser)


def _add_keeping(verbs: _Verbs) -> None:
    _verb(verbs, "stats", "keeping.stats", "count what got done, how long it took, and why attempts ended", json=True)
    gc = _verb(verbs, "gc", "keeping.gc", "forget what nobody needs: old history, logs, rows of ours", json=True)
    gc.add_argument("--all", action="store_true", help="every board of the kanban home")
    gc.add_argument("--dry-run", action="store_true", help="say what would go and change nothing")
    for name, days, what in (("events", 30, "history"), ("logs", 30, "worker logs"), ("runs", 90, "rows of ours")):
        about = f"keep {what} for N days after a task is finished (default {days})"
        gc.add_argument(f"--{name}-days", type=int, default=days, metavar="N", help=about)
    script = _verb(verbs, "completion", "completion.completion", "print a script that lets a shell complete our words")
    script.add_argument("shell", choices=("bash", "fish", "zsh"))


def _add_installing(verbs: _Verbs) -> None:
    setup = _verb(verbs, "setup", "installing.setup", "enable the plugin in Hermes, in every profile", json=True)
    how = setup.add_mutually_exclusive_group()
    how.add_argument("--check", action="store_true", help="only say what is missing; exit status 1 if something is")
    how.add_argument("--dry-run", action="store_true", help="only say what would be changed")
    setup.add_argument("--undo", action="store_true", help="take back what setup did")
    setup.add_argument(
        "--profile", action="append", metavar="NAME", help="only this profile (repeatable; default is the root home)"
    )


def _add_serving(verbs: _Verbs) -> None:
    dispatch = _verb(verbs, "dispatch", "serving.dispatch", "run one tick: rescue, promote, start workers", json=True)
    dispatch.add_argument("--dry-run", action="store_true", help="say what would happen and change nothing")
    dispatch.add_argument("--max", type=positive, metavar="N", help="at most N running tasks, as kanban.max_spawn")
    dispatch.add_argument("--failure-limit", type=positive, metavar="N", help="as kanban.failure_limit")
    scan = "take back what dead runs hold and close illegal pairs; starts nothing"
    _trying(_verb(verbs, "scan", "serving.scan", scan))
    serve = "serve all boards (or one, with --board) until stopped"
    dispatcher = _verb(verbs, "dispatcher", "serving.dispatcher", serve, json=True)
    leave = dispatcher.add_mutually_exclusive_group()
    leave.add_argument("--drain", action="store_true", help="when stopped, wait for the running workers")
    leave.add_argument("--stop-workers", action="store_true", help="when stopped, stop the workers too")
    dispatcher.add_argument("--until-eof", action="store_true", help="stop when standard input ends, as a child would")
    service = _verb(verbs, "service", "serving.manage_service", "run the dispatcher as a service of this user")
    service.add_argument("action", choices=("install", "status", "uninstall"))
    service.add_argument("--print", action="store_true", dest="only_print", help="only print the service file")
