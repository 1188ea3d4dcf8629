"""The host's own bridge from an agent's activity to the board, which beats for whatever its environment names.

It also beats while a worker only waits, and in whatever else inherited a worker's environment. Rule source: contract
section 3 (heartbeat bridge).
"""

from __future__ import annotations

import inspect
import logging
from functools import wraps
from typing import TYPE_CHECKING

from hermes_kanban_plugin.host.switches import switch

if TYPE_CHECKING:
    from types import ModuleType

log = logging.getLogger(__name__)

SWITCH = "bridge_activity"


def silence_bridge(module: ModuleType) -> None:
    """Keep the host's own bridge from the board; before 0.16 the host has none.

    Args:
        module: the host's ``tools.kanban_tools``.
    """
    bridge = getattr(module, "heartbeat_current_worker_from_env", None)
    if bridge is None or not switch(SWITCH):
        return
    if inspect.signature(bridge).parameters:
        log.warning("this host's heartbeat bridge takes arguments; it is left alone and beats also while it waits")
        return

    @wraps(bridge)
    def heartbeat_current_worker_from_env() -> bool:
        return False

    module.heartbeat_current_worker_from_env = heartbeat_current_worker_from_env  # type: ignore[attr-defined]
