from __future__ import annotations

import importlib.metadata
from collections.abc import Iterator
from pathlib import Path

import pytest

from hermes_kanban_plugin import host, lanes
from hermes_kanban_plugin.models import Task, Workspace
from hermes_kanban_plugin.settings import LaneSettings, PluginSettings
from hermes_kanban_plugin.store.leases import Lease

TASK = Task(id="t_1", title="count", status="ready", created_at=1, assignee="counter", body="all words")
LEASE = Lease("t_1", 12, "host:1:n-t_1")


def settings_with(*command: str, name: str = "counter") -> PluginSettings:
    return PluginSettings(lanes={name: LaneSettings(command=command)})


def argv_of(task: Task, workspace: Path, *command: str) -> list[str]:
    return lanes.launch_of(task, LEASE, Workspace(path=workspace), settings_with(*command)).argv


def test_who_can_be_started(home: Path) -> None:
    (home / "profiles/coder").mkdir(parents=True)
    (home / "profiles/file").touch()
    settings = settings_with("true")
    assert lanes.lane_of("counter", settings) == "command"
    assert lanes.lane_of("coder", settings) == "hermes"
    assert lanes.lane_of("default", settings) == "hermes"
    assert lanes.lane_of("nobody", settings) is None
    assert lanes.lane_of("file", settings) is None


def test_a_lane_wins_over_a_profile_of_the_same_name(home: Path) -> None:
    (home / "profiles/coder").mkdir(parents=True)
    assert lanes.lane_of("coder", settings_with("true", name="coder")) == "command"


def test_placeholders(tmp_path: Path) -> None:
    command = (
        "do",
        "{task_id}",
        "run={run_id}",
        "{title}: {body}",
        "in {workspace}",
        "{unknown}",
        "{}",
        "{title}{title}",
    )
    filled = ["do", "t_1", "run=12", "count: all words", f"in {tmp_path}", "{unknown}", "{}", "countcount"]
    assert argv_of(TASK, tmp_path, *command) == filled


def test_an_empty_body_fills_nothing(tmp_path: Path) -> None:
    assert argv_of(TASK.model_copy(update={"body": None}), tmp_path, "x", "[{body}]") == ["x", "[]"]


@pytest.mark.parametrize(
    "title",
    [
        "{body}",
        "{workspace}/../x",
        "$(reboot)",
        "; rm -rf /",
        "a b  c",
        "--flag",
        "line\nbreak",
        r"\1 \g<0>",
        "{task_id",
    ],
)
def test_a_title_is_one_argument_and_is_not_filled_again(tmp_path: Path, title: str) -> None:
    task = TASK.model_copy(update={"title": title})
    assert argv_of(task, tmp_path, "say", "{title}", "end") == ["say", title, "end"]


def test_a_command_lane_completes_by_its_exit_status_and_has_no_home(tmp_path: Path) -> None:
    launch = lanes.launch_of(TASK, LEASE, Workspace(path=tmp_path), settings_with("true"))
    assert (launch.home, launch.completes) == (None, True)


class TestHermes:
    @pytest.fixture(autouse=True)
    def profile(self, home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        monkeypatch.setenv("HERMES_BIN", "/opt/hermes")
        folder = home / "profiles/coder"
        folder.mkdir(parents=True)
        return folder

    def arguments(self, **fields: object) -> list[str]:
        """The argument vector without the toolsets, which the host's configuration decides."""
        task = TASK.model_copy(update={"assignee": "coder", **fields})
        argv = lanes.hermes_arguments(task, "coder")
        if "--toolsets" in argv:
            at = argv.index("--toolsets")
            del argv[at : at + 2]
        return argv

    START = ("/opt/hermes", "-p", "coder", "--cli", "--accept-hooks")
    END = ("chat", "-q", "work kanban task t_1")

    def test_plain(self) -> None:
        assert self.arguments() == [*self.START, *self.END]

    def test_a_goal_is_worked_on_quietly(self) -> None:
        assert self.arguments(goal_mode=True) == [*self.START, *self.END, "-Q"]

    def test_model_and_skills(self) -> None:
        more = ["--skills", "one", "--skills", "two", "-m", "vendor/model"]
        assert self.arguments(skills=["one", "", "two"], model_override="vendor/model") == [
            *self.START,
            *more,
            *self.END,
        ]

    def test_a_review_has_the_review_skill_instead_of_its_own(self) -> None:
        assert self.arguments(status="review", skills=["one"]) == [
            *self.START,
            "--skills",
            lanes.REVIEW_SKILL,
            *self.END,
        ]

    @pytest.mark.parametrize("skills", [None, "one", {"a": 1}, []])
    def test_skills_that_are_no_list_are_none(self, skills: object) -> None:
        assert self.arguments(skills=skills) == [*self.START, *self.END]

    def test_toolsets_follow_the_flag_as_one_argument(self) -> None:
        argv = lanes.hermes_arguments(TASK, "coder")
        at = argv.index("--toolsets")
        assert argv[at + 1]
        assert argv[at + 2 :] == list(self.END)

    def test_the_worker_says_itself_that_it_is_done(self, profile: Path, tmp_path: Path) -> None:
        task = TASK.model_copy(update={"assignee": "coder"})
        launch = lanes.launch_of(task, LEASE, Workspace(path=tmp_path), PluginSettings())
        assert (launch.home, launch.completes) == (str(profile), False)


@pytest.fixture
def fresh_answer() -> Iterator[None]:
    host.knows_plain_flag.cache_clear()
    yield
    host.knows_plain_flag.cache_clear()


@pytest.mark.parametrize(
    ("version", "plain"), [("0.13.0", False), ("0.15.2", False), ("0.16.0", True), ("1.0", True), ("strange", True)]
)
@pytest.mark.usefixtures("fresh_answer")
def test_only_hosts_that_know_the_plain_flag_get_it(monkeypatch: pytest.MonkeyPatch, version: str, plain: bool) -> None:
    monkeypatch.setattr(importlib.metadata, "version", lambda _: version)
    assert ("--cli" in lanes.hermes_arguments(TASK, "coder")) is plain


@pytest.mark.usefixtures("fresh_answer")
def test_a_host_elsewhere_is_taken_for_a_new_one(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", missing)
    assert "--cli" in lanes.hermes_arguments(TASK, "coder")
