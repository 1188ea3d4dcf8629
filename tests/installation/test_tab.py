"""The link that gives a home's dashboard our tab: made, verified, mended and taken away by setup."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from hermes_kanban_plugin.installation import plan, tab
from hermes_kanban_plugin.installation.homes import Home
from hermes_kanban_plugin.installation.start_file import Environment


@pytest.fixture
def home(place) -> Home:
    place.write("a: 1\n")
    return Home("default", place.root)


def tabs(done: list[str]) -> list[str]:
    return [line for line in done if "dashboard" in line]


def test_setup_links_the_page_in_every_home_and_undo_takes_it_away(place, home: Home) -> None:
    place.write("a: 1\n", "one")
    before = place.files()
    assert [line.partition(": ")[2] for line in tabs(place.setup())] == ["add our tab to hermes dashboard"] * 2
    for one in (home, Home("one", place.root / "profiles" / "one")):
        assert (tab.place_in(one) / "manifest.json").is_file()
        assert tab.is_linked(one)
    assert place.plan().changes == []
    assert len(tabs(place.undo())) == 2
    assert place.files() == before
    assert not tab.place_in(home).parent.exists()


@pytest.mark.parametrize(
    "older", ["/gone/site-packages/hermes_kanban_plugin/dashboard", "../hermes_kanban_plugin/dashboard"]
)
def test_a_link_of_another_installation_is_mended(place, home: Home, older: str) -> None:
    place.setup()
    tab.place_in(home).unlink()
    tab.place_in(home).symlink_to(older)
    assert len(tabs(place.setup())) == 1
    assert tab.is_linked(home)
    assert place.plan().changes == []


def test_a_link_that_was_removed_is_missing(place, home: Home) -> None:
    place.setup()
    tab.place_in(home).unlink()
    (change,) = place.plan().changes
    assert (change.path, change.link) == (tab.place_in(home), tab.PAGE)


def test_what_is_not_ours_stays_and_is_named(place, home: Home, tmp_path: Path) -> None:
    theirs = tab.place_in(home)
    theirs.parent.mkdir(parents=True)
    theirs.symlink_to(tmp_path)
    made = place.plan()
    (said,) = [note for note in made.obstacles if "in the way" in note]
    assert said.startswith(f"{theirs} is in the way of our tab in hermes dashboard: ")
    assert said.endswith("move it away, then: hermes-kanban setup")
    place.setup()
    place.undo()
    assert os.readlink(theirs) == str(tmp_path)


def test_a_copy_of_the_page_is_named_and_not_taken_for_the_link(place, home: Home) -> None:
    stale = tab.place_in(home)
    shutil.copytree(tab.PAGE, stale)
    (stale / "page" / "index.js").write_text("// an older one")
    assert [note for note in place.plan().obstacles if str(stale) in note]
    place.setup()
    assert (stale / "page" / "index.js").read_text() == "// an older one"


def test_a_file_beside_the_link_stays(place, home: Home) -> None:
    place.setup()
    beside = tab.place_in(home).parent / "notes.txt"
    beside.write_text("mine")
    place.undo()
    assert beside.read_text() == "mine"
    assert not os.path.lexists(tab.place_in(home))


def test_a_directory_install_brings_its_own_page(place, home: Home, tmp_path: Path) -> None:
    clone = tmp_path / "clone"
    clone.mkdir()
    made = plan.for_setup(place.root, None, Environment(place.site, None, clone))
    assert [change.path for change in made.changes if "dashboard" in change.what] == []
    page = Path(__file__).parents[2] / "dashboard"
    assert page.is_symlink()
    assert not Path(os.readlink(page)).is_absolute()
    assert page.resolve() == tab.PAGE
