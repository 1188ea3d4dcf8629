"""The door through which the host loads us: ``register(ctx)``, in every Hermes process, quick and repeatable.

It starts nothing. Each part only says what is to be done to a module of the host once that module is there
(:mod:`~hermes_kanban_plugin.imports`), so a process pays for what it uses. Which parts a process gets is decided by
what it is for (:mod:`~hermes_kanban_plugin.roles`).
"""

from __future__ import annotations

import logging
import os
import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

from hermes_kanban_plugin import host, requirements
from hermes_kanban_plugin.roles import Role, role_of

if TYPE_CHECKING:
    from collections.abc import Iterator

log = logging.getLogger(__name__)

# Module of the part (it has ``install(ctx)``), in the order in which they are installed. The guard is the first: a
# worker that may not start ends there.
_GUARD = "hermes_kanban_plugin.worker.guard"
_EVERYWHERE = (
    "hermes_kanban_plugin.host.file_check",
    "hermes_kanban_plugin.host.agent_tools",
    "hermes_kanban_plugin.host.kanban_fence",
    "hermes_kanban_plugin.host.kanban_words",
)
_OUTSIDE_WORKERS = (
    "hermes_kanban_plugin.host.dispatcher_watcher",
    "hermes_kanban_plugin.host.bystander",
    "hermes_kanban_plugin.host.chat_command",
)
_IN_WORKERS = ("hermes_kanban_plugin.worker.signals", "hermes_kanban_plugin.host.worker_bridge")


def register(ctx: Any) -> None:
    """Take our place in this process; never raises, because that would take the host's own tools away too.

    Where a package is missing that we need, nothing of the host is replaced: a dispatcher of ours could not run.

    A worker whose run is not current any more ends here, with status 0 and before it asked any model
    (:mod:`~hermes_kanban_plugin.worker.guard`).

    Args:
        ctx: the host's plugin context (contract section 7).
    """
    role = role_of(os.environ, sys.argv)
    lacking = _lacking()
    if lacking:
        _log_of(role).warning("hermes-kanban is left out: %s", requirements.advice(lacking))
        return
    if role is Role.GATEWAY:
        _name_strange_host()
    for part in parts_of(role):
        try:
            import_module(part).install(ctx)
        except Exception as problem:  # noqa: BLE001 - isolation edge: the host must work on without us
            log.warning("hermes-kanban goes on without %s: %s", part.rpartition(".")[2], problem)


def _lacking() -> list[str]:
    try:
        return requirements.missing()
    except Exception as problem:  # noqa: BLE001 - as above; what is really missing is noticed when it is used
        log.warning("hermes-kanban cannot see whether the packages that it needs are there: %s", problem)
        return []


def _name_strange_host() -> None:
    """Say that nobody tried us with this host, once per start of a gateway; each part looks at what it replaces."""
    version = str(getattr(sys.modules.get("hermes_cli"), "__version__", ""))
    if version and not host.is_tried(version):
        _log_of(Role.GATEWAY).warning(
            "hermes-kanban was not tried with Hermes %s but with %s: what it does not know is left as it is; see "
            "hermes-kanban doctor", version, host.tried_versions(),
        )  # fmt: skip


def _log_of(role: Role) -> logging.Logger:
    """Return the log that is read when something is wrong: the host writes only such names to the gateway's own."""
    return logging.getLogger("gateway.hermes_kanban") if role is Role.GATEWAY else log


def parts_of(role: Role) -> Iterator[str]:
    """Return the modules that a process of this role installs, in order.

    What only a worker gets is decided last, when the guard has said whose seat it is: a nested chat may have a worker's
    arguments too.
    """
    if role is Role.WORKER:
        yield _GUARD
    yield from _EVERYWHERE
    yield from _IN_WORKERS if role is Role.WORKER and _has_seat() else _OUTSIDE_WORKERS


def _has_seat() -> bool:
    try:
        return bool(import_module(_GUARD).has_seat(os.environ, os.getpid()))
    except Exception as problem:  # noqa: BLE001 - isolation edge: without the guard nothing speaks for the run
        log.debug("no seat: %s", problem)
        return False
