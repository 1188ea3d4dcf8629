"""What setup changes in the homes and takes back again: everything or nothing, and nothing that is not ours."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from hermes_kanban_plugin.errors import InvalidArgument, SetupRefused
from hermes_kanban_plugin.installation import enabling, files, plan, start_file
from hermes_kanban_plugin.installation.start_file import Environment

MINE = "# mine\nmodel: {default: m}   # keep\nplugins:\n  enabled: [other]\n  disabled: [hermes-kanban]\n"
needs_rights = pytest.mark.skipif(os.geteuid() == 0, reason="root may write everything")


def is_complete(path: Path) -> bool:
    return enabling.read(path.read_bytes().decode()).complete


# --- setting up ----------------------------------------------------------------------------------------------------


def test_every_home_is_enabled_and_one_without_settings_gets_some(place) -> None:
    root, one, two = place.write(MINE), place.write("a: 1\n", "one"), place.profile("two")
    done = place.setup()
    assert [line.split(": ")[0] for line in done[:3]] == [
        "root/config.yaml", "root/profiles/one/config.yaml", "root/profiles/two/config.yaml",
    ]  # fmt: skip
    assert done[0].endswith("enable hermes-kanban, take it from the disabled ones, allow it to replace tools")
    assert all(is_complete(path) for path in (root, one, two))
    assert root.read_text().startswith("# mine\nmodel: {default: m}   # keep\n")
    assert two.stat().st_mode & 0o777 == 0o600


def test_what_no_profile_can_be_is_left_alone(place) -> None:
    place.write("a: 1\n")
    for name in ("default", "No Profile", ".hidden"):
        place.write("a: 1\n", name)
    (place.root / "profiles" / "a-file").write_text("x")
    place.setup()
    assert place.write("a: 1\n", "default").read_text() == "a: 1\n"
    assert [path.name for path in (place.root / "profiles").rglob("config.yaml") if is_complete(path)] == []


def test_setup_is_done_once(place) -> None:
    place.write(MINE)
    assert len(place.setup()) == 4
    before = place.files()
    assert place.plan().changes == []
    assert place.setup() == []
    assert place.files() == before


def test_planning_changes_nothing(place) -> None:
    place.write(MINE)
    place.profile("one")
    before = place.files()
    assert len(place.plan().changes) == 6
    assert place.files() == before


def test_only_some_profiles(place) -> None:
    root, one, two = place.write(MINE), place.write("a: 1\n", "one"), place.write("a: 1\n", "two")
    place.setup("two", "two")
    assert is_complete(two)
    assert (root.read_text(), one.read_text()) == (MINE, "a: 1\n")
    assert [line for line in place.setup("default") if "config.yaml" in line] != []
    assert is_complete(root)
    assert not is_complete(one)
    with pytest.raises(InvalidArgument, match=r"no profile 'nosuch'.*default, one, two"):
        place.plan("one", "nosuch")


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o664])
def test_a_file_keeps_its_mode(place, mode: int) -> None:
    place.write(MINE).chmod(mode)
    place.setup()
    assert place.config.stat().st_mode & 0o777 == mode
    place.undo()
    assert place.config.stat().st_mode & 0o777 == mode


def test_a_linked_file_is_written_behind_its_link(place, tmp_path: Path) -> None:
    real = tmp_path / "dotfiles" / "hermes.yaml"
    real.parent.mkdir()
    real.write_text(MINE)
    place.config.symlink_to(real)
    place.profile("one").symlink_to("../../config.yaml")  # both homes have one file
    place.setup()
    assert place.config.is_symlink()
    assert is_complete(real)
    assert list(real.parent.iterdir()) == [real], "nothing is left beside it"
    assert place.plan().changes == []
    place.undo()
    assert place.config.is_symlink()
    assert real.read_text() == MINE


@pytest.mark.parametrize("content", [b"a: [\n", b"- a\n", b"name: \xff\n", b"plugins: {enabled: all}\n"])
def test_one_file_that_cannot_be_read_keeps_all_as_they_are(place, content: bytes) -> None:
    place.write(MINE)
    bad = place.profile("bad")
    bad.write_bytes(content)
    before = place.files()
    with pytest.raises(SetupRefused) as refused:
        place.setup()
    assert str(bad) in str(refused.value)
    assert str(refused.value).endswith("Nothing was changed anywhere")
    assert place.files() == before


def test_a_file_that_is_a_folder_is_refused(place) -> None:
    place.profile("bad").mkdir()
    with pytest.raises(SetupRefused, match="cannot be read"):
        place.setup()


@needs_rights
def test_a_file_that_may_not_be_written_is_refused(place) -> None:
    place.write(MINE)
    place.write("a: 1\n", "one").chmod(0o400)
    with pytest.raises(SetupRefused, match=r"cannot be written by this user\. Nothing was changed anywhere"):
        place.setup()
    assert place.config.read_text() == MINE


def test_a_file_that_changed_since_it_was_looked_at_is_left_alone(place) -> None:
    place.write(MINE)
    made = place.plan()
    place.write("quick: edit\n")
    with pytest.raises(SetupRefused, match="changed by somebody else meanwhile"):
        plan.carry_out(made, lambda _: None)
    assert place.config.read_text() == "quick: edit\n"
    place.setup()
    place.undo()
    assert place.config.read_text() == "quick: edit\n"


def test_a_write_that_fails_leaves_the_file_whole(place, monkeypatch: pytest.MonkeyPatch) -> None:
    place.write(MINE)
    seen = files.look(place.config)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(SetupRefused, match="No space left on device"):
        files.replace(seen, b"half")
    assert place.config.read_text() == MINE
    assert list(place.root.iterdir()) == [place.config]


# --- taking back ---------------------------------------------------------------------------------------------------


def test_undo_gives_back_every_byte(place) -> None:
    place.write(MINE)
    place.write("a: 1\r\nplugins:\r\n", "one")
    place.profile("two")
    before = place.files()
    place.setup()
    assert place.journal.stat().st_mode & 0o777 == 0o600
    place.undo()
    assert place.files() == before
    assert place.undo() == []
    assert place.files() == before


def test_undo_takes_out_our_parts_only_when_the_file_was_edited_since(place) -> None:
    place.write(MINE)
    place.setup()
    place.config.write_text(place.config.read_text().replace("[other,", "[other, third,") + "new: 1\n")
    place.undo()
    expected = MINE.replace("[other]", "[other, third]") + "new: 1\n"
    assert place.config.read_text() == expected


def test_undo_of_a_file_that_setup_made_and_somebody_used(place) -> None:
    made = place.profile("one")
    place.setup()
    made.write_text(made.read_text() + "model: x\n")
    place.undo()
    assert made.read_text() == "model: x\n"


def test_undo_gives_back_a_refusal(place) -> None:
    place.write("plugins: {entries: {hermes-kanban: {allow_tool_override: false}}}\n")
    place.setup()
    place.config.write_text(place.config.read_text() + "new: 1\n")
    place.undo()
    assert "allow_tool_override: false" in place.config.read_text()


def test_undo_keeps_what_was_there_before_setup(place) -> None:
    """Enabled by hand, with settings of ours: setup added the permission only, so undo takes that only."""
    text = "plugins:\n  enabled: [hermes-kanban]\n  entries:\n    hermes-kanban:\n      lease_seconds: 60\n"
    place.write(text)
    place.setup()
    place.config.write_text(place.config.read_text() + "new: 1\n")
    place.undo()
    assert place.config.read_text() == text + "new: 1\n"
    made = plan.for_undo(place.root, None, place.environment)
    assert (made.changes, len(made.notes)) == ([], 1)
    assert "not through setup" in made.notes[0]


@pytest.mark.parametrize("edited", [True, False])
def test_undo_says_that_it_was_enabled_before_setup(place, edited: bool) -> None:
    """``hermes plugins install --enable`` did it: the next gateway would dispatch through us all the same."""
    place.write("plugins: {enabled: [hermes-kanban]}\n")
    place.setup()
    if edited:
        place.config.write_text(place.config.read_text() + "new: 1\n")
    made = plan.for_undo(place.root, None, place.environment)
    assert made.changes != []
    (note,) = made.notes
    assert note.endswith("hermes plugins disable hermes-kanban")


def test_undo_in_some_profiles(place) -> None:
    place.write(MINE)
    one = place.write("a: 1\n", "one")
    place.setup()
    assert len(place.undo("one")) == 2
    assert one.read_text() == "a: 1\n"
    assert is_complete(place.config)
    assert place.start_file.exists(), "the others still use it"
    assert place.undo("one") == []
    place.undo()
    assert place.config.read_text() == MINE
    assert not place.journal.exists()


def test_undo_after_two_setups_with_an_edit_between(place) -> None:
    place.write(MINE)
    place.setup()
    place.config.write_text(place.config.read_text().replace("allow_tool_override: true", "allow_tool_override: no"))
    place.setup()
    place.undo()
    assert enabling.read(place.config.read_text()) == enabling.read(MINE)
    assert "# mine" in place.config.read_text()


def test_undo_after_a_backup_was_put_back_and_set_up_again(place) -> None:
    place.write("old: 1\n")
    place.setup()
    place.write("restored: 1\n")
    place.setup()
    place.undo()
    assert place.config.read_text() == "restored: 1\n"


@pytest.mark.parametrize("content", [None, b"", b"{", b"[]", b'{"files": {"x": {}}}'])
def test_without_its_journal_undo_still_takes_us_out(place, content: bytes | None) -> None:
    place.write("a: 1  # one\nplugins:\n  enabled: [x]\n")
    place.setup()
    place.journal.unlink()
    if content is not None:
        place.journal.write_bytes(content)
    place.undo()
    assert place.config.read_text() == "a: 1  # one\nplugins:\n  enabled: [x]\n"
    assert not place.start_file.exists()
    assert not place.journal.exists()


def test_undo_where_setup_never_was_does_nothing(place) -> None:
    place.write(MINE)
    before = place.files()
    assert place.undo() == []
    assert place.files() == before


def test_undo_of_a_profile_that_is_gone(place) -> None:
    place.write(MINE)
    gone = place.write("a: 1\n", "gone")
    place.setup()
    shutil.rmtree(gone.parent)
    place.undo()
    assert place.config.read_text() == MINE
    assert not gone.parent.exists()


@pytest.mark.parametrize("name", ["moved", "plugins", "config.yaml"])
def test_undo_in_a_home_that_was_moved(place, name: str) -> None:
    """Or is mounted elsewhere: the paths in the journal are those of then."""
    place.write(MINE)
    place.write("a: 1\n", "one")
    place.profile("two")
    before = place.files()
    place.setup()
    was, place.root = place.root, place.root.rename(place.root.with_name(name))
    assert place.plan().changes == []
    place.undo()
    place.root.rename(was)
    assert place.files() == before


def test_the_journal_says_what_it_has_to(place) -> None:
    place.write(MINE)
    place.setup()
    document = json.loads(place.journal.read_text())
    assert document["files"][str(place.config)]["before"] == MINE
    assert document["files"][str(place.config)]["after"] == files.digest(place.config.read_bytes())


@pytest.mark.parametrize("content", [b"a: [\n", b"\xff\n"])
def test_a_file_that_somebody_broke_keeps_nothing_else_from_being_taken_back(place, content: bytes) -> None:
    place.write(MINE)
    bad = place.write("a: 1\n", "bad")
    place.setup()
    ours = bad.read_bytes()
    bad.write_bytes(content)
    (obstacle,) = plan.for_undo(place.root, None, place.environment).obstacles
    assert str(bad) in obstacle
    place.undo()
    assert place.config.read_text() == MINE
    assert not place.start_file.exists()
    assert bad.read_bytes() == content
    bad.write_bytes(ours)
    assert plan.for_undo(place.root, None, place.environment).obstacles == []
    place.undo()
    assert bad.read_text() == "a: 1\n"
    assert not place.journal.exists()


def test_a_start_file_that_may_not_be_written_keeps_nothing_else_from_being_taken_back(
    place, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.write(MINE)
    place.setup()

    def refuse(seen: files.Snapshot) -> None:
        if seen.target.is_relative_to(place.site):
            raise SetupRefused(f"{seen.target} cannot be written by this user")

    monkeypatch.setattr(files, "refuse_unwritable", refuse)
    (obstacle,) = plan.for_undo(place.root, None, place.environment).obstacles
    assert str(place.start_file) in obstacle
    place.undo()
    assert place.config.read_text() == MINE
    assert place.start_file.exists()


def test_what_somebody_else_enabled_is_named_with_the_command_for_that_profile(place) -> None:
    place.write(MINE)
    text = "plugins: {enabled: [hermes-kanban], entries: {hermes-kanban: {allow_tool_override: true}}}\n"
    early = place.write(text, "early")
    place.setup()
    (note,) = plan.for_undo(place.root, None, place.environment).notes
    assert note.endswith("hermes -p early plugins disable hermes-kanban")
    place.undo()
    assert early.read_text() == text


@pytest.mark.parametrize("again", [False, True])
def test_a_profile_that_was_cloned_after_setup_is_taken_back_too(place, again: bool) -> None:
    """``hermes profile create --clone`` copies the config.yaml, with what setup wrote into it."""
    place.write(MINE)
    source = place.write("# own\nplugins:\n  enabled:\n    - other\n", "one")
    place.setup()
    clone = place.write(source.read_text() + "later: 1\n", "two")
    if again:
        place.setup()
    made = plan.for_undo(place.root, None, place.environment)
    assert (made.notes, made.obstacles) == ([], [])
    place.undo()
    assert clone.read_text() == "# own\nplugins:\n  enabled:\n    - other\nlater: 1\n"
    assert source.read_text() == "# own\nplugins:\n  enabled:\n    - other\n"


def test_a_later_profile_that_nobody_can_read_is_none_of_ours(place) -> None:
    place.write(MINE)
    place.setup()
    place.write("a: [", "later")
    assert plan.for_undo(place.root, None, place.environment).obstacles == []


def test_a_journal_of_before_leaves_what_it_does_not_know(place) -> None:
    place.write(MINE)
    place.setup()
    document = json.loads(place.journal.read_text())
    del document["by_hand"]
    place.journal.write_text(json.dumps(document))
    place.write("plugins: {enabled: [hermes-kanban]}\n", "later")
    (note,) = plan.for_undo(place.root, None, place.environment).notes
    assert note.endswith("hermes -p later plugins disable hermes-kanban")


def test_homes_that_share_a_file_are_told_of_once(place) -> None:
    place.write("plugins: {enabled: [hermes-kanban]}\n")
    place.profile("one").symlink_to("../../config.yaml")
    place.setup()
    assert len(plan.for_undo(place.root, None, place.environment).notes) == 1


# --- a directory install -------------------------------------------------------------------------------------------


@pytest.fixture
def clone(place) -> Path:
    """The plugin as a folder in the root home, without a distribution."""
    folder = place.root / "plugins" / "hermes-kanban"
    folder.mkdir(parents=True)
    (folder / "plugin.yaml").write_text("name: hermes-kanban\n")
    place.environment = Environment(place.site, None, folder)
    place.record.unlink()
    return folder


def test_each_profile_gets_a_link_to_the_folder(place, clone: Path) -> None:
    place.write(MINE)
    one = place.write("a: 1\n", "one")
    own = place.profile("own").parent / "plugins" / "hermes-kanban"
    own.mkdir(parents=True)
    before = place.files()
    place.setup()
    link = one.parent / "plugins" / "hermes-kanban"
    assert link.readlink() == clone
    assert (link / "plugin.yaml").is_file()
    assert not own.is_symlink(), "a folder of its own is left alone"
    assert str(clone) in place.start_file.read_text()
    assert place.plan().changes == []
    place.undo()
    assert place.files() == before


def test_a_link_that_leads_elsewhere_by_now_is_left_alone(place, clone: Path, tmp_path: Path) -> None:
    one = place.write("a: 1\n", "one")
    place.setup()
    link = one.parent / "plugins" / "hermes-kanban"
    link.unlink()
    link.symlink_to(tmp_path)
    place.undo()
    assert link.readlink() == tmp_path


def test_a_link_to_a_folder_that_is_gone_is_made_anew(place, clone: Path) -> None:
    """The clone was moved: its workers would run without us, and nobody would say so."""
    one = place.write("a: 1\n", "one")
    place.setup()
    moved = clone.rename(place.root / "clone")
    place.environment = Environment(place.site, None, moved)
    assert {change.path.name for change in place.plan().changes} == {"hermes-kanban", start_file.NAME}
    place.setup()
    for home in (place.root, one.parent):
        assert (home / "plugins" / "hermes-kanban").readlink() == moved
    assert place.plan().changes == []
    place.undo()
    assert not (one.parent / "plugins" / "hermes-kanban").is_symlink()


def test_a_link_of_ours_follows_to_another_clone(place, clone: Path) -> None:
    one = place.write("a: 1\n", "one")
    place.setup()
    other = shutil.copytree(clone, place.root / "other")
    place.environment = Environment(place.site, None, other)
    place.setup()
    assert (one.parent / "plugins" / "hermes-kanban").readlink() == other
    assert not (place.root / "plugins" / "hermes-kanban").is_symlink(), "a folder that is there is somebody's decision"


def test_a_link_that_somebody_made_to_a_folder_stays(place, clone: Path, tmp_path: Path) -> None:
    one = place.write("a: 1\n", "one")
    link = one.parent / "plugins" / "hermes-kanban"
    link.parent.mkdir()
    link.symlink_to(tmp_path)
    place.setup()
    assert link.readlink() == tmp_path


# --- the administrator's file --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("model: x\n", []),
        ("plugins: {enabled: [x]}\n", ["does not enable the plugin"]),
        ("plugins: {disabled: [hermes-kanban]}\n", ["does not enable the plugin"]),
        ("plugins: {enabled: [hermes-kanban]}\n", ["enables the plugin everywhere"]),
        ("a: [\n", ["cannot be read"]),
    ],
)
def test_a_managed_file_is_mentioned_and_never_written(place, tmp_path: Path, text: str, said: list[str]) -> None:
    managed = tmp_path / "managed" / "config.yaml"
    managed.parent.mkdir()
    managed.write_text(text)
    place.write(MINE)
    made = place.plan()
    notes = [*made.notes, *made.obstacles]
    assert [next(word for word in said if word in note) for note in notes] == said
    assert made.obstacles == [note for note in notes if "enables the plugin" not in note]
    place.setup()
    assert managed.read_text() == text


def test_another_python_is_refused(place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hermes would not find what is enabled there, and the operator would restart the gateway in vain."""
    place.write(MINE)
    place.setup()
    before = place.files()
    monkeypatch.setattr(start_file, "runs_the_host", lambda: False)
    with pytest.raises(SetupRefused, match=r"does not run Hermes.*install hermes-kanban-plugin.*Nothing was changed"):
        place.setup()
    assert place.files() == before
    place.undo()
    assert place.config.read_text() == MINE
