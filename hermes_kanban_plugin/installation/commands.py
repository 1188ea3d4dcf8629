"""Our words in ``hermes kanban`` and, for a directory install, our own command: what setup adds to the environment."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hermes_kanban_plugin.errors import SetupRefused
from hermes_kanban_plugin.installation import command_file, files, start_file
from hermes_kanban_plugin.installation.changes import Change

if TYPE_CHECKING:
    from collections.abc import Callable

    from hermes_kanban_plugin.installation.start_file import Environment

    Found = tuple[list[Change], list[str]]


def add(environment: Environment) -> Found:
    """Return what is missing in the environment, and what is in the way of it."""
    words = _or_obstacle(_add_words, environment, "`hermes kanban` gets no words of ours: {}; hermes-kanban has them")
    command = _or_obstacle(_add_command, environment, "there is no command hermes-kanban: {}")
    return [*words[0], *command[0]], [*words[1], *command[1]]


def remove(environment: Environment) -> Found:
    """Return what of us is in the environment, and what may not be taken away."""
    words = _or_obstacle(
        _remove_words, environment, "{}; our words in `hermes kanban` stay, and do nothing where we are not enabled"
    )
    command = _or_obstacle(_remove_command, environment, "{}; our command stays")
    return [*words[0], *command[0]], [*words[1], *command[1]]


def _or_obstacle(find: Callable[[Environment], list[Change]], environment: Environment, words: str) -> Found:
    try:
        return find(environment), []
    except SetupRefused as problem:
        return [], [words.format(problem)]


def _add_words(environment: Environment) -> list[Change]:
    seen, wanted = start_file.look_at(environment), start_file.line_for(environment).encode()
    changes = []
    if seen.content != wanted:
        files.refuse_unwritable(seen)
        changes.append(Change(seen.path, "add our words to hermes kanban", seen, wanted))
    if environment.record is not None:
        record = files.look(environment.record)
        named = start_file.with_record(record.content or b"", wanted)
        if record.content is not None and named != record.content:
            files.refuse_unwritable(record)
            changes.append(Change(record.path, "have pip remove that file too", record, named))
    return changes


def _remove_words(environment: Environment) -> list[Change]:
    changes = []
    seen = start_file.look_at(environment)
    if start_file.is_ours(seen):
        files.refuse_unwritable(seen)
        changes.append(Change(seen.path, "take our words from hermes kanban", seen, None))
    if environment.record is not None:
        record = files.look(environment.record)
        rest = start_file.without_record(record.content or b"")
        if record.content is not None and rest != record.content:
            files.refuse_unwritable(record)
            changes.append(Change(record.path, "as pip wrote it", record, rest))
    return changes


def _add_command(environment: Environment) -> list[Change]:
    if environment.clone is None or environment.scripts is None:
        return []
    seen, wanted = command_file.look_in(environment.scripts), command_file.text_for(environment.clone).encode()
    if seen.content == wanted:
        return []
    if seen.content is not None and not command_file.is_ours(seen):
        raise SetupRefused(f"{seen.path} is not of this setup; remove it")
    files.refuse_unwritable(seen)
    return [Change(seen.path, "add the command hermes-kanban", seen, wanted)]


def _remove_command(environment: Environment) -> list[Change]:
    if environment.scripts is None:
        return []
    seen = command_file.look_in(environment.scripts)
    if not command_file.is_ours(seen):
        return []
    files.refuse_unwritable(seen)
    return [Change(seen.path, "remove the command hermes-kanban", seen, None)]
