"""The location rules, compared with the real host's answers over many environments and layouts."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from hermes_kanban_plugin import locations
from hermes_kanban_plugin.errors import InvalidArgument, UnknownBoard

# What stands on the disk: folders of boards (with what makes them one), and the pointer file.
LAYOUT = {
    "native": [".hermes/kanban.db", ".hermes/kanban/boards/alpha/kanban.db", ".hermes/kanban/boards/ghost/notes.txt"],
    "custom": ["data/kanban.db", "data/kanban/boards/alpha/board.json", "data/kanban/boards/beta/kanban.db"],
}
POINTERS = {None: None, "alpha": b"alpha\n", "shouting": b"  BETA \n\n", "ghost": b"ghost\n", "bad": b"../alpha\n"}

# Variables; {base} is the folder that the layout stands in.
ENVIRONMENTS: list[dict[str, str]] = [
    {},
    {"HERMES_HOME": ""},
    {"HERMES_HOME": "{base}/.hermes"},
    {"HERMES_HOME": "{base}/.hermes/profiles/coder"},
    {"HERMES_HOME": "{base}/.hermes/deep/down/there"},
    {"HERMES_HOME": "{base}/data"},
    {"HERMES_HOME": "{base}/data/"},
    {"HERMES_HOME": "{base}/data/profiles/coder"},
    {"HERMES_HOME": "{base}/data/profiles"},
    {"HERMES_HOME": "{base}/nowhere"},
    {"HERMES_HOME": "{base}/link"},
    {"HERMES_KANBAN_HOME": "{base}/data"},
    {"HERMES_KANBAN_HOME": "  {base}/data  "},
    {"HERMES_KANBAN_HOME": "~/data"},
    {"HERMES_KANBAN_HOME": "   ", "HERMES_HOME": "{base}/data"},
    {"HERMES_KANBAN_HOME": "{base}/data", "HERMES_HOME": "{base}/.hermes"},
    {"HERMES_KANBAN_HOME": "{base}/data", "HERMES_KANBAN_BOARD": "alpha"},
    {"HERMES_KANBAN_HOME": "{base}/data", "HERMES_KANBAN_BOARD": " Beta "},
    {"HERMES_KANBAN_HOME": "{base}/data", "HERMES_KANBAN_BOARD": "nosuch"},
    {"HERMES_KANBAN_HOME": "{base}/data", "HERMES_KANBAN_BOARD": "../beta"},
    {"HERMES_KANBAN_HOME": "{base}/data", "HERMES_KANBAN_BOARD": "default"},
    {"HERMES_KANBAN_HOME": "{base}/data", "HERMES_KANBAN_BOARD": ""},
    {"HERMES_KANBAN_DB": "{base}/else.db"},
    {"HERMES_KANBAN_DB": "~/else.db", "HERMES_KANBAN_HOME": "{base}/data", "HERMES_KANBAN_BOARD": "beta"},
    {"HERMES_KANBAN_DB": " ", "HERMES_HOME": "{base}/data"},
    {"HERMES_KANBAN_WORKSPACES_ROOT": "{base}/work", "HERMES_HOME": "{base}/data"},
    {"HERMES_KANBAN_WORKSPACES_ROOT": "~/work", "HERMES_KANBAN_ATTACHMENTS_ROOT": " {base}/kept "},
    {"HERMES_KANBAN_ATTACHMENTS_ROOT": "", "HERMES_HOME": "{base}/data"},
    {"HERMES_HOME": "relative/home"},
    {"HERMES_KANBAN_HOME": "relative/kanban", "HERMES_KANBAN_DB": "relative.db"},
]
BOARDS = [None, "default", "alpha", "beta", "nosuch", "ALPHA"]

# Runs in a process of the host: its own answers, for every case.
ASK_HOST = """
import json, os, sys
from hermes_cli import kanban_db as kb
answers = []
for environment, boards in json.load(sys.stdin):
    for name in [name for name in os.environ if name.startswith("HERMES_")]:
        del os.environ[name]
    os.environ.update(environment)
    answers.append([str(kb.kanban_home()), kb.get_current_board()])
    for board in boards:
        answers[-1].append([str(ask(board)) for ask in (
            kb.kanban_db_path, kb.workspaces_root, kb.attachments_root, kb.worker_logs_dir, kb.board_metadata_path)])
print(json.dumps(answers))
"""


def ask_us(monkeypatch: pytest.MonkeyPatch, environment: dict[str, str]) -> list[object]:
    for name in [name for name in os.environ if name.startswith("HERMES_")]:
        monkeypatch.delenv(name)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    answer: list[object] = [str(locations.kanban_root()), locations.current_board(locations.kanban_root())]
    for board in BOARDS:
        at = locations.locate(board)
        answer.append([str(path) for path in (at.database, at.workspaces, at.attachments, at.logs, at.metadata)])
    return answer


def absolute(answer: list[object], base: Path) -> list[object]:
    """The host's relative paths depend on where it stands; ours say so."""
    root, current, *boards = answer
    # board.json of the unnamed board: the host answers for the default one, ours for the current one.
    return [str(base / str(root)), current, *[[str(base / path) for path in paths] for paths in boards]]


def lay_out(base: Path) -> None:
    for name in [name for names in LAYOUT.values() for name in names]:
        path = base / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("{}")
    (base / "link").symlink_to(base / ".hermes")


@pytest.mark.host
@pytest.mark.parametrize("pointer", list(POINTERS))
def test_the_host_finds_everything_in_the_same_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pointer: str | None
) -> None:
    lay_out(tmp_path)
    content = POINTERS[pointer]
    if content is not None:
        (tmp_path / ".hermes/kanban/current").write_bytes(content)
        (tmp_path / "data/kanban/current").write_bytes(content)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    cases = [{name: value.format(base=tmp_path) for name, value in given.items()} for given in ENVIRONMENTS]
    told = subprocess.run(
        [sys.executable, "-c", ASK_HOST],
        input=json.dumps([[case, BOARDS] for case in cases]),
        capture_output=True,
        text=True,
        check=True,
        env={"HOME": str(tmp_path), "PATH": os.environ["PATH"]},
    )
    answers = json.loads(told.stdout)
    assert len(answers) == len(ENVIRONMENTS)
    for given, case, answer in zip(ENVIRONMENTS, cases, answers, strict=True):
        theirs, ours = absolute(answer, tmp_path), ask_us(monkeypatch, case)
        unnamed = BOARDS.index(None) + 2
        theirs[unnamed][4] = ours[unnamed][4]  # type: ignore[index]
        assert ours == theirs, f"with {given} and pointer {pointer!r}"


def test_a_pointer_that_is_not_text_is_passed_over(home: Path) -> None:
    (home / "kanban").mkdir()
    (home / "kanban/current").write_bytes(b"\xff\xfe\x00a")
    assert locations.current_board(home) == "default"
    (home / "kanban/current").unlink()
    (home / "kanban/current").mkdir()
    assert locations.current_board(home) == "default"


@pytest.mark.parametrize("name", ["", None, "A", "x" * 64, "0-_", " Ab "])
def test_names_that_can_be_boards(home: Path, name: str | None) -> None:
    assert locations.locate(name).slug == ((name or "").strip().lower() or "default")


@pytest.mark.parametrize("name", ["x" * 65, "-a", "_a", "a b", "a/b", "../a", "a.b", "é", "a\nb", "  "])
def test_names_that_cannot(home: Path, name: str) -> None:
    with pytest.raises(InvalidArgument, match="cannot be a board's name"):
        locations.locate(name)


def test_a_board_that_was_never_made_is_refused_with_the_remedy(home: Path) -> None:
    with pytest.raises(UnknownBoard, match="hermes-kanban --board alpha init"):
        locations.locate_existing("alpha")


@pytest.mark.parametrize("name", ["HERMES_KANBAN_DB", "HERMES_KANBAN_HOME", "HERMES_KANBAN_WORKSPACES_ROOT"])
def test_a_home_of_nobody_is_a_refusal(home: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "~nobody-has-this-name/board.db")
    with pytest.raises(InvalidArgument, match=name):
        locations.locate()


class TestServing:
    def make(self, home: Path, slug: str, metadata: str | None = None) -> None:
        folder = home / "kanban/boards" / slug
        folder.mkdir(parents=True)
        (folder / "kanban.db").touch()
        if metadata is not None:
            (folder / "board.json").write_text(metadata)

    def test_default_first_then_by_name(self, home: Path) -> None:
        (home / "kanban.db").touch()
        for slug in ("zeta", "alpha"):
            self.make(home, slug)
        assert [board.slug for board in locations.serving_boards(home)] == ["default", "alpha", "zeta"]

    def test_archived_and_unmade_ones_and_strange_folders_are_left_out(self, home: Path) -> None:
        self.make(home, "old", '{"archived": true}')
        self.make(home, "kept", '{"archived": false}')
        self.make(home, "broken", "{not json")
        self.make(home, "odd", '["archived"]')
        self.make(home, "_archived")
        (home / "kanban/boards/empty").mkdir()
        (home / "kanban/boards/file").touch()
        assert [board.slug for board in locations.serving_boards(home)] == ["broken", "kept", "odd"]

    def test_no_home_serves_nothing(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("HERMES_HOME", str(tmp_path / "nowhere"))
        assert locations.serving_boards(tmp_path / "nowhere") == []

    def test_one_file_under_many_names_is_served_once(self, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (home / "kanban.db").touch()
        self.make(home, "alpha")
        monkeypatch.setenv("HERMES_KANBAN_DB", str(home / "kanban.db"))
        assert [board.slug for board in locations.serving_boards(home)] == ["default"]


def test_lock_files_stand_where_the_host_has_them(home: Path) -> None:
    assert locations.dispatcher_lock(home) == home / "kanban/.dispatcher.lock"
    assert locations.tick_lock(home / "kanban.db") == home / "kanban.db.dispatch.lock"
