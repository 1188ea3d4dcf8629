"""The answer to "why does this task not run": one reason, and the one event that comes next."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Any

from hermes_kanban_plugin.diagnosis.finding import Level
from hermes_kanban_plugin.models import Frozen

if TYPE_CHECKING:
    from hermes_kanban_plugin.diagnosis.facts import Case


class By(StrEnum):
    """Who or what makes the next event happen; every unfinished task has one (DESIGN.md section 1, promise 4)."""

    TICK = "tick"
    TIMER = "timer"
    PARENT = "parent"
    PERSON = "person"
    WORKER = "worker"
    NOTHING = "nothing"


class NextEvent(Frozen):
    """What happens next: by whom, when at the earliest (epoch seconds, for a timer), and what a person would type."""

    by: By
    sentence: str
    at: int | None = None
    command: str | None = None


class Answer(Frozen):
    """Why a task is not running now (or that it is), and what happens next.

    ``code`` names the reason, ``reason`` says it, ``level`` is how bad it is when it lasts.
    """

    task_id: str
    status: str
    code: str
    reason: str
    next: NextEvent
    level: Level = Level.INFO
    evidence: dict[str, Any] = {}


def answer(
    case: Case,
    code: str,
    reason: str,
    next_event: NextEvent,
    level: Level = Level.INFO,
    **evidence: Any,
) -> Answer:
    """Return the answer for a case."""
    return Answer(
        task_id=case.task.id,
        status=case.task.status,
        code=code,
        reason=reason,
        next=next_event,
        level=level,
        evidence=evidence,
    )


def by_tick(sentence: str) -> NextEvent:
    """Say that the dispatcher does it at its next tick."""
    return NextEvent(by=By.TICK, sentence=sentence)


def by_timer(sentence: str, at: int) -> NextEvent:
    """Say that it happens when a time has come, epoch seconds."""
    return NextEvent(by=By.TIMER, sentence=sentence, at=at)


def by_person(sentence: str, command: str | None) -> NextEvent:
    """Say that a person has to do something, and with which command."""
    return NextEvent(by=By.PERSON, sentence=sentence, command=command)
