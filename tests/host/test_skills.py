"""The skills that we say a profile has are those that the real host's worker loads."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from hermes_kanban_plugin.host import skills

ASK = """
import json, sys
from agent.skill_commands import build_preloaded_skills_prompt
names = json.loads(sys.argv[1])
print(json.dumps({name: not build_preloaded_skills_prompt([name])[2] for name in names}))
"""
NAMES = [
    "plain", "titled-folder", "a title", "nested", "group/nested", "group:nested", "flat", "group/flat", "outside",
    "switched-off", "in-support", "in-git", "absent", "../plain", "group", "",
]  # fmt: skip


def put(folder: Path, title: str | None = None) -> None:
    folder.mkdir(parents=True)
    head = f"---\nname: {title}\ndescription: d\n---\n" if title else ""
    (folder / "SKILL.md").write_text(f"{head}Do it well.\n", encoding="utf-8")


@pytest.fixture
def profile(home: Path) -> Path:
    """A profile with skills in every place and form."""
    where = home / "profiles" / "coder"
    put(where / "skills" / "plain", "plain")
    put(where / "skills" / "titled-folder", "a title")
    put(where / "skills" / "group" / "nested")
    put(where / "skills" / "switched-off", "switched-off")
    put(where / "skills" / "plain" / "references" / "in-support")
    put(where / "skills" / ".git" / "in-git")
    (where / "skills" / "group" / "flat.md").write_text("Flat.\n", encoding="utf-8")
    put(home / "more" / "outside", "outside")
    document = {"skills": {"external_dirs": [str(home / "more"), "no/such"], "disabled": ["switched-off"]}}
    (where / "config.yaml").write_text(json.dumps(document), encoding="utf-8")
    (where / skills.NO_BUNDLED).touch()
    return where


def found_by_us() -> dict[str, bool]:
    shelf = skills.shelf_of("coder")
    assert shelf is not None
    return {name: shelf.has(name) for name in NAMES}


@pytest.mark.host
def test_we_and_the_host_find_the_same(profile: Path) -> None:
    names = [name for name in NAMES if name]
    done = subprocess.run(
        [sys.executable, "-c", ASK, json.dumps(names)], capture_output=True, text=True, check=True, timeout=100,
        env={**os.environ, "HERMES_HOME": str(profile), "HERMES_DISABLE_LAZY_INSTALLS": "1"},
    )  # fmt: skip
    theirs = json.loads(done.stdout.splitlines()[-1])
    assert {name: has for name, has in found_by_us().items() if name} == theirs


def test_what_is_found(profile: Path) -> None:
    has = found_by_us()
    assert [name for name in NAMES if has[name]] == [
        "plain", "titled-folder", "a title", "nested", "group/nested", "group:nested", "flat", "group/flat", "outside",
    ]  # fmt: skip


def test_where_was_looked_is_told(profile: Path) -> None:
    shelf = skills.shelf_of("coder")
    assert shelf is not None
    assert shelf.places == (str(profile / "skills"), str(profile.parents[1] / "more"))
    assert shelf.lacks(["absent", "plain", "absent"]) == ["absent"]


def test_a_skill_of_a_plugin_is_believed(profile: Path) -> None:
    shelf = skills.shelf_of("coder")
    assert shelf is not None
    assert shelf.has("some-plugin:skill")


def test_a_profile_that_is_gone_has_no_shelf(home: Path) -> None:
    assert skills.shelf_of("ghost") is None


def test_bundled_skills_come_with_the_first_start(
    profile: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path / "bundled" / "kit" / "fresh", "fresh")
    put(tmp_path / "bundled" / "deleted", "deleted")
    monkeypatch.setenv("HERMES_BUNDLED_SKILLS", str(tmp_path / "bundled"))
    assert not found_by_us()["absent"]
    shelf = skills.shelf_of("coder")
    assert shelf is not None
    assert not shelf.has("fresh")  # the profile refused them
    (profile / skills.NO_BUNDLED).unlink()
    (profile / "skills" / skills.MANIFEST).write_text("deleted:0123\n", encoding="utf-8")
    shelf = skills.shelf_of("coder")
    assert shelf is not None
    assert shelf.has("fresh")
    assert not shelf.has("deleted")  # somebody took it away on purpose


def test_toolsets_are_known_by_name() -> None:
    assert "web" in skills.toolset_names() or not skills.toolset_names()


def test_a_broken_configuration_of_a_profile_hides_nothing_else(profile: Path) -> None:
    (profile / "config.yaml").write_text("skills: [", encoding="utf-8")
    shelf = skills.shelf_of("coder")
    assert shelf is not None
    assert shelf.has("plain")
