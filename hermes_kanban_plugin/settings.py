"""Settings: the host's ``kanban:`` section for what it already has, ours under ``plugins.entries.hermes-kanban``.

Both are read from ``config.yaml`` in the kanban home, again whenever the file changed; environment variables
``HERMES_KANBAN_PLUGIN_<KEY>`` win over ours. An unknown key of ours is refused with the nearest known one; the host's
section may hold anything, because it is the host's. Every key is described in docs/reference/settings.md.
"""

from __future__ import annotations

import json
import logging
import math
import os
import re
import time
from difflib import get_close_matches
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from hermes_kanban_plugin.breaker import DEFAULT_FAILURE_LIMIT, DEFAULT_STARTS_PER_HOUR, Terms
from hermes_kanban_plugin.errors import InvalidSettings

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

log = logging.getLogger(__name__)

PLUGIN_ID = "hermes-kanban"
ENV_PREFIX = "HERMES_KANBAN_PLUGIN_"
# Read by the command line before there are settings.
DEBUG_SWITCH = f"{ENV_PREFIX}DEBUG"
DEFAULT_LEASE_SECONDS = 120
# A settings file that is empty or gone is believed only when it stays so.
EMPTY_SECONDS = 5.0

LEASE_BOUNDS = (6, 86_400)
COOLDOWN_BOUNDS = (0, 86_400)
HEARTBEAT_LIMIT_MOST = 604_800
# Our key -> the host's variable, the least value that the host does not ignore, and our bounds.
_HOST_VARIABLES = {
    "lease_seconds": ("HERMES_KANBAN_CLAIM_TTL_SECONDS", 1, *LEASE_BOUNDS),
    "rate_limit_cooldown_seconds": ("HERMES_KANBAN_RATE_LIMIT_COOLDOWN_SECONDS", 0, *COOLDOWN_BOUNDS),
}

_Model = TypeVar("_Model", bound=BaseModel)


def _truncate(value: Any) -> Any:
    """Cut a fraction off, as the host does."""
    return int(value) if isinstance(value, float) and math.isfinite(value) else value


def _raise_to(least: int) -> BeforeValidator:
    """Return what raises a number that is too small to the least one, as the host does with some of its keys."""
    return BeforeValidator(lambda value: max(value, least) if isinstance(value, (int, float)) else value)


def _refuse_one(value: int) -> int:
    if value == 1:
        raise ValueError("one task that fails is no outage; use 2 or more, or 0 for never")
    return value


_Whole = Annotated[int, BeforeValidator(_truncate)]
_Cap = Annotated[_Whole, Field(gt=0)] | None
# An assignee, as it is stored.
_Name = Annotated[str, BeforeValidator(lambda name: str(name).strip().lower())]


class HostSettings(BaseModel):
    """The keys of the host's ``kanban:`` section that the dispatcher honours (contract section 4)."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    dispatch_interval_seconds: Annotated[float, Field(ge=1, allow_inf_nan=False), _raise_to(1)] = 60.0
    failure_limit: Annotated[_Whole, Field(ge=1)] = DEFAULT_FAILURE_LIMIT
    max_spawn: Annotated[_Whole, _raise_to(0)] | None = None
    max_in_progress: _Cap = None
    max_in_progress_per_profile: _Cap = None
    default_assignee: str = ""
    dispatch_stale_timeout_seconds: Annotated[_Whole, Field(ge=0)] = 14_400
    worker_log_rotate_bytes: Annotated[_Whole, Field(ge=1)] = 2 * 1024 * 1024
    worker_log_backup_count: Annotated[_Whole, Field(ge=0)] = 1
    auto_decompose: bool = True
    auto_decompose_per_tick: Annotated[_Whole, _raise_to(1)] = 3
    diagnostics: Annotated[dict[str, Any], BeforeValidator(lambda value: value if isinstance(value, dict) else {})] = {}

    @model_validator(mode="before")
    @classmethod
    def _drop_unusable(cls, section: Any) -> Any:
        """Leave out empty values, which the host takes for "not set"; but an empty ``auto_decompose`` is a no."""
        if not isinstance(section, dict):
            return {}
        given = {name: value for name, value in section.items() if value is not None and value != ""}
        zero_is_unset = ("dispatch_interval_seconds", "auto_decompose_per_tick")
        given = {name: value for name, value in given.items() if value != 0 or name not in zero_is_unset}
        return given if section.get("auto_decompose", True) else given | {"auto_decompose": False}


class LaneSettings(BaseModel):
    """A worker that is a command instead of a Hermes profile.

    ``command`` is an argument vector, never a shell string. ``{task_id}``, ``{run_id}``, ``{title}``, ``{body}`` and
    ``{workspace}`` are replaced in each argument.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    command: Annotated[tuple[str, ...], Field(min_length=1)]


class PoolSettings(BaseModel):
    """Something that the tasks of several assignees share, such as one GPU: ``size`` of them run at a time."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    size: Annotated[int, Field(ge=0, le=10_000)] = 1
    assignees: Annotated[tuple[_Name, ...], Field(min_length=1)]


class PluginSettings(BaseModel):
    """Our own keys; durations in seconds."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    lanes: dict[_Name, LaneSettings] = {}
    assignee_caps: dict[_Name, Annotated[int, Field(ge=0, le=10_000)]] = {}
    pools: dict[str, PoolSettings] = {}
    memory_guard: bool = True
    priority_aging_seconds: Annotated[int, Field(ge=0, le=31_536_000)] = 3600
    lease_seconds: Annotated[int, Field(ge=LEASE_BOUNDS[0], le=LEASE_BOUNDS[1])] = DEFAULT_LEASE_SECONDS
    launch_seconds: Annotated[int, Field(ge=1, le=600)] = 30
    terminate_grace_seconds: Annotated[float, Field(gt=0, le=600)] = 10.0
    farewell_seconds: Annotated[float, Field(ge=0, le=3600)] = 30.0
    rate_limit_cooldown_seconds: Annotated[int, Field(ge=COOLDOWN_BOUNDS[0], le=COOLDOWN_BOUNDS[1])] = 300
    retry_base_seconds: Annotated[int, Field(ge=0, le=86_400)] = 30
    retry_cap_seconds: Annotated[int, Field(ge=0, le=86_400)] = 900
    max_starts_per_hour: Annotated[int, Field(ge=1, le=3600)] = DEFAULT_STARTS_PER_HOUR
    outage_tasks: Annotated[int, Field(ge=0, le=1000), AfterValidator(_refuse_one)] = 3
    heartbeat_limit_seconds: Annotated[int, Field(ge=0, le=HEARTBEAT_LIMIT_MOST)] = 3600
    ownership: Literal["process", "tree"] = "process"
    poll_seconds: Annotated[float, Field(ge=0.01, le=5)] = 0.1
    decompose_seconds: Annotated[int, Field(ge=1, le=86_400)] = 300
    metrics_port: Annotated[int, Field(ge=0, le=65_535)] = 0
    keep_days: Annotated[int, Field(ge=0, le=3650)] = 0
    block_plugins: tuple[str, ...] = ()
    # Read in processes of the host, by host/switches.py.
    guard_file_check: bool = True
    take_over_dispatcher: bool = True
    bridge_activity: bool = True
    extend_kanban_command: bool = True


class Settings(BaseModel):
    """Everything that can be set, as one valid whole."""

    model_config = ConfigDict(frozen=True)

    host: HostSettings = HostSettings()
    plugin: PluginSettings = PluginSettings()
    # What the host's section has and nobody can use, in words.
    ignored: tuple[str, ...] = ()

    @property
    def failure_terms(self) -> Terms:
        """What they say about failures, for whoever ends a run."""
        return Terms(
            failure_limit=self.host.failure_limit,
            retry_base=self.plugin.retry_base_seconds,
            retry_cap=self.plugin.retry_cap_seconds,
            cooldown=self.plugin.rate_limit_cooldown_seconds,
            outage_tasks=self.plugin.outage_tasks,
        )


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
    parts: dict[str, type[BaseModel]] = {"lanes": LaneSettings, "pools": PoolSettings}
    known = model.model_fields if len(first["loc"]) == 1 else parts[str(first["loc"][0])].model_fields
    nearest = get_close_matches(str(first["loc"][-1]), list(known), n=1, cutoff=0.0)
    return f"unknown key {key!r}; did you mean {nearest[0]!r}?"
