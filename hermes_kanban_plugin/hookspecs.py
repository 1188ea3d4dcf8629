"""Every hook contract, grouped by life phase.

Project name and entry-point group are ``hermes_kanban``. All implementations take their arguments by name and may
leave any out. Each contract says, in this order: what happened or is asked; when and in which process; what the
arguments are; what the answer means, None included; what happens if an implementation raises.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pluggy

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from hermes_kanban_plugin.board import Board
    from hermes_kanban_plugin.diagnosis.facts import BoardFacts
    from hermes_kanban_plugin.diagnosis.finding import Finding
    from hermes_kanban_plugin.dispatch.context import Phase, TickContext
    from hermes_kanban_plugin.dispatch.ownership import Caller, Vote
    from hermes_kanban_plugin.dispatch.reaper import Action, Orphan
    from hermes_kanban_plugin.identity import ProcessIdentity, Verdict
    from hermes_kanban_plugin.models import Event, HeldRun, Task, Workspace
    from hermes_kanban_plugin.runtime import Runtime
    from hermes_kanban_plugin.settings import Settings
    from hermes_kanban_plugin.store.leases import Lease
    from hermes_kanban_plugin.toolkit import Tool

PROJECT = "hermes_kanban"

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


# --- start of a process --------------------------------------------------------------------------------------------


@hookspec
def kanban_configure(settings: Settings) -> None:
    """Settings are valid and in force.

    When: once per process, before anything else; a plugin registered later is still told.
    Arguments: ``settings``, frozen.
    Answer: ignored.
    Raising: reported with the plugin's name; the plugin is unregistered.
    """


@hookspec
def kanban_register_tools(register: Callable[[Tool], None]) -> None:
    """Name the agent tools that this plugin brings.

    When: while the host loads the plugin, in every process that has agent tools.
    Arguments: ``register`` takes one tool and may be called many times; a name that is taken is refused.
    Answer: ignored.
    Raising: reported; the tools registered before stay.
    """


@hookspec
def kanban_gateway_startup(runtime: Runtime) -> None:
    """The boards are going to be served by this process.

    When: once, before the first tick, in the process that dispatches (the dispatcher, for the gateway or alone).
    Arguments: ``runtime`` holds settings, manager, clock and boards.
    Answer: ignored.
    Raising: reported; the start goes on.
    """


@hookspec
def kanban_gateway_shutdown(runtime: Runtime, reason: str) -> None:
    """The boards are not served by this process any more; workers live on under their supervisors.

    When: once, after the last tick, in the process that dispatched; never after SIGKILL, so nothing may depend on it.
    Arguments: ``runtime``; ``reason`` is the signal's name or what ended the loop.
    Answer: ignored.
    Raising: reported; the shutdown goes on.
    """


# --- the tick ------------------------------------------------------------------------------------------------------


@hookspec(firstresult=True)
def kanban_run_phase(context: TickContext, phase: Phase) -> bool | None:
    """Run one phase of a tick. Wrappers belong here (tracing, timing).

    When: once per phase and board, in the dispatching process, under the board's tick lock.
    Arguments: ``context`` is the tick so far; ``phase`` is one of the phases, in their fixed order.
    Answer: True when the phase was run; None leaves it to the next plugin, at last to the built-in one, which tells
    every ``kanban_tick``.
    Raising: the phase is reported as failed; the tick goes on with the next phase.
    """


@hookspec
def kanban_tick(context: TickContext, phase: Phase) -> None:
    """Do this plugin's part of one phase.

    When: inside ``kanban_run_phase``, one plugin at a time.
    Arguments: as there. An implementation returns at once from phases that do not concern it.
    Answer: ignored; what was done is noted on ``context``.
    Raising: reported and counted against the plugin; all others are still called.
    """


@hookspec(firstresult=True)
def kanban_worker_alive(run: HeldRun, process: ProcessIdentity, lock: str) -> Verdict | None:
    """Say whether a process that belongs to a run lives.

    When: for the supervisor and the worker of each run that a sweep looks at, in the dispatching process.
    Arguments: ``run`` as read; ``process`` as recorded; ``lock`` is what its environment should carry.
    Answer: a verdict; None means "not mine, ask the next". The built-in one asks the process table.
    Raising: counts as UNKNOWN.
    """


@hookspec(firstresult=True)
def kanban_orphan_decide(orphan: Orphan, now: int) -> Action | None:
    """Decide what becomes of a run whose owner may be gone.

    When: for each run that a sweep looks at, after the verdicts, in the dispatching process.
    Arguments: ``orphan`` is the run with its verdicts; ``now`` in epoch seconds.
    Answer: an action; None leaves it to the built-in rule.
    Raising: the built-in rule decides.
    """


@hookspec
def kanban_before_dispatch(task: Task, board: Board) -> str | None:
    """Say whether a task must wait although it could start.

    When: before each claim, in the dispatching process.
    Arguments: the task as read, and its board for reading.
    Answer: a reason holds the task out of this tick; None lets it pass. One reason is enough.
    Raising: reported; counts as None.
    """


@hookspec(firstresult=True)
def kanban_spawn_worker(context: TickContext, task: Task, lease: Lease, workspace: Workspace) -> bool | None:
    """Start the worker of a claimed task, under something that accepts the claim and renews it.

    When: after the claim is committed, in the dispatching process.
    Arguments: the tick, the task as it was before the claim, its lease, its workspace.
    Answer: True when it was started; None leaves it to the next plugin, at last to the built-in supervisor.
    Raising: the launch failed; counted as the task's failure.
    """


@hookspec(firstresult=True)
def kanban_terminate_worker(run: HeldRun, grace_seconds: float) -> bool | None:
    """Stop all processes of a run and prove them gone.

    When: before a task with a living worker is taken back, in the process that takes it back, in a thread of its own.
    Arguments: the run; ``grace_seconds`` between asking and killing.
    Answer: True when nothing of it lives; False keeps the lease; None asks the next plugin.
    Raising: counts as False.
    """


# --- questions and news --------------------------------------------------------------------------------------------


@hookspec
def kanban_check_ownership(caller: Caller, task_id: str, action: str, board: Board) -> Vote | None:
    """Vote on whether a caller may change a task.

    When: before each write of an agent tool, in the calling process.
    Arguments: who calls, which task, the tool's name, and the board for reading.
    Answer: ALLOW or DENY with a reason, or None to abstain. Any DENY wins; without an ALLOW nothing is allowed.
    Raising: counts as DENY.
    """


@hookspec
def kanban_task_event(event: Event, board: Board) -> None:
    """Something happened to a task, and it is committed.

    When: after the commit, at least once per event and in order, in the dispatching process.
    Arguments: one row of the history and the board it is from.
    Answer: ignored.
    Raising: reported; the event counts as told.
    """


@hookspec
def kanban_diagnose(facts: BoardFacts) -> Sequence[Finding] | None:
    """Say what is wrong on a board.

    When: when somebody asks (``diagnostics``, ``doctor``), in the asking process.
    Arguments: ``facts`` of one moment, frozen; nothing is to be looked up or changed.
    Answer: findings of kinds that this plugin names, or None; all plugins' findings are shown together.
    Raising: reported; the others' findings are shown.
    """


@hookspec
def kanban_migrations() -> Sequence[Any] | None:
    """Name the migration sets for this plugin's own tables (sqlite-utils ``Migrations``).

    When: when a board is first opened for changes in a process.
    Arguments: none.
    Answer: a list of sets; each brings its own name and table prefix.
    Raising: reported; the plugin's tables are not made.
    """
