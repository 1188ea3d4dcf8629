"""What setup would change, what undoing it would change, and doing either: all is planned before the first write."""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, NamedTuple

from hermes_kanban_plugin import locations
from hermes_kanban_plugin.configuration import PLUGIN_ID
from hermes_kanban_plugin.errors import SetupRefused
from hermes_kanban_plugin.installation import commands, enabling, files, folder, homes, journal, start_file, tab
from hermes_kanban_plugin.installation.changes import Change
from hermes_kanban_plugin.installation.journal import Journal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from hermes_kanban_plugin.installation.enabling import Traces
    from hermes_kanban_plugin.installation.files import Snapshot
    from hermes_kanban_plugin.installation.homes import Home
    from hermes_kanban_plugin.installation.start_file import Environment

# A copy of the page would not follow an upgrade, and what is not ours is not removed.
_IN_THE_WAY = (
    "is in the way of our tab in hermes dashboard: it is no link of ours, and a copy of our page would not follow an "
    "upgrade; move it away, then: hermes-kanban setup"
)


class Plan(NamedTuple):
    """Changes in their order, what else is to be said, and the journal as it is when they are done (None: no file).

    ``obstacles`` say what is not as it should be even then, and why.
    """

    changes: list[Change]
    notes: list[str]
    obstacles: list[str]
    journal_before: Snapshot
    journal_after: Journal | None


@contextmanager
def _planning() -> Iterator[None]:
    try:
        yield
    except SetupRefused as problem:
        raise SetupRefused(f"{problem}. Nothing was changed anywhere") from problem


def for_setup(root: Path, only: Sequence[str] | None, environment: Environment) -> Plan:
    """Return what is missing for Hermes to load us, in the root home and in every profile.

    Args:
        root: the root home of Hermes.
        only: profiles, or None for all.
        environment: the Python environment that runs Hermes.

    Raises:
        InvalidArgument: there is no such profile.
        SetupRefused: a file is not valid, or cannot be edited or written; the message names it. Or Hermes does not run
            in this environment, and would not find us.
    """
    with _planning():
        _refuse_another_python()
        seen_journal = files.look(journal.path_in(root))
        known = journal.load(seen_journal, root) or Journal(by_hand=_enabled_now(root))
        entries = dict(known.entries)
        changes: list[Change] = []
        links: list[Change] = []
        done: set[Path] = set()
        for home in homes.find(root, only):
            change, seen = _enable(home)
            if change is not None and seen.target not in done:  # homes may share one file
                done.add(seen.target)
                changes.append(change)
                key = str(home.config)
                entries[key] = journal.note(entries.get(key), seen, change.content or b"")
            links += _link_folder(home, environment.clone, known) if environment.clone is not None else _link_tab(home)
        made = {str(change.path): str(change.link) for change in links}
        words, obstacles = commands.add(environment)
        after = Journal(entries, {**known.links, **made}, known.by_hand)
        obstacles += [f"{place} {_IN_THE_WAY}" for place in _taken_places(root, only)]
        notes, above = _managed()
        return Plan([*changes, *links, *words], notes, [*obstacles, *above], seen_journal, after)


def for_undo(root: Path, only: Sequence[str] | None, environment: Environment) -> Plan:
    """Return what takes back all that setup did, or what it did in some profiles.

    A file that is still what setup wrote gets its earlier bytes back; from any other one only our parts are taken. One
    that cannot be read or written is an obstacle, remembered for the next time, and keeps nothing else from going.

    Raises:
        InvalidArgument: there is no such profile.
        SetupRefused: the journal cannot be read.
    """
    with _planning():
        seen_journal = files.look(journal.path_in(root))
        known = journal.load(seen_journal, root)
        entries, links = (dict(known.entries), dict(known.links)) if known is not None else ({}, {})
        # Without a journal there is one other sign that setup was here.
        lost = known is None and start_file.is_ours(start_file.look_at(environment))
        changes: list[Change] = []
        notes: list[str] = []
        obstacles: list[str] = []
        left: dict[str, journal.Entry] = {}
        seen: set[str] = set()
        for home in homes.find(root, only):
            key = str(home.config)
            entry = entries.pop(key, None)
            sure = entry is not None or lost
            target = os.path.realpath(home.config)
            later = target not in seen and known is not None and known.is_later(home.profile)
            disabling: list[Change] = []
            try:
                disabling = _disable(home, entry) if sure or later else []
            except SetupRefused as problem:
                obstacles += [f"{problem}. It was left as it is"] if sure else []
                left |= {key: entry} if entry is not None else {}
            changes += disabling
            notes += _enabled_by_hand(home, disabling) if target not in seen else []
            seen.add(target)  # homes may share one file
            changes += _unlink_folder(home, links.pop(str(folder.place_in(home)), None))
            links.pop(str(tab.place_in(home)), None)
            changes += _unlink_tab(home)
        if only:
            by_hand = known.by_hand if known is not None else None
            return Plan(changes, notes, obstacles, seen_journal, Journal(entries | left, links, by_hand))
        words, in_the_way = commands.remove(environment)
        rest = Journal(left, by_hand=known.by_hand if known is not None else None) if left else None
        return Plan([*changes, *words], notes, [*obstacles, *in_the_way], seen_journal, rest)


def carry_out(plan: Plan, tell: Callable[[Change], None]) -> None:
    """Do what is planned, in order; the journal is written first, and again at the end when less is left in it.

    Args:
        plan: made a moment ago; a file that changed since is left alone.
        tell: is told each change that is done.

    Raises:
        SetupRefused: a file changed meanwhile or cannot be written. What was done before it is done.
    """
    before = plan.journal_before
    if plan.journal_after is not None and plan.changes:
        files.replace(before, journal.dump(plan.journal_after))
    for change in plan.changes:
        _do(change)
        tell(change)
    if plan.journal_after is None and before.content is not None:
        files.replace(before, None)


def _do(change: Change) -> None:
    if change.seen is not None:
        files.replace(change.seen, change.content)
        return
    try:
        if change.path.is_symlink():
            change.path.unlink()
        if change.link is not None:
            change.path.parent.mkdir(parents=True, exist_ok=True)
            change.path.symlink_to(change.link, target_is_directory=True)
        elif change.path.parent.name == tab.FOLDER:
            with suppress(OSError):  # somebody else's file is in it by now
                change.path.parent.rmdir()
    except OSError as problem:
        raise SetupRefused(f"{change.path}: {problem.strerror}; what is listed above is done") from problem


# --- a home --------------------------------------------------------------------------------------------------------


def _enable(home: Home) -> tuple[Change | None, Snapshot]:
    seen = files.look(home.config)
    traces = _traces(seen)
    if traces.complete:
        return None, seen
    words = []
    if not traces.enabled:
        words.append(f"enable {PLUGIN_ID}")
    if traces.disabled:
        words.append("take it from the disabled ones")
    if not traces.allows_override:
        words.append("allow it to replace tools")
    files.refuse_unwritable(seen)
    return Change(home.config, ", ".join(words), seen, _edited(seen, traces.wished())), seen


def _disable(home: Home, entry: journal.Entry | None) -> list[Change]:
    seen = files.look(home.config)
    if seen.content is None:
        return []
    if entry is not None and entry.exact and files.digest(seen.content) == entry.after:
        before = None if entry.before is None else entry.before.encode()
        what = "remove it, setup made it" if before is None else "as it was before setup, byte for byte"
        files.refuse_unwritable(seen)
        return [Change(home.config, what, seen, before)]
    traces = _traces(seen)
    wish = traces._replace(enabled=False, override=None) if entry is None else entry.undone(traces)
    if wish == traces:
        return []
    files.refuse_unwritable(seen)
    made = entry.made if entry is not None else (enabling.ENTRY, enabling.ENTRY[:-1])
    content = _edited(seen, wish, made)
    gone = entry is not None and entry.before is None and not content.strip()
    return [Change(home.config, f"disable {PLUGIN_ID}, keep the rest", seen, None if gone else content)]


def _enabled_now(root: Path) -> tuple[str, ...]:
    """Return the profiles that load us by now, so before setup did anything."""
    found = []
    for home in homes.find(root):
        with suppress(SetupRefused):
            traces = enabling.read(files.look(home.config).text)
            found += [home.profile] if traces.enabled and not traces.disabled else []
    return tuple(found)


def _enabled_by_hand(home: Home, disabling: Sequence[Change]) -> list[str]:
    """Return that a home loads us still when setup is taken back, because somebody else enabled us there."""
    try:
        text = (disabling[0].content or b"").decode() if disabling else files.look(home.config).text
        traces = enabling.read(text)
    except SetupRefused:
        return []  # a file that nobody can read enables nothing, and is none of our business here
    if not traces.enabled or traces.disabled:
        return []
    profile = "" if home.profile == homes.ROOT_PROFILE else f" -p {home.profile}"
    return [f"{home.config} enables it, and not through setup: hermes{profile} plugins disable {PLUGIN_ID}"]


def _traces(seen: Snapshot) -> Traces:
    try:
        return enabling.read(seen.text)
    except SetupRefused as problem:
        raise _named(seen, problem) from problem


def _edited(seen: Snapshot, wish: Traces, made: Sequence[tuple[str, ...]] = ()) -> bytes:
    try:
        return enabling.reach(seen.text, wish, made).encode()
    except SetupRefused as problem:
        raise _named(seen, problem) from problem


def _named(seen: Snapshot, problem: SetupRefused) -> SetupRefused:
    text = str(problem)
    return SetupRefused(text if str(seen.path) in text else f"{seen.path}: {text}")


# --- a directory install -------------------------------------------------------------------------------------------


def _link_folder(home: Home, clone: Path, known: Journal) -> list[Change]:
    place = folder.place_in(home)
    if not folder.needs_link(home, clone, known.links.get(str(place))):
        return []
    return [Change(place, f"link to {clone}", link=clone)]


def _unlink_folder(home: Home, target: str | None) -> list[Change]:
    """Remove a link that setup made, unless it is another one by now."""
    if target is None or folder.leads_to(home) != target:
        return []
    return [Change(folder.place_in(home), "remove the link to the plugin's folder")]


# --- the tab of the dashboard --------------------------------------------------------------------------------------


def _link_tab(home: Home) -> list[Change]:
    if tab.is_linked(home) or not tab.may_link(home):
        return []
    return [Change(tab.place_in(home), "add our tab to hermes dashboard", link=tab.PAGE)]


def _taken_places(root: Path, only: Sequence[str] | None) -> list[Path]:
    return [tab.place_in(home) for home in homes.find(root, only) if not tab.may_link(home)]


def _unlink_tab(home: Home) -> list[Change]:
    return [Change(tab.place_in(home), "take our tab from hermes dashboard")] if tab.is_ours(home) else []


# --- what is not ours to change ------------------------------------------------------------------------------------


def _refuse_another_python() -> None:
    if not start_file.runs_the_host():
        raise SetupRefused(
            f"the Python that runs this ({sys.executable}) does not run Hermes, which would not find the plugin; "
            f"install {start_file.DISTRIBUTION} with the one that does, and run its hermes-kanban"
        )


def _managed() -> tuple[list[str], list[str]]:
    """Return what is to be said of the administrator's file, and what of it keeps us from being loaded."""
    path = locations.managed_settings()
    if path is None:
        return [], []
    try:
        seen = files.look(path)
        document, decides = enabling.read(seen.text), enabling.decides(seen.text)
    except SetupRefused:
        return [], [f"{path} belongs to the administrator and wins over these files; it cannot be read"]
    if document.enabled and not document.disabled:
        return [f"{path} belongs to the administrator and enables the plugin everywhere"], []
    if decides:
        return [], [f"{path} belongs to the administrator, wins over these files and does not enable the plugin"]
    return [], []
