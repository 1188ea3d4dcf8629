"""Every refusal of the product: one class each, its message names what happened and the command that helps.

Standard library only: the supervisor uses this module too.
"""

from __future__ import annotations


class KanbanError(Exception):
    """Something did not happen, and the message says what to do about it.

    ``exit_code`` is what a command ends with: 1 when the fault is ours or the machine's, 2 when it is the caller's.
    """

    exit_code = 1


class CallerMistake(KanbanError):
    """The caller asked for something that cannot be; nothing was changed."""

    exit_code = 2


class InvalidArgument(CallerMistake):
    """An argument is missing, has the wrong type or an impossible value."""


class InvalidSettings(CallerMistake):
    """A settings file or environment variable holds an unknown key or an impossible value."""


class UnknownBoard(CallerMistake):
    """The board was never created."""

    def __init__(self, slug: str, path: object) -> None:
        super().__init__(
            f"board {slug!r} does not exist (no file at {path}); create it with: hermes-kanban --board {slug} init"
        )


class UnknownTask(CallerMistake):
    """No task with this id is on the board."""

    def __init__(self, task_id: str, board: str = "") -> None:
        where = f" on board {board!r}" if board else ""
        super().__init__(f"unknown task {task_id!r}{where}; list the tasks with: hermes-kanban list")
        self.task_id = task_id


class WrongState(CallerMistake):
    """The task is in a state from which the asked move does not exist."""

    def __init__(self, task_id: str, verb: str, status: str, allowed: str, hint: str = "") -> None:
        message = f"could not {verb} {task_id}: it is {status}, and {verb} needs {allowed}"
        super().__init__(f"{message}; {hint or f'look at it with: hermes-kanban show {task_id}'}")
        self.task_id, self.status = task_id, status


class Superseded(CallerMistake):
    """The caller's run is no longer the current run of the task, so its write was refused (fencing).

    ``current_run_id`` is the run that holds the task now, or None when nobody does.
    """

    def __init__(self, task_id: str, run_id: int, current_run_id: int | None, status: str) -> None:
        if current_run_id == run_id:
            now = "it is held under another lock or was accepted before"
        elif current_run_id:
            now = f"superseded by run {current_run_id}"
        else:
            now = f"closed, the task is {status}"
        super().__init__(
            f"run {run_id} of task {task_id} is no longer current ({now}); nothing was written. Stop working on it; "
            f"see what happened with: hermes-kanban runs {task_id}"
        )
        self.task_id, self.run_id, self.current_run_id, self.status = task_id, run_id, current_run_id, status


class CompletionKept(CallerMistake):
    """The run was closed before its worker completed the task; the hand-off is kept until a person decides."""

    def __init__(self, task_id: str, run_id: int) -> None:
        super().__init__(
            f"run {run_id} of task {task_id} is no longer current (it was closed before), so the task is not done; but "
            "your hand-off was kept until a person decides. Stop working on it. They accept it with: "
            f"hermes-kanban accept {task_id}"
        )


class UnreadableRow(KanbanError):
    """Another program wrote a value of the wrong kind into a task's row, so nothing is done with that task."""

    def __init__(self, task_id: str, sentence: str, repair: str) -> None:
        super().__init__(f"task {task_id} cannot be read: {sentence}; nothing was changed. Put it right with: {repair}")
        self.task_id = task_id


class NoLateCompletion(CallerMistake):
    """The task has no completion that waits for a decision."""

    def __init__(self, task_id: str) -> None:
        super().__init__(
            f"task {task_id} has no completion that waits for a decision; look at it with: hermes-kanban show {task_id}"
        )


class NoOutage(CallerMistake):
    """There is no open outage of this number."""

    def __init__(self, outage_id: int) -> None:
        super().__init__(
            f"there is no outage {outage_id}, or it is over already; list those that last: hermes-kanban outages"
        )


class ChangedMeanwhile(CallerMistake):
    """The row is not what the operator was shown; nothing was done."""

    def __init__(self, task_id: str) -> None:
        super().__init__(
            f"task {task_id} changed meanwhile, nothing was done; look again: hermes-kanban show {task_id}"
        )


class ForeignTask(CallerMistake):
    """A worker tried to change a task that is not its own."""

    def __init__(self, own: str, other: str) -> None:
        super().__init__(
            f"worker is scoped to task {own}; refusing to mutate {other}. Use kanban_comment to hand information to "
            "other tasks, or kanban_create for follow-up work"
        )


class NotTheOwner(CallerMistake):
    """An ownership rule denied the call."""


class MalformedEnvironment(CallerMistake):
    """The worker's environment does not say which run it is, so it may write nothing."""

    def __init__(self, name: str, value: str | None) -> None:
        what = "is not set" if value is None or not value.strip() else f"is malformed ({value[:40]!r})"
        super().__init__(
            f"this worker cannot prove which run it is: {name} {what}. Nothing was changed; start workers through "
            "the dispatcher (hermes-kanban dispatcher), which sets it"
        )


class CheckFailed(CallerMistake):
    """A check that the card declares did not pass; noted in the history, and the task is still in flight."""

    def __init__(self, shortfalls: list[str]) -> None:
        super().__init__(
            f"the task is not done yet: {'; '.join(shortfalls)}. Your task is still in flight. Put it right and call "
            "kanban_complete again, or call kanban_block if you cannot; the next completion that fails goes to a person"
        )


class PhantomCards(CallerMistake):
    """A completion named created cards that do not exist or that this worker did not create."""

    def __init__(self, phantom: list[str]) -> None:
        super().__init__(
            f"the following created_cards do not exist or were not created by this worker: {', '.join(phantom)}. "
            "Your task is still in flight (nothing changed). Call again with the same summary and without these "
            "ids, or with created_cards=[]"
        )
        self.phantom = phantom


class ArtifactNotPreserved(KanbanError):
    """A declared artifact in a scratch workspace could not be copied to a durable place."""


class BoardUnusable(KanbanError):
    """The board file cannot be used as it is; it was left untouched."""


class BoardBusy(KanbanError):
    """Somebody else is ticking the board and does not stop."""

    def __init__(self, slug: str, seconds: int) -> None:
        super().__init__(
            f"board {slug!r} was ticked by somebody else for {seconds} s without a pause, nothing was done; "
            "try again, or see who: hermes-kanban status"
        )


class SchemaTooNew(KanbanError):
    """The board was written by a newer version of this plugin."""

    def __init__(self, path: object, unknown: list[str]) -> None:
        super().__init__(
            f"board {path} was written by a newer hermes-kanban-plugin (unknown schema steps: {', '.join(unknown)}); "
            "it was left untouched. Upgrade with: pip install -U hermes-kanban-plugin"
        )


class BoardInUse(CallerMistake):
    """Somebody is at work on a board that should be replaced."""

    def __init__(self, slug: str, occupants: list[str]) -> None:
        more = f" and {len(occupants) - 1} more" if len(occupants) > 1 else ""
        super().__init__(
            f"board {slug!r} is in use: {occupants[0]}{more}; nothing was changed. Stop the gateway or dispatcher, let "
            "the workers end, then try again, or add --force to fence them off"
        )


class LaunchFailed(KanbanError):
    """A worker could not be started."""


class SetupRefused(KanbanError):
    """A file cannot be changed by setup without touching what is not ours; no file was changed."""


class MissingPackages(KanbanError):
    """Packages that the plugin needs are not installed beside it; nothing was changed."""


class ServiceFailed(KanbanError):
    """The system's service manager refused, or there is none."""


class WorkspaceFailed(LaunchFailed):
    """A task's workspace could not be prepared."""
