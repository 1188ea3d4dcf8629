"""Plugins: loading them, and the only two ways to call a hook.

``ask`` is pluggy's own call, for hooks where the first answer counts. ``tell`` calls every plugin by itself, so that
one that raises stops nobody else (pluggy would stop at the first error). No other module touches the hooks.
"""

from __future__ import annotations

import logging
import os
import time
from importlib import import_module
from typing import TYPE_CHECKING, Any

import pluggy

from hermes_kanban_plugin import hookspecs
from hermes_kanban_plugin.logbook import Complaints, entry
from hermes_kanban_plugin.models import PluginFailure

if TYPE_CHECKING:
    from collections.abc import Sequence
    from importlib.metadata import EntryPoints

    from hermes_kanban_plugin.settings import Settings

log = logging.getLogger(__name__)

# Loaded by dotted name: nothing in the package imports its surfaces (see docs/adr/0001-layout.md).
BUILT_IN = tuple(
    f"hermes_kanban_plugin.hooks.{name}"
    for name in (
        "tool_registration",
        "gateway_startup",
        "gateway_profiles",
        "gateway_shutdown",
        "dispatcher_tick",
        "auto_decompose",
        "orphan_scan",
        "outages",
        "worker_liveness",
        "worker_process",
        "ownership_check",
        "metrics_endpoint",
        "daily_upkeep",
        "diagnosis",
    )
)
# A third-party plugin that fails this often is not called again in this process. Built-in ones are never given up:
# what fails in them is a disk or a lock that comes back, and without them nothing would be rescued or started.
MAX_FAILURES = 20
_NEVER_SKIPPED = frozenset(dotted.rpartition(".")[2] for dotted in BUILT_IN)


class Manager:
    """The plugins of one process."""

    def __init__(self, block: Sequence[str] = (), *, discover: bool = True) -> None:
        """Load the built-in plugins, then third-party ones from the entry-point group ``hermes_kanban``.

        Args:
            block: names of plugins to keep out; ``HERMES_KANBAN_BLOCK_PLUGINS`` adds to them, comma-separated.
            discover: whether to look for third-party plugins at all.
        """
        self._pluggy = pluggy.PluginManager(hookspecs.PROJECT)
        self._pluggy.add_hookspecs(hookspecs)
        self._failures: dict[str, int] = {}
        self._complaints = Complaints()
        self._settings: Settings | None = None
        self.failures: list[PluginFailure] = []
        for name in (*block, *os.environ.get("HERMES_KANBAN_BLOCK_PLUGINS", "").split(",")):
            if name.strip():
                self._pluggy.set_blocked(name.strip())
        for dotted in BUILT_IN:
            self._pluggy.register(import_module(dotted), name=dotted.rpartition(".")[2])
        if discover:
            self._discover()

    def register(self, plugin: object, name: str | None = None) -> str:
        """Add a plugin and tell it the settings if they are known; a hook that does not exist is an error at once.

        Returns:
            The name it is registered by.

        Raises:
            ValueError: the plugin or the name is registered already or blocked, or it wraps a hook that is called
                plugin by plugin (only hooks with one answer can be wrapped).
            pluggy.PluginValidationError: it implements a hook that does not exist, or with unknown arguments.
        """
        try:
            registered = self._pluggy.register(plugin, name)
        except pluggy.PluginValidationError:
            if self._pluggy.is_registered(plugin):  # pluggy before 1.7 keeps the hooks it looked at first
                self._pluggy.unregister(plugin)
            raise
        if registered is None:
            raise ValueError(f"plugin {name!r} is blocked; see HERMES_KANBAN_BLOCK_PLUGINS and block_plugins")
        try:
            self._pluggy.check_pending()
            self._refuse_wrappers(plugin, registered)
        except (pluggy.PluginValidationError, ValueError):
            self._pluggy.unregister(name=registered)
            raise
        if self._settings is not None:
            self._configure(self._settings, {registered})
        return registered

    def _refuse_wrappers(self, plugin: object, name: str) -> None:
        for caller in self._pluggy.get_hookcallers(plugin) or []:
            single = caller.spec is not None and caller.spec.opts["firstresult"]
            wraps = any(
                (found.wrapper or found.hookwrapper) and found.plugin is plugin for found in caller.get_hookimpls()
            )
            if wraps and not single:
                raise ValueError(f"plugin {name!r} wraps {caller.name}, which is called plugin by plugin; wrap a phase")

    def names(self) -> list[str]:
        """Return the names of the plugins that are loaded, in the order of their registration."""
        return [name for name, plugin in self._pluggy.list_name_plugin() if plugin is not None]

    def configure(self, settings: Settings) -> None:
        """Tell every plugin, and every later one, the settings; one that raises is unregistered."""
        self._settings = settings
        self._configure(settings, set(self.names()))

    def _configure(self, settings: Settings, names: set[str]) -> None:
        for name, _, problem in self.poll("kanban_configure", only=names, settings=settings):
            if problem is not None:
                self._pluggy.unregister(name=name)

    def ask(self, hook: str, **arguments: Any) -> Any:
        """Return the first answer to a question, by pluggy's own call; built-in answers come last.

        Raises:
            Exception: what the asked plugin raised; the caller knows what that means (see the hook's contract).
        """
        return getattr(self._pluggy.hook, hook)(**arguments)

    def tell(self, hook: str, **arguments: Any) -> list[tuple[str, Any]]:
        """Call every plugin by itself; returns (plugin name, answer) for those that answered something.

        A plugin that raises is reported by name and counted; the others are called all the same.
        """
        polled = self.poll(hook, **arguments)
        return [(name, answer) for name, answer, problem in polled if problem is None and answer is not None]

    def poll(
        self, hook: str, *, only: set[str] | None = None, skip_broken: bool = True, **arguments: Any
    ) -> list[tuple[str, Any, Exception | None]]:
        """Call every plugin (or only some) by itself; returns (plugin name, answer, what it raised) for each.

        Args:
            hook: the hook's name.
            only: names of the plugins to call; None means all.
            skip_broken: leave out plugins that failed too often. False where silence would count as consent.
            arguments: what the hook's contract names.
        """
        outcomes: list[tuple[str, Any, Exception | None]] = []
        caller = getattr(self._pluggy.hook, hook)
        for found in reversed(caller.get_hookimpls()):
            name = found.plugin_name
            if (skip_broken and self._is_given_up(name)) or (only is not None and name not in only):
                continue
            try:
                answer = found.function(*(arguments[key] for key in found.argnames))
            except Exception as problem:  # noqa: BLE001 - isolation edge: one plugin must not stop the others
                self._report(name, hook, problem)
                outcomes.append((name, None, problem))
            else:
                outcomes.append((name, answer, None))
        return outcomes

    def _is_given_up(self, name: str) -> bool:
        return name not in _NEVER_SKIPPED and self._failures.get(name, 0) >= MAX_FAILURES

    def take_failures(self) -> list[PluginFailure]:
        """Return the failures since the last call, for a report."""
        taken, self.failures = self.failures, []
        return taken

    def report(self, hook: str, problem: Exception) -> None:
        """Note that a question failed; pluggy does not say whose answer it was."""
        self._report("(asked)", hook, problem)

    def _report(self, name: str, hook: str, problem: Exception) -> None:
        self._failures[name] = self._failures.get(name, 0) + 1
        self.failures.append(PluginFailure(plugin=name, hook=hook, error=f"{type(problem).__name__}: {problem}"))
        if self._complaints.due(f"{name} {hook}", self.failures[-1].error, time.monotonic()):
            log.warning(entry("plugin_failed", self.failures[-1].error, plugin=name, hook=hook))

    def _discover(self) -> None:
        """Load third-party plugins one by one; one that cannot be loaded is reported and left out."""
        for found in third_parties():
            if self._pluggy.is_blocked(found.name) or self._pluggy.has_plugin(found.name):
                continue
            try:
                self.register(found.load(), found.name)
            except Exception as problem:  # noqa: BLE001 - isolation edge: a broken plugin must not stop the product
                self._report(found.name, "loading", problem)


def third_parties() -> EntryPoints:
    """Return the entry points of the third-party plugins that are installed, loaded or not."""
    from importlib.metadata import entry_points

    return entry_points(group=hookspecs.PROJECT)
