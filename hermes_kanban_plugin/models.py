"""What the board holds and what the dispatcher reports, as frozen models that are checked at every border.

Times are epoch seconds, durations seconds, sizes bytes. Field names are the host's column names.
"""

from __future__ import annotations

import json
from pathlib import Path  # noqa: TC003 - pydantic resolves it at run time
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from hermes_kanban_plugin.errors import InvalidArgument
from hermes_kanban_plugin.identity import Place, ProcessIdentity
from hermes_kanban_plugin.rules import Status as Status
from hermes_kanban_plugin.store.leases import Lease

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_TEXT = 1_000_000
# The lane of a task that somebody claimed by hand: no supervisor, only a lease.
TERMINAL = "terminal"


def _decode(value: Any) -> Any:
    """Read a JSON column; text that is not JSON, from whatever wrote it, is kept as it is."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except ValueError:
        return value


class Frozen(BaseModel):
    """Base of all models: immutable, and unknown columns of newer hosts are ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class Task(Frozen):
    """A card on the board."""

    id: str
    title: str
    body: str | None = None
    assignee: str | None = None
    status: str
    priority: Annotated[int, BeforeValidator(lambda value: value or 0)] = 0
    tenant: str | None = None
    workspace_kind: str = "scratch"
    workspace_path: str | None = None
    branch_name: str | None = None
    project_id: str | None = None
    created_by: str | None = None
    created_at: int
    started_at: int | None = None
    completed_at: int | None = None
    result: str | None = None
    skills: Annotated[Any, BeforeValidator(_decode)] = None
    max_retries: int | None = None
    max_runtime_seconds: int | None = None
    model_override: str | None = None
    goal_mode: bool = False
    goal_max_turns: int | None = None
    session_id: str | None = None
    block_kind: str | None = None
    block_recurrences: int = 0
    consecutive_failures: int = 0
    last_failure_error: str | None = None
    claim_lock: str | None = None
    claim_expires: int | None = None
    worker_pid: int | None = None
    last_heartbeat_at: int | None = None
    current_run_id: int | None = None

    @property
    def skill_names(self) -> list[str]:
        """The skills that the worker must load, however an older writer stored them."""
        return [str(name) for name in self.skills if name] if isinstance(self.skills, list) else []


class Run(Frozen):
    """One attempt at a task; ``exit_code`` and what follows were seen by its supervisor."""

    id: int
    task_id: str
    profile: str | None = None
    status: str
    outcome: str | None = None
    summary: str | None = None
    error: str | None = None
    metadata: Annotated[Any, BeforeValidator(_decode)] = None
    claim_lock: str | None = None
    claim_expires: int | None = None
    worker_pid: int | None = None
    last_heartbeat_at: int | None = None
    started_at: int
    ended_at: int | None = None
    lane: str | None = None
    accepted_at: int | None = None
    supervisor_pid: int | None = None
    exit_code: int | None = None
    exit_signal: int | None = None
    user_seconds: float | None = None
    system_seconds: float | None = None
    peak_memory_bytes: int | None = None
    first_output: str | None = None
    last_output: str | None = None
    cause: str | None = None
    retry_at: int | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None


class Event(Frozen):
    """One row of the history."""

    id: int
    task_id: str
    run_id: int | None = None
    kind: str
    payload: Annotated[Any, BeforeValidator(_decode)] = None
    created_at: int


class HeldRun(Frozen):
    """A run that holds a task, or that was closed while its processes may linger, with all that is known of it."""

    task_id: str
    run_id: int | None = Field(default=None, validation_alias="known_run_id")
    lock: str | None = Field(default=None, validation_alias="claim_lock")
    claim_expires: int | None = None
    task_worker_pid: int | None = None
    last_heartbeat_at: int | None = None
    started_at: int | None = None
    claimed_at: int | None = None
    closed_at: int | None = None
    max_runtime_seconds: int | None = None
    assignee: str | None = None
    lane: str | None = None
    source_status: Annotated[str, BeforeValidator(lambda value: value or "ready")] = "ready"
    launch_deadline: int | None = None
    accepted_at: int | None = None
    place: Place | None = None
    supervisor_pid: int | None = None
    supervisor_started: float | None = None
    worker_pid: int | None = None
    worker_started: float | None = None
    supervised: bool = False

    @model_validator(mode="before")
    @classmethod
    def _gather(cls, row: dict[str, Any]) -> dict[str, Any]:
        """Put together what the row has in parts: the place, and the run id of runs that are not ours."""
        supervised = row.get("known_run_id") is not None and row.get("lane") != TERMINAL
        gathered = {**row, "supervised": supervised}
        if row.get("known_run_id") is None:
            gathered["known_run_id"] = row.get("current_run_id")
        if row.get("host_id"):
            gathered["place"] = Place(row["host_id"], row["boot_id"], row["pid_namespace"])
        return gathered

    @property
    def lease(self) -> Lease:
        """The lease this run holds or held, for a fenced write."""
        return Lease(self.task_id, self.run_id or 0, self.lock or "")

    @property
    def supervisor(self) -> ProcessIdentity | None:
        """Who supervises the worker, once the claim was accepted."""
        return self._identity(self.supervisor_pid, self.supervisor_started)

    @property
    def worker(self) -> ProcessIdentity | None:
        """Who works, once the claim was accepted."""
        return self._identity(self.worker_pid, self.worker_started)

    def _identity(self, pid: int | None, started: float | None) -> ProcessIdentity | None:
        return ProcessIdentity(*self.place, pid, started) if self.place and pid else None


class Workspace(Frozen):
    """Where a worker works: a folder, and the branch for a worktree."""

    path: Path
    branch: str | None = None


class TaskDraft(Frozen):
    """A task to be created: what ``create`` takes, checked (contract section 3, create_task).

    ``parents`` are task ids; ``start_at`` is when it may start, epoch seconds; ``max_runtime_seconds`` bounds one
    attempt; ``max_retries`` is the number of consecutive failures at which the task is given up. With
    ``idempotency_scope`` "open" a finished task does not answer to its key.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", str_max_length=MAX_TEXT)

    title: str
    body: str | None = None
    assignee: str | None = None
    created_by: str = "user"
    workspace_kind: Literal["scratch", "dir", "worktree"] = "scratch"
    workspace_path: str | None = None
    branch_name: str | None = None
    tenant: str | None = None
    priority: Annotated[int, Field(ge=-(2**31), lt=2**31)] = 0
    parents: tuple[str, ...] = ()
    triage: bool = False
    initial_status: Literal["running", "blocked"] = "running"
    idempotency_key: str | None = None
    idempotency_scope: Literal["all", "open"] = "all"
    max_runtime_seconds: Annotated[int, Field(gt=0, lt=2**31)] | None = None
    skills: tuple[str, ...] = ()
    max_retries: Annotated[int, Field(gt=0, lt=2**31)] | None = None
    goal_mode: bool = False
    goal_max_turns: Annotated[int, Field(gt=0, lt=2**31)] | None = None
    session_id: str | None = None
    start_at: Annotated[int, Field(gt=0, lt=2**40)] | None = None

    @classmethod
    def of(cls, fields: Mapping[str, Any]) -> TaskDraft:
        """Return the draft of some fields.

        Raises:
            InvalidArgument: a field is wrong; the message names it.
        """
        try:
            return cls.model_validate(fields)
        except ValidationError as problem:
            first = problem.errors()[0]
            field = ".".join(str(part) for part in first["loc"])
            raise InvalidArgument(f"{field or 'task'}: {first['msg']}") from problem

    @field_validator("title")
    @classmethod
    def _require_title(cls, title: str) -> str:
        if not title.strip():
            raise ValueError("a title is required")
        return title.strip()

    @field_validator("assignee")
    @classmethod
    def _lower_assignee(cls, assignee: str | None) -> str | None:
        name = (assignee or "").strip().lower()
        return name or None

    @field_validator("parents", "skills")
    @classmethod
    def _drop_repeats(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(dict.fromkeys(name.strip() for name in names if name.strip()))

    @field_validator("skills")
    @classmethod
    def _refuse_commas(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        joined = next((name for name in names if "," in name), None)
        if joined:
            raise ValueError(f"a skill name cannot contain a comma: {joined!r}; pass the names one by one")
        return names

    @model_validator(mode="after")
    def _check_workspace(self) -> TaskDraft:
        if self.branch_name and self.workspace_kind != "worktree":
            raise ValueError("a branch needs a worktree workspace")
        return self

    @model_validator(mode="after")
    def _check_start(self) -> TaskDraft:
        if self.start_at is not None and (self.triage or self.initial_status == "blocked"):
            raise ValueError("a task that starts at a time can be neither blocked nor in triage until then")
        return self

    @property
    def wished_status(self) -> str:
        """The status the task starts in when no parent holds it back."""
        if self.initial_status == "blocked":
            return "blocked"
        return "triage" if self.triage else "ready"


class Started(Frozen):
    """A worker that this tick started (or, in a dry run, would start)."""

    task_id: str
    run_id: int | None
    assignee: str | None
    lane: str
    workspace: str = ""
    review: bool = False


class Skipped(Frozen):
    """A task that this tick could have started and did not, and the reason; ``code`` is one word for programs."""

    task_id: str
    reason: str
    code: str = ""


class Rescued(Frozen):
    """A task that was taken back from a run, and what was known."""

    task_id: str
    run_id: int | None
    outcome: str
    reason: str


class PluginFailure(Frozen):
    """A plugin that raised while it was asked or told something; the tick went on."""

    plugin: str
    hook: str
    error: str


class TickReport(Frozen):
    """What one tick did on one board."""

    board: str
    dry_run: bool = False
    locked_out: bool = False
    rescued: list[Rescued] = []
    repaired: list[Rescued] = []
    promoted: list[str] = []
    started: list[Started] = []
    skipped: list[Skipped] = []
    failed: list[Skipped] = []
    plugin_failures: list[PluginFailure] = []
    running: int = 0

    @property
    def busy(self) -> bool:
        """Whether anything changed on the board."""
        return bool(self.rescued or self.repaired or self.promoted or self.started or self.failed)
