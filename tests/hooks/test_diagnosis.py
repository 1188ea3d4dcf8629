"""Findings of plugins stand beside the built-in ones; one that raises or answers nonsense hides nobody's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hermes_kanban_plugin.diagnosis import surroundings
from hermes_kanban_plugin.diagnosis.finding import Finding, Level

if TYPE_CHECKING:
    from tests.hooks.conftest import Service


def test_kanban_diagnose(service: Service) -> None:
    task_id = service.create(assignee="ghost")
    seen: list[Any] = []

    def look(facts: Any) -> list[Finding]:
        seen.append(facts)
        late = [case.task.id for case in facts.cases if case.assignee == "ghost"]
        return [Finding(kind="haunted", level=Level.CRITICAL, sentence=f"{late[0]} is haunted", task_id=late[0])]

    def fall_over() -> None:
        raise ValueError("no idea")

    service.plug("exorcist", kanban_diagnose=look)
    service.plug("broken", kanban_diagnose=fall_over)
    service.plug("chatty", kanban_diagnose=lambda: "all is well")
    facts = surroundings.look(service.runtime, service.board)
    found = surroundings.diagnose(service.runtime, facts)
    assert [one.kind for one in found if one.task_id == task_id] == ["haunted", "assignee_profile_not_found"]
    assert found[0].level is Level.CRITICAL
    assert seen == [facts]
    failures = {failure.plugin: failure.error for failure in service.manager.take_failures()}
    assert failures["broken"] == "ValueError: no idea"
    assert "not a list of findings" in failures["(asked)"]


def test_a_plugin_that_holds_is_asked_as_the_dispatcher_asks_it(service: Service) -> None:
    service.plug("lane", kanban_spawn_worker=lambda: True)
    task_id = service.create(assignee="coder")
    (service.home / "profiles" / "coder").mkdir(parents=True)
    service.plug("calendar", kanban_before_dispatch=lambda task: "closed on Sundays")
    facts = surroundings.look(service.runtime, service.board, task_id)
    assert [case.held_by for case in facts.cases] == ["calendar: closed on Sundays"]
    (skipped,) = service.tick().skipped
    assert skipped.reason == "held by calendar: closed on Sundays"


def test_looking_writes_nothing(service: Service) -> None:
    service.create()
    before = service.board.data_version()
    surroundings.look(service.runtime, service.board)
    assert service.board.data_version() == before
