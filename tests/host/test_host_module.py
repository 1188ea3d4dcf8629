"""What hermes_kanban_plugin.host says about the host is what the real host says about itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.host.conftest import Actor, House

pytestmark = [pytest.mark.host, pytest.mark.xdist_group("host module")]

PREAMBLE = """
import os, tools.kanban_tools as their_tools
from hermes_cli import kanban_db as kb, plugins, profiles
from hermes_kanban_plugin import host
from hermes_kanban_plugin.host import worker_toolsets
heard = []
plugins.get_plugin_manager()._hooks.setdefault("kanban_task_completed", []).append(lambda **told: heard.append(told))
def judged(*verdict):  # what the host's judge answers comes from a model; everything around it is real
    their_tools._goal_judge_available = lambda: True
    their_tools.judge_goal = lambda *, goal, last_response: verdict
    return host.judge_goal("paint it", "painted").objection
"""

XTOOL = """
def register(ctx):
    ctx.register_tool(name="x", toolset="xtools", schema={"name": "x", "description": "x", "parameters": {}},
                      handler=lambda args, **more: "x")
"""


@pytest.fixture(scope="module")
def process(shared_house: House) -> Actor:
    profile = shared_house.home / "profiles" / "painter"
    profile.mkdir(parents=True)
    (profile / "config.yaml").write_text("platform_toolsets: {cli: [file, web]}\n", encoding="utf-8")
    return shared_house.host(PREAMBLE)


def test_worker_command_is_the_hosts(process: Actor) -> None:
    assert process.ask("host.command() == kb._resolve_hermes_argv()") is True
    for wish in ("/opt/some/hermes", "python3", "no-such-program"):
        process.ask(f"os.environ['HERMES_BIN'] = {wish!r}")
        ours, theirs = process.ask("[host.command(), kb._resolve_hermes_argv()]")
        process.ask("del os.environ['HERMES_BIN']")
        assert ours == theirs


def test_toolsets_of_a_profile_are_the_hosts(process: Actor, shared_house: House) -> None:
    """A gateway has loaded the root's plugins before it starts a worker, and no other profile's after it."""
    with_plugin = shared_house.home / "profiles" / "writer"
    for home in (shared_house.home, with_plugin):
        folder = home / "plugins" / "xtool"
        folder.mkdir(parents=True)
        (folder / "plugin.yaml").write_text("name: xtool\nversion: 1\nprovides_tools: [x]\n", encoding="utf-8")
        (folder / "__init__.py").write_text(XTOOL, encoding="utf-8")
        (home / "config.yaml").write_text("plugins: {enabled: [xtool]}\n", encoding="utf-8")
    gateway = shared_house.host("from hermes_cli import kanban_db as kb, plugins\nplugins.discover_plugins()")
    asked = {}
    for name in ("painter", "writer"):
        home = str(shared_house.home / "profiles" / name)
        asked[name], theirs = (
            process.ask(f"worker_toolsets.of_profile({name!r})"),
            gateway.ask(f"kb._resolve_worker_cli_toolsets({home!r})"),
        )
        assert asked[name] == theirs, name
    assert set(asked["painter"]) >= {"file", "web"}
    assert "xtools" in asked["writer"]
    assert process.ask("worker_toolsets.of_profile('default')") != asked["painter"]
    assert process.ask("worker_toolsets.of_profile('nobody')") == []
    assert process.ask("'xtool' in plugins.get_plugin_manager()._plugins") is False, "its code did not run here"


def test_gate_is_the_hosts(process: Actor) -> None:
    both = "[host.kanban_tool_gate(), their_tools._check_kanban_mode()]"
    assert process.ask(both) == [False, False]
    process.ask("os.environ['HERMES_KANBAN_TASK'] = 't_00000000'")
    assert process.ask(both) == [True, True]
    process.ask("del os.environ['HERMES_KANBAN_TASK']")


def test_secrets_are_gone_by_the_hosts_rules_too(process: Actor) -> None:
    text = "key sk-proj-abcdefghijklmnopqrstuvwxyz0123456789ABCD end"
    ours = process.ask(f"host.redact({text!r})")
    assert "abcdefghijklmnopqrstuvwxyz0123456789ABCD" not in ours
    assert ours.startswith("key ")
    assert ours.endswith(" end")


def test_lifecycle_hook_reaches_the_hosts_plugins(process: Actor) -> None:
    process.ask("heard.clear()")
    process.ask("host.fire_lifecycle_hook('kanban_task_completed', task_id='t_1', board='default', summary='made')")
    (told,) = process.ask("heard")
    assert {name: told[name] for name in ("task_id", "board", "summary", "profile_name")} == {
        "task_id": "t_1",
        "board": "default",
        "summary": "made",
        "profile_name": process.ask("profiles.get_active_profile_name()"),
    }


@pytest.mark.parametrize(
    ("verdict", "objection"),
    [
        (("done", "good", False, None, False), None),
        (("continue", "one wall is missing", False, None, False), "one wall is missing"),
        (("wait", "paint dries", False, {"seconds": 5}, False), "paint dries"),
        # The judge was not reached: the host rejects finished work for ever then.
        (("continue", "auth 401", False, None, True), None),
        (("skipped", "no judge", False, None, False), None),
    ],
)
def test_only_a_judge_that_answered_can_object(process: Actor, verdict: tuple[object, ...], objection: str) -> None:
    assert process.ask(f"judged(*{verdict!r})") == objection


def test_judge_is_asked_as_the_host_asks(process: Actor) -> None:
    process.ask("import inspect; from hermes_cli.goals import judge_goal")
    process.ask("inspect.signature(judge_goal).bind(goal='paint it', last_response='painted')")
    assert process.ask("judge_goal(goal='', last_response='painted')") == ["skipped", "empty goal", False, None, False]
