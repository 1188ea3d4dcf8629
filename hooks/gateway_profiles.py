"""The built-in look at new profiles: one that does not load the plugin is named, once per change of its settings.

Plugins are enabled per profile (contract section 7), so a profile that was made after ``setup`` runs its workers with
Hermes' own tools. Said only where the plugin is enabled in the root home; elsewhere nobody expects it.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from hermes_kanban_plugin import locations
from hermes_kanban_plugin.dispatch.context import Phase
from hermes_kanban_plugin.errors import SetupRefused
from hermes_kanban_plugin.hookspecs import hookimpl
from hermes_kanban_plugin.installation import homes

if TYPE_CHECKING:
    from hermes_kanban_plugin.dispatch.context import TickContext
    from hermes_kanban_plugin.installation.homes import Home
    from hermes_kanban_plugin.runtime import Runtime

    Stamp = tuple[int, int] | None

log = logging.getLogger(__name__)

# Per dispatcher: the profiles that were looked at, and which settings file that was.
_seen: WeakKeyDictionary[Runtime, dict[str, Stamp]] = WeakKeyDictionary()


@hookimpl(trylast=True)
def kanban_gateway_startup(runtime: Runtime) -> None:
    """Look at all profiles."""
    look(runtime)


@hookimpl(trylast=True)
def kanban_tick(context: TickContext, phase: Phase) -> None:
    """Look at what is new, with each full sweep of a dispatcher."""
    if phase is Phase.REPORT and context.full and not context.dry_run and context.runtime.watch is not None:
        look(context.runtime)


def look(runtime: Runtime) -> None:
    """Name every profile that is new or was changed, and does not load the plugin although the root home does."""
    if _is_decided_for_all():
        return
    try:
        root, *profiles = homes.find(locations.hermes_root())
    except OSError as problem:
        log.debug("the profiles cannot be listed: %s", problem)
        return
    seen = _seen.setdefault(runtime, {})
    changed = [home for home in profiles if home.profile not in seen or seen[home.profile] != _stamp(home)]
    seen.update({home.profile: _stamp(home) for home in profiles})
    for home in changed:
        if _is_enabled(root) and not _is_enabled(home):
            log.warning(
                "profile %s does not load this plugin, so its workers have the tools of Hermes; change that with: "
                "hermes-kanban setup --profile %s",
                home.profile, home.profile,
            )  # fmt: skip


def _is_decided_for_all() -> bool:
    """Say whether the machine's administrator says for all homes which plugins are loaded."""
    path = locations.managed_settings()
    if path is None:
        return False
    from hermes_kanban_plugin.installation import enabling, files  # late: as below

    try:
        return enabling.decides(files.look(path).text)
    except SetupRefused:
        return False


def _stamp(home: Home) -> Stamp:
    try:
        found = home.config.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size


def _is_enabled(home: Home) -> bool:
    """Say whether the plugin is loaded there; a file that cannot be understood is ``doctor``'s business."""
    from hermes_kanban_plugin.installation import enabling, files  # late: only a dispatcher needs a YAML reader

    try:
        traces = enabling.read(files.look(home.config).text)
    except SetupRefused as problem:
        log.debug("it cannot be seen what profile %s loads: %s", home.profile, problem)
        return True
    return traces.enabled and not traces.disabled
