"""``completion``: a script that lets a shell complete our verbs and flags, made from the parser itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hermes_kanban_plugin import requirements
from hermes_kanban_plugin.errors import InvalidArgument

if TYPE_CHECKING:
    import argparse


# What an argument is called that takes a path.
_PATHS = ("FILE", "PATH")


def completion(args: argparse.Namespace) -> None:
    """Print the script for a shell.

    Raises:
        InvalidArgument: shtab is not installed (a directory install of the plugin brings no dependencies).
    """
    try:
        import shtab
    except ImportError as problem:
        add = requirements.pip("install", requirements.SHTAB)
        raise InvalidArgument(f"completion needs shtab, which is missing here: {add}") from problem
    from hermes_kanban_plugin.cli import parser

    tree = parser.build()
    for command in (tree, *parser.commands_of(tree).values()):
        for action in command._actions:
            if action.metavar in _PATHS:
                action.complete = shtab.FILE  # type: ignore[attr-defined]
    print(shtab.complete(tree, args.shell))
