"""Reading the settings: ``config.yaml`` of the kanban home, the environment, and both again when they changed.

The host's ``kanban:`` section has what it already has, ours is under ``plugins.entries.hermes-kanban``; environment
variables ``HERMES_KANBAN_PLUGIN_<KEY>`` win over ours. An unknown key of ours is refused with the nearest known one;
the host's section may hold anything, because it is the host's.
"""

from __future__ import annotations

import json
import logging
import os
import re
import time
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import BaseModel, ValidationError

from hermes_kanban_plugin.errors import InvalidSettings
from hermes_kanban_plugin.settings import (
    COOLDOWN_BOUNDS,
    LEASE_BOUNDS,
    CheckSettings,
    HostSettings,
    LaneSettings,
    PluginSettings,
    PoolSettings,
    Settings,
)

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

log = logging.getLogger(__name__)

PLUGIN_ID = "hermes-kanban"
ENV_PREFIX = "HERMES_KANBAN_PLUGIN_"
# Read by the command line before there are settings.
DEBUG_SWITCH = f"{ENV_PREFIX}DEBUG"
# A settings file that is empty or gone is believed only when it stays so.
EMPTY_SECONDS = 5.0

# Our key -> the host's variable, the least value that the host does not ignore, and our bounds.
_HOST_VARIABLES = {
    "lease_seconds": ("HERMES_KANBAN_CLAIM_TTL_SECONDS", 1, *LEASE_BOUNDS),
    "rate_limit_cooldown_seconds": ("HERMES_KANBAN_RATE_LIMIT_COOLDOWN_SECONDS", 0, *COOLDOWN_BOUNDS),
}

_Model = TypeVar("_Model", bound=BaseModel)


def load(root: Path) -> Settings:
    """Read the settings of a kanban home.

    Raises:
        InvalidSettings: the file is not YAML, or one of our keys or environment variables is wrong; the message names
            it. A wrong value in the host's section is none of our business: it is ignored, as the host does, and
            named in ``ignored``.
    """
    path = root / "config.yaml"
    document = read_yaml(path)
    entries = _section(document, "plugins", "entries", PLUGIN_ID)
    ours = {name: value for name, value in entries.items() if name != "allow_tool_override"}
    merged = _host_environment() | ours | _environment()
    host, ignored = _read_host(_section(document, "kanban"))
    return Settings(
        host=host,
        ignored=ignored,
        plugin=_validate(PluginSettings, merged, f"{path}, section plugins.entries.{PLUGIN_ID}, or {ENV_PREFIX}*"),
    )


def load_or_default(root: Path) -> Settings:
    """Read the settings of a kanban home; what cannot be read must not cost a worker its tools, so defaults count."""
    try:
        return load(root)
    except InvalidSettings as problem:
        log.warning("the default settings are used: %s", problem)
        return Settings()


class LiveSettings:
    """Settings that follow their file: looked at again on each use, read again only when the file changed."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._stamp: tuple[int, int] | None = None
        self._settings = load(root)
        self._stamp = self._look()
        self._had_content = self._stamp is not None and self._stamp[1] > 0
        self._full_at = time.monotonic()
        self.problem: str | None = None

    def current(self) -> Settings:
        """Return the settings in force; after a bad edit the last good ones, with ``problem`` saying what is wrong."""
        stamp = self._look()
        if stamp is None or stamp[1] == 0:
            if self._had_content and time.monotonic() - self._full_at < EMPTY_SECONDS:
                return self._settings  # it is being written anew; no limit may vanish meanwhile
        else:
            self._had_content, self._full_at = True, time.monotonic()
        if stamp != self._stamp:
            self._stamp = stamp
            try:
                self._take(load(self._root))
            except InvalidSettings as problem:
                self.problem = str(problem)
        return self._settings

    def _take(self, found: Settings) -> None:
        """Put settings in force, unless a slip in the host's section would lift a limit that holds now."""
        slips = [words for words in found.ignored if words not in self._settings.ignored]
        self.problem = f"config.yaml, section kanban: {'; '.join(slips)}" if slips else None
        if not slips:
            self._settings = found

    def _look(self) -> tuple[int, int] | None:
        try:
            seen = (self._root / "config.yaml").stat()
        except OSError:
            return None
        return seen.st_mtime_ns, seen.st_size


def read_yaml(path: Path) -> dict[str, Any]:
    """Return a YAML file as a mapping; one that is missing, or holds something else, as an empty one.

    Raises:
        InvalidSettings: it cannot be read or is not YAML.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError) as problem:
        raise InvalidSettings(f"{path} cannot be read ({problem}); check its permissions and encoding") from problem
    from ruamel.yaml import YAML, error  # late: only a home with a config file pays for it

    try:
        document = YAML(typ="safe", pure=True).load(text)
    except error.YAMLError as problem:
        raise InvalidSettings(f"{path} is not valid YAML: {' '.join(str(problem).split())}") from problem
    return document if isinstance(document, dict) else {}


def _section(document: Mapping[str, Any], *names: str) -> dict[str, Any]:
    found: Any = document
    for name in names:
        found = found.get(name) if isinstance(found, dict) else None
    return found if isinstance(found, dict) else {}


def _read_host(section: dict[str, Any]) -> tuple[HostSettings, tuple[str, ...]]:
    """Return what can be used of the host's section, and what cannot, in words."""
    usable = {name: _expand(value) for name, value in section.items()}
    try:
        return HostSettings.model_validate(usable), ()
    except ValidationError as problem:
        wrong = {str(error["loc"][0]): error["msg"] for error in problem.errors()}
    ignored = tuple(f"{name}: {section[name]!r} ({why})" for name, why in wrong.items())
    return HostSettings.model_validate({name: usable[name] for name in usable.keys() - wrong.keys()}), ignored


def _expand(value: Any) -> Any:
    """Put the variables of the environment into a text, as the host does; one that is not set stays as it stands."""
    if not isinstance(value, str):
        return value
    return re.sub(r"\$\{([^}]+)\}", lambda found: os.environ.get(found[1], found[0]), value)


def _host_environment() -> dict[str, Any]:
    """Return what the host's own variables say about our keys (contract section 3).

    They are the host's, so what it ignores is ignored, and what it allows is cut to our bounds instead of refused.
    """
    found = {}
    for key, (name, usable, least, most) in _HOST_VARIABLES.items():
        value = os.environ.get(name, "").strip()
        if value.isdecimal() and int(value) >= usable:
            found[key] = min(max(int(value), least), most)
    return found


def _environment() -> dict[str, Any]:
    found = {}
    for name, text in os.environ.items():
        if name.startswith(ENV_PREFIX) and name != DEBUG_SWITCH:
            found[name.removeprefix(ENV_PREFIX).lower()] = _parse(text)
    return found


def _parse(text: str) -> Any:
    """Take a variable for JSON where it is (numbers, lists, lanes), for a word otherwise."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def _validate(model: type[_Model], values: dict[str, Any], where: str) -> _Model:
    try:
        return model.model_validate(values)
    except ValidationError as problem:
        raise InvalidSettings(f"{where}: {_explain(model, problem)}") from problem


def _explain(model: type[BaseModel], problem: ValidationError) -> str:
    errors = problem.errors()
    # A misspelt key is also a missing one; the spelling is the better hint.
    first = next((error for error in errors if error["type"] == "extra_forbidden"), errors[0])
    key = ".".join(str(part) for part in first["loc"]) or "settings"
    if first["type"] != "extra_forbidden":
        return f"{key}: {first['msg']} (got {first['input']!r})"
    parts: dict[str, type[BaseModel]] = {"lanes": LaneSettings, "pools": PoolSettings, "checks": CheckSettings}
    known = model.model_fields if len(first["loc"]) == 1 else parts[str(first["loc"][0])].model_fields
    nearest = get_close_matches(str(first["loc"][-1]), list(known), n=1, cutoff=0.0)
    return f"unknown key {key!r}; did you mean {nearest[0]!r}?"
