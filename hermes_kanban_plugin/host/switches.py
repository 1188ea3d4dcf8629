"""On/off keys of ours, read in a process of the host: cheap enough for every such process, so without pydantic.

The same keys are fields of :class:`~hermes_kanban_plugin.settings.PluginSettings`, which refuses what is misspelt.
Here a value that is neither on nor off counts as not set, because a host process must go on.
"""

from __future__ import annotations

import importlib
import logging
import os
from typing import Any

log = logging.getLogger(__name__)

_PLUGIN_ID = "hermes-kanban"
_ENV_PREFIX = "HERMES_KANBAN_PLUGIN_"
_WORDS = {"0": False, "false": False, "no": False, "off": False, "1": True, "true": True, "yes": True, "on": True}


def switch(name: str) -> bool:
    """Return whether a part of ours is on in this process; on, unless somebody switched it off.

    The variable ``HERMES_KANBAN_PLUGIN_<NAME>`` counts first, then the key in ``plugins.entries.hermes-kanban`` of the
    ``config.yaml`` in this process's own home: a worker's is its profile's.

    Args:
        name: the key, as in the settings.
    """
    for wish in (os.environ.get(f"{_ENV_PREFIX}{name.upper()}"), _configured(name)):
        word = _WORDS.get(str(wish).strip().lower())
        if word is not None:
            return word
    return True


def _configured(name: str) -> Any:
    try:
        config = importlib.import_module("hermes_cli.config")
        read = getattr(config, "load_config_readonly", None) or config.load_config
        return read()["plugins"]["entries"][_PLUGIN_ID][name]
    except ImportError:
        return None
    except (KeyError, TypeError):
        return None  # the section, or a step on the way to it, is not there
    except Exception as problem:  # noqa: BLE001 - isolation edge: an unreadable configuration of the host switches nothing
        log.warning("hermes-kanban cannot read whether %s is switched off, so it is on: %s", name, problem)
        return None
