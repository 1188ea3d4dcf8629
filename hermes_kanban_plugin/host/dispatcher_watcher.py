"""In the gateway: our dispatcher process in the place of the host's dispatcher loop; its notifier is left alone.

The host starts, supervises and cancels one coroutine, ``_kanban_dispatcher_watcher``; that one is replaced, if it is
what we know. If it is not, ``.dispatcher.lock`` is held by our dispatcher before the host asks for it. Hosts before
0.17 have the coroutine in the gateway's own class. Rule source: DESIGN.md section 2, docs/adr/0009-gateway-child.md.
"""

from __future__ import annotations

import logging
import os
import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

from hermes_kanban_plugin.imports import after_import
from hermes_kanban_plugin.roles import Role, role_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType

    from hermes_kanban_plugin.gateway.dispatcher_process import DispatcherProcess

log = logging.getLogger("gateway.hermes_kanban")

SWITCH = "take_over_dispatcher"
METHOD = "_kanban_dispatcher_watcher"
LOCK_SECONDS = 5.0
_OURS = "_hermes_kanban_plugin"
_NO = ("0", "false", "no", "off")


def install(ctx: Any) -> None:
    """Have the dispatcher loop replaced as soon as the host's gateway is loaded; costs nothing in other processes.

    Args:
        ctx: the host's plugin context; not used.
    """
    del ctx
    after_import("gateway.kanban_watchers", SWITCH, _replace_in_mixin)
    after_import("gateway.run", SWITCH, _replace_in_runner)


def _replace_in_mixin(module: ModuleType) -> None:
    """Replace the loop where hosts since 0.17 have it; ``python -m gateway.run`` gets no other chance."""
    mixin = vars(module).get("GatewayKanbanWatchersMixin")
    if mixin is not None and _is_known(vars(mixin).get(METHOD)) and _is_switched_on():
        setattr(mixin, METHOD, _make_watcher(vars(mixin)[METHOD]))


def _replace_in_runner(module: ModuleType) -> None:
    """Replace the loop in whatever class the gateway has it from, or keep the host's loop from leading."""
    runner = vars(module).get("GatewayRunner")
    owners = [one for one in getattr(runner, "__mro__", ()) if METHOD in vars(one)]
    loop = vars(owners[0])[METHOD] if owners else None
    if getattr(loop, _OURS, False):
        return
    if not _is_switched_on():
        log.info("%s is off: Hermes dispatches by itself", SWITCH)
    elif _is_known(loop):
        setattr(owners[0], METHOD, _make_watcher(loop))
    elif role_of(os.environ, sys.argv) is Role.GATEWAY:
        _lead_before_the_host(module)


def _is_known(loop: object) -> bool:
    """Say whether this is the coroutine function that we know: with no argument but the gateway, and not ours."""
    import inspect  # late: in a gateway only

    known = inspect.iscoroutinefunction(loop) and not getattr(loop, _OURS, False)
    return known and [*inspect.signature(loop).parameters] == ["self"]  # type: ignore[arg-type]


def _is_switched_on() -> bool:
    return bool(import_module("hermes_kanban_plugin.host.switches").switch(SWITCH))


def _make_watcher(hosts_loop: Any) -> Callable[[Any], Any]:
    """Return what takes the loop's place: it runs as long as the gateway does, and returns only at its end.

    A gateway outlives the plugin, or a package of its, that is removed under it; then the host's own loop goes on.
    """

    async def _kanban_dispatcher_watcher(self: Any) -> None:
        if _is_allowed() and await _dispatcher().keep(lambda: bool(self._running)):
            log.warning("the plugin cannot be run any more, so Hermes dispatches by itself until this gateway ends")
            await hosts_loop(self)

    setattr(_kanban_dispatcher_watcher, _OURS, True)
    return _kanban_dispatcher_watcher


def environment_allows() -> bool:
    """Say whether the environment lets a gateway dispatch (contract section 4)."""
    return os.environ.get("HERMES_KANBAN_DISPATCH_IN_GATEWAY", "").strip().lower() not in _NO


def _is_allowed() -> bool:
    """Say whether the operator lets this gateway dispatch, by the host's own switches (contract section 4)."""
    if not environment_allows():
        log.info("no dispatcher: HERMES_KANBAN_DISPATCH_IN_GATEWAY says no")
        return False
    try:
        section = import_module("hermes_cli.config").load_config().get("kanban")
    except Exception as problem:  # noqa: BLE001 - the host does not dispatch either when it cannot read its settings
        log.warning("no dispatcher: the configuration cannot be read: %s", problem)
        return False
    if isinstance(section, dict) and not section.get("dispatch_in_gateway", True):
        log.info("no dispatcher: kanban.dispatch_in_gateway is false")
        return False
    return True


def _dispatcher() -> DispatcherProcess:
    from hermes_kanban_plugin import host
    from hermes_kanban_plugin.gateway import dispatcher_process
    from hermes_kanban_plugin.gateway.output import Claims

    claims = Claims(lambda claim: host.fire_lifecycle_hook("kanban_task_claimed", **claim))
    variables = dispatcher_process.environment(os.environ)
    return dispatcher_process.DispatcherProcess(dispatcher_process.command(), variables, claims.take)


def _lead_before_the_host(module: ModuleType) -> None:
    """Start our dispatcher now, from a thread, and wait until the lock that the host will ask for is taken."""
    import asyncio
    import threading

    if not _is_allowed():
        return
    keeping = _dispatcher().keep(_Lifetime(module).goes_on)
    threading.Thread(target=asyncio.run, args=(keeping,), name="hermes-kanban dispatcher", daemon=True).start()
    if _is_lock_taken_within(LOCK_SECONDS):
        log.warning("this Hermes is not known: its dispatcher was not replaced but kept from leading by the lock")
    else:
        log.warning("this Hermes is not known, and its dispatcher may lead until the gateway is started again")


class _Lifetime:
    """Whether an unknown host's gateway still runs, by what its module tells; at first it does not run yet."""

    def __init__(self, module: ModuleType) -> None:
        self._module = module
        self._ran = False

    def goes_on(self) -> bool:
        """Say no once the gateway ran and does not any more."""
        reference = vars(self._module).get("_gateway_runner_ref")
        runner = reference() if callable(reference) else None
        running = bool(getattr(runner, "_running", False))
        self._ran = self._ran or running
        return running or not self._ran


def _is_lock_taken_within(seconds: float) -> bool:
    """Say whether somebody holds the lock of the kanban home before so much time has passed."""
    import time

    from hermes_kanban_plugin import locations, locks

    until = time.monotonic() + seconds
    while time.monotonic() < until:
        with locks.trying(locations.dispatcher_lock(locations.kanban_root())) as was_free:
            if not was_free:
                return True
        time.sleep(0.05)
    return False
