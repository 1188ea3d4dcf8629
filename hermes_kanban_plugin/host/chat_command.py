"""``/hermes-kanban …`` in chats of the gateway and in ``hermes chat``: every verb of ours that ends by itself.

``/kanban`` has our words too, but where the host has a word of its own (``diagnostics``, ``stats``, ``gc``) that stays
the host's. Here all are ours. The command line runs as a process of its own, so a chat waits for no board
that is locked and the gateway's output stays its own. Rule source: issue 4, item 5.
"""

from __future__ import annotations

import asyncio
import os
import shlex
import sys
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any

from hermes_kanban_plugin.host.switches import switch
from hermes_kanban_plugin.imports import after_import

if TYPE_CHECKING:
    from types import ModuleType

NAME = "hermes-kanban"
SWITCH = "extend_kanban_command"
# The host waits 30 seconds for an answer.
ANSWER_SECONDS = 25.0
MOST_CHARACTERS = 12_000
# These belong to a terminal: they do not end, or ask for a shell.
_FOR_A_SHELL = ("dispatcher", "service", "completion")
_HOSTS_COMMANDS = "hermes_cli.commands"


def install(ctx: Any) -> None:
    """Offer the command in this process, as soon as the host has commands at all.

    Args:
        ctx: the host's plugin context (contract section 7); one that knows no commands gets none.
    """
    offer = getattr(ctx, "register_command", None)
    if offer is not None:
        after_import(_HOSTS_COMMANDS, "chat command", partial(_offer, offer))


def _offer(offer: Any, module: ModuleType) -> None:
    del module
    if switch(SWITCH):
        offer(NAME, answer, "Look at the kanban board's work and put it right", "<status | why TASK | doctor | …>")


async def answer(raw: str) -> str:
    """Run one command line and return what it printed.

    Args:
        raw: what was written behind the command; nothing asks for the status.
    """
    try:
        words = shlex.split(raw) or ["status"]
    except ValueError as problem:
        return f"{NAME}: {problem}; write it as in a shell"
    refusal = _refuse(words)
    return refusal if refusal is not None else await _run(words)


def _refuse(words: list[str]) -> str | None:
    rest = words[2:] if words[0] == "--board" else words
    verb = next((word for word in rest if not word.startswith("-")), "")
    if verb in _FOR_A_SHELL or "--follow" in words:
        return f"{NAME}: {verb} does not end by itself; {_in_a_shell(words)}"
    return None


def _in_a_shell(words: list[str]) -> str:
    return f"write in a shell: {NAME} {shlex.join(words)}"


async def _run(words: list[str]) -> str:
    process_module = import_module("hermes_kanban_plugin.gateway.dispatcher_process")
    variables = {**process_module.environment(os.environ), "PYTHONIOENCODING": "utf-8"}
    # A worker's variables stay: in a chat that a worker started the worker speaks, and may do no more than elsewhere.
    variables.pop("COLUMNS", None)
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-P", "-m", "hermes_kanban_plugin.cli.main", *words,
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        env=variables,
    )  # fmt: skip
    try:
        printed, _ = await asyncio.wait_for(process.communicate(), ANSWER_SECONDS)
    except TimeoutError:
        process.kill()
        await process.wait()
        return f"{NAME}: no answer within {ANSWER_SECONDS:.0f} s, it was ended; {_in_a_shell(words)}"
    text = printed.decode("utf-8", "replace").strip()
    if len(text) > MOST_CHARACTERS:
        text = f"{text[:MOST_CHARACTERS]}\n… and more; {_in_a_shell(words)}"
    return text or f"done, status {process.returncode}"
