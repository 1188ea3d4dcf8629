"""One broken plugin never stops the others: told one by one, reported by name, given up when it fails too often."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pluggy
import pytest

from hermes_kanban_plugin import hookimpl, toolkit
from hermes_kanban_plugin.dispatch.context import Phase
from hermes_kanban_plugin.dispatch.ownership import ALLOW, Caller, Vote
from hermes_kanban_plugin.errors import NotTheOwner
from hermes_kanban_plugin.manager import BUILT_IN, MAX_FAILURES, Manager
from hermes_kanban_plugin.testing import HookRecorder

if TYPE_CHECKING:
    from tests.hooks.conftest import Service

PERSON = Caller("", "", "", "ann", 1)


def fall_over() -> None:
    raise RuntimeError("fell over")


def test_broken_plugin_stops_neither_the_tick_nor_its_neighbours(service: Service) -> None:
    before, after = HookRecorder(), HookRecorder()
    service.manager.register(before, "before")
    service.plug("broken", kanban_tick=fall_over, kanban_before_dispatch=fall_over, kanban_task_event=fall_over)
    service.manager.register(after, "after")
    service.plug("starter", kanban_spawn_worker=lambda: True)
    service.tick()
    task_id = service.create()
    report = service.tick()
    assert [started.task_id for started in report.started] == [task_id], "a raised hold is no hold"
    for neighbour in (before, after):
        assert neighbour.phases == [("default", str(phase)) for phase in Phase] * 2
        assert [event.kind for event in neighbour.events] == ["created", "claimed"]


def test_broken_plugin_is_named_in_the_report(service: Service) -> None:
    service.plug("broken", kanban_tick=fall_over)
    failures = service.tick().plugin_failures
    assert [(one.plugin, one.hook, one.error) for one in failures] == [
        ("broken", "kanban_tick", "RuntimeError: fell over")
    ] * len(Phase)
    assert service.tick().plugin_failures == failures, "each report has its own"


def test_plugin_that_fails_too_often_is_not_called_again(service: Service) -> None:
    calls: list[Phase] = []

    def count(phase: Phase) -> None:
        calls.append(phase)
        raise RuntimeError("again")

    service.plug("broken", kanban_tick=count)
    for _ in range(MAX_FAILURES):
        service.tick()
    assert len(calls) == MAX_FAILURES
    assert service.tick().plugin_failures == []


def test_built_in_plugin_is_never_given_up(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """What fails in it is a disk or a lock that comes back; without it nothing would ever be started again."""
    from hermes_kanban_plugin.hooks import dispatcher_tick

    service.plug("starter", kanban_spawn_worker=lambda: True)
    with monkeypatch.context() as patch:
        patch.setattr(dispatcher_tick, "dispatch", lambda context: fall_over())
        for _ in range(MAX_FAILURES + 1):
            failures = service.tick().plugin_failures
            assert [failure.plugin for failure in failures] == ["dispatcher_tick"]
    task_id = service.create()
    assert [started.task_id for started in service.tick().started] == [task_id]


def test_names_of_the_plugins_that_are_never_given_up_are_the_built_in_ones(service: Service) -> None:
    assert service.manager.names() == [dotted.rpartition(".")[2] for dotted in BUILT_IN]


def test_phase_whose_wrapper_breaks_is_reported_and_the_next_one_runs(service: Service) -> None:
    class Tracer:
        @hookimpl(wrapper=True)
        def kanban_run_phase(self, phase: Phase) -> Any:
            if phase is Phase.VERIFY:
                raise RuntimeError("no tracer")
            return (yield)

    recorder = HookRecorder()
    service.manager.register(recorder, "recorder")
    service.manager.register(Tracer(), "tracer")
    (failure,) = service.tick().plugin_failures
    assert (failure.hook, failure.error) == ("kanban_run_phase(verify)", "RuntimeError: no tracer")
    assert [phase for _, phase in recorder.phases] == [str(phase) for phase in Phase if phase is not Phase.VERIFY]


def test_wrapper_around_a_phase_sees_it_begin_and_end(service: Service) -> None:
    seen: list[str] = []

    class Tracer:
        @hookimpl(wrapper=True)
        def kanban_run_phase(self, phase: Phase) -> Any:
            seen.append(f"begin {phase}")
            answer = yield
            seen.append(f"end {phase} {answer}")
            return answer

    service.manager.register(Tracer(), "tracer")
    service.plug("ticker", kanban_tick=lambda phase: seen.append(f"tick {phase}"))
    service.tick()
    assert seen[:3] == ["begin reap", "tick reap", "end reap True"]
    assert len(seen) == 3 * len(Phase)


@pytest.mark.parametrize("kind", ["wrapper", "hookwrapper"])
def test_wrapper_around_a_told_hook_is_refused(service: Service, kind: str) -> None:
    class Wrapper:
        @hookimpl(**{kind: True})
        def kanban_tick(self) -> Any:
            yield

        @hookimpl
        def kanban_task_event(self) -> None:
            pytest.fail("nothing of a refused plugin may be called")

    with pytest.raises(ValueError, match="wraps kanban_tick, which is called plugin by plugin"):
        service.manager.register(Wrapper(), "wrapper")
    assert "wrapper" not in service.manager.names()
    service.plug("starter", kanban_spawn_worker=lambda: True)
    service.tick()
    service.create()
    assert service.tick().plugin_failures == []


def test_unknown_hook_is_refused_at_once(service: Service) -> None:
    with pytest.raises(pluggy.PluginValidationError, match="kanban_tock"):
        service.plug("typo", kanban_tock=lambda: None, kanban_tick=fall_over)
    assert "typo" not in service.manager.names()
    assert service.tick().plugin_failures == []


def test_unknown_argument_is_refused_at_once_and_nothing_of_the_plugin_stays(service: Service) -> None:
    with pytest.raises(pluggy.PluginValidationError, match="moon"):
        service.plug("typo", kanban_run_phase=fall_over, kanban_tick=lambda moon: None)
    assert "typo" not in service.manager.names()
    assert service.tick().plugin_failures == []


def test_same_name_twice_is_refused_and_the_first_one_stays(service: Service) -> None:
    told: list[Any] = []
    service.plug("mine", kanban_tick=lambda phase: told.append(phase))
    with pytest.raises(ValueError, match="mine"):
        service.plug("mine", kanban_tick=fall_over)
    assert service.tick().plugin_failures == []
    assert told == list(Phase)


def test_blocked_by_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HERMES_KANBAN_BLOCK_PLUGINS", "weather, ,orphan_scan")
    manager = Manager(["other"], discover=False)
    assert "orphan_scan" not in manager.names()
    for name in ("weather", "other"):
        with pytest.raises(ValueError, match="HERMES_KANBAN_BLOCK_PLUGINS and block_plugins"):
            manager.register(HookRecorder(), name)
    assert manager.register(HookRecorder(), "third") == "third"


# --- ownership: the one place where silence and errors must not open a door ----------------------------------------


def heartbeat(service: Service) -> str:
    """Call a tool as a person; returns its refusal, which is about the state when every voice agreed."""
    tool = toolkit.tools_of(service.manager)["kanban_heartbeat"]
    with pytest.raises(Exception, match=r".") as caught:
        toolkit.perform(tool, service.manager, {"task_id": service.create()}, PERSON)
    return f"{type(caught.value).__name__}: {caught.value}"


def test_one_denial_wins_over_every_consent(service: Service) -> None:
    service.plug("friend", kanban_check_ownership=lambda: ALLOW)
    assert heartbeat(service).startswith("WrongState")
    service.plug("guard", kanban_check_ownership=lambda: Vote(False))
    service.plug("late friend", kanban_check_ownership=lambda: ALLOW)
    assert heartbeat(service) == "NotTheOwner: kanban_heartbeat was refused by plugin guard"


def test_error_is_a_denial(service: Service) -> None:
    service.plug("guard", kanban_check_ownership=fall_over)
    assert "the ownership check of plugin guard failed: fell over" in heartbeat(service)


def test_guard_that_fails_for_ever_still_denies(service: Service) -> None:
    """Giving it up, as other hooks do, would open the door after some failures."""
    service.plug("guard", kanban_check_ownership=fall_over, kanban_tick=fall_over)
    for _ in range(MAX_FAILURES):
        service.tick()
    for _ in range(2):
        assert heartbeat(service).startswith("NotTheOwner")


def test_consent_of_a_friend_does_not_replace_the_built_in_denial(service: Service) -> None:
    service.plug("friend", kanban_check_ownership=lambda: ALLOW)
    tool = toolkit.tools_of(service.manager)["kanban_heartbeat"]
    foreigner = Caller("t_11111111", "1", "host:1:n", "coder", 1)
    with pytest.raises(NotTheOwner, match="scoped to task t_11111111"):
        toolkit.perform(tool, service.manager, {"task_id": service.create()}, foreigner)


def test_vote_that_is_none_of_ours_opens_nothing(service: Service) -> None:
    service.plug("confused", kanban_check_ownership=lambda: "yes")
    assert not heartbeat(service).startswith("WrongState")
