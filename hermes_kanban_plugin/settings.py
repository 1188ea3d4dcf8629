"""Settings: every key with its type, default and bounds, ours and those of the host's that we honour.

Durations are seconds. Every key is described in docs/reference/settings.md; configuration.py reads them.
"""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from hermes_kanban_plugin.breaker import DEFAULT_FAILURE_LIMIT, DEFAULT_STARTS_PER_HOUR, Terms

DEFAULT_LEASE_SECONDS = 120
LEASE_BOUNDS = (6, 86_400)
COOLDOWN_BOUNDS = (0, 86_400)
HEARTBEAT_LIMIT_MOST = 604_800


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
    dispatch_in_gateway: Annotated[bool, BeforeValidator(bool)] = True
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


class CheckSettings(BaseModel):
    """A command that cards may ask for by its name before they count as done; run in the task's workspace."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    command: Annotated[tuple[str, ...], Field(min_length=1)]
    seconds: Annotated[float, Field(gt=0, le=3600)] = 300.0


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
    checks: dict[str, CheckSettings] = {}
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
    max_tokens_per_task: Annotated[int, Field(ge=0, le=10**12)] = 0
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
    fence_failures: bool = True
    fence_blocks: bool = True
    fence_subagents: bool = True
    release_on_signal: bool = True
    note_limits: bool = True
    fence_attachments: bool = True
    extend_kanban_command: bool = True


class Settings(BaseModel):
    """Everything that can be set, as one valid whole."""

    model_config = ConfigDict(frozen=True)

    host: HostSettings = HostSettings()
    plugin: PluginSettings = PluginSettings()
    # What the host's section has and nobody can use, and what of ours is wrong and was left out, in words.
    ignored: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()

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
