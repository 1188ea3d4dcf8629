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
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ValidationError

from hermes_kanban_plugin import locations
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


def load(root: Path, *, lenient: bool = False) -> Settings:
    """Read the settings of a kanban home, with those of the machine's administrator over them.

    Args:
        root: the kanban home.
        lenient: leave out keys of ours that are wrong and name them in ``refused``, instead of refusing all: a slip
            must not keep a dispatcher from serving that nobody looks at.

    Raises:
        InvalidSettings: the file is not YAML, or one of our keys or environment variables is wrong; the message names
            it. A wrong value in the host's section is none of our business: it is ignored, as the host does, and
            named in ``ignored``.
    """
    path = locations.settings_file(root)
    document = _overlaid(read_yaml(path), _managed())
    entries = _section(document, "plugins", "entries", PLUGIN_ID)
    ours = {name: value for name, value in entries.items() if name != "allow_tool_override"}
    merged = _host_environment() | ours | _environment()
    host, ignored = _read_host(_section(document, "kanban"))
    where = f"{path}, section plugins.entries.{PLUGIN_ID}, or {ENV_PREFIX}*"
    refused: list[str] = []
    while True:
        try:
            plugin = PluginSettings.model_validate(merged)
            break
        except ValidationError as problem:
            first = _first(problem)
            if not lenient or not first["loc"] or first["loc"][0] not in merged:
                raise InvalidSettings(f"{where}: {_explain(first)}") from problem
            refused.append(_explain(first))
            del merged[str(first["loc"][0])]
    return Settings(host=host, ignored=ignored, refused=tuple(refused), plugin=plugin)


def _managed() -> dict[str, Any]:
    """Return the settings of the machine's administrator; one that nobody can read decides nothing, as in the host."""
    path = locations.managed_settings()
    if path is None:
        return {}
    try:
        return read_yaml(path)
    except InvalidSettings as problem:
        log.warning("what the administrator of this machine set does not count: %s", problem)
        return {}


def _overlaid(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Return two documents as one; where both have a value the one above counts, key by key."""
    both = dict(below)
    for name, value in above.items():
        under = both.get(name)
        both[name] = _overlaid(under, value) if isinstance(under, dict) and isinstance(value, dict) else value
    return both


def load_or_default(root: Path, *, lenient: bool = False) -> Settings:
    """Read the settings of a kanban home; what cannot be read must not cost a worker its tools, so defaults count."""
    try:
        return load(root, lenient=lenient)
    except InvalidSettings as problem:
        log.warning("the default settings are used: %s", problem)
        return Settings()


class LiveSettings:
    """Settings that follow their files: looked at again on each use, read again only when one changed.

    ``lenient`` and ``spare`` say how they are read for the first time (:func:`load`, :func:`load_or_default`); later
    the last good ones stay.
    """

    def __init__(self, root: Path, *, lenient: bool = False, spare: bool = False) -> None:
        self._root = root
        self._settings = load_or_default(root, lenient=True) if spare else load(root, lenient=lenient)
        self._stamps = self._look()
        self._had_content = self._has_content()
        self._full_at = time.monotonic()
        self.problem: str | None = None

    def current(self) -> Settings:
        """Return the settings in force; after a bad edit the last good ones, with ``problem`` saying what is wrong."""
        stamps, before = self._look(), self._stamps
        self._stamps = stamps
        if self._has_content():
            self._had_content, self._full_at = True, time.monotonic()
        elif self._had_content and time.monotonic() - self._full_at < EMPTY_SECONDS:
            self._stamps = before
            return self._settings  # it is being written anew; no limit may vanish meanwhile
        if stamps != before:
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

    def _look(self) -> list[tuple[int, int] | None]:
        """Return which versions stand there now: of the file, and of the administrator's."""
        return [_stamp_of(locations.settings_file(self._root)), _stamp_of(locations.managed_settings())]

    def _has_content(self) -> bool:
        return self._stamps[0] is not None and self._stamps[0][1] > 0


def _stamp_of(path: Path | None) -> tuple[int, int] | None:
    if path is None:
        return None
    try:
        seen = path.stat()
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
    from ruamel.yaml.constructor import SafeConstructor

    class LastWins(SafeConstructor):
        """Takes the last one of keys that stand twice, as the host does."""

        def check_mapping_key(self, *_: Any) -> bool:
            return True

    reader = YAML(typ="safe", pure=True)
    reader.Constructor = LastWins
    try:
        document = reader.load(text)
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


def _first(problem: ValidationError) -> Any:
    """Return the complaint to begin with: a misspelt key is also a missing one, and the spelling is the better hint."""
    errors = problem.errors()
    return next((error for error in errors if error["type"] == "extra_forbidden"), errors[0])


def _explain(first: Any) -> str:
    key = ".".join(str(part) for part in first["loc"]) or "settings"
    if first["type"] != "extra_forbidden":
        return f"{key}: {first['msg']} (got {first['input']!r})"
    parts: dict[str, type[BaseModel]] = {"lanes": LaneSettings, "pools": PoolSettings, "checks": CheckSettings}
    known = PluginSettings.model_fields if len(first["loc"]) == 1 else parts[str(first["loc"][0])].model_fields
    nearest = get_close_matches(str(first["loc"][-1]), list(known), n=1, cutoff=0.0)
    return f"unknown key {key!r}; did you mean {nearest[0]!r}?"
