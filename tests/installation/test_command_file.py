"""The command of a directory install: it runs from the folder, and is made and removed with the rest."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import hermes_kanban_plugin
from hermes_kanban_plugin.installation import command_file, plan
from hermes_kanban_plugin.installation.start_file import Environment

CHECKOUT = Path(__file__).resolve().parents[2]


@pytest.fixture
def scripts(place) -> Path:
    """The programs of an environment whose plugin is a folder."""
    clone = place.root.parent / 'it\'s an "ünusual" clone'
    shutil.copytree(CHECKOUT / "hermes_kanban_plugin", clone / "hermes_kanban_plugin")
    folder = place.root.parent / "programs"
    folder.mkdir()
    place.record.unlink()
    place.environment = Environment(place.site, None, clone, folder)
    place.write("a: 1\n")
    return folder


def run(program: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([program, "--version"], capture_output=True, text=True, check=False, timeout=60, cwd="/")


def test_setup_makes_it_and_undo_removes_it(place, scripts: Path) -> None:
    before = place.files()
    place.setup()
    program = scripts / "hermes-kanban"
    assert program.stat().st_mode & 0o777 == 0o755
    done = run(program)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"hermes-kanban {hermes_kanban_plugin.__version__}\n", "")
    assert place.plan().changes == []
    place.undo()
    assert list(scripts.iterdir()) == []
    assert place.files() == before


def test_it_runs_from_its_folder_and_says_when_that_is_gone(place, scripts: Path, tmp_path: Path) -> None:
    """The folder is looked in last; here nothing else has us."""
    place.setup()
    program = scripts / "hermes-kanban"
    bare = program.read_text().replace(f"{sys.executable} ", f"{sys.executable} -I -S ")
    program.write_text(bare.replace("main()", "print(main.__code__.co_filename)"))
    assert str(place.environment.clone) in run(program).stdout
    place.environment.clone.rename(tmp_path / "away")
    done = run(program)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert f"install the plugin again, or remove {program}" in done.stderr


def test_one_of_another_folder_is_replaced_and_a_strangers_stays(place, scripts: Path) -> None:
    place.setup()
    program = scripts / "hermes-kanban"
    ours = program.read_text()
    program.write_text(command_file.text_for(Path("/elsewhere")))
    assert [change.what for change in place.plan().changes] == ["add the command hermes-kanban"]
    place.setup()
    assert program.read_text() == ours
    program.write_text("#!/bin/sh\n")
    (obstacle,) = place.plan().obstacles
    assert f"{program} is not of this setup" in obstacle
    place.undo()
    assert program.read_text() == "#!/bin/sh\n"


def test_a_package_has_its_own(place, scripts: Path) -> None:
    place.environment = Environment(place.site, None, None, scripts)
    assert "command" not in " ".join(
        change.what for change in plan.for_setup(place.root, None, place.environment).changes
    )
