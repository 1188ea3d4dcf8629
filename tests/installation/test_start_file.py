"""The start-up file: inert unless it is meant, silent whatever is missing, and pip's to remove."""

from __future__ import annotations

import csv
import subprocess
import sys
from pathlib import Path

import pytest

from hermes_kanban_plugin.installation import start_file
from hermes_kanban_plugin.installation.start_file import Environment

CHECKOUT = Path(__file__).resolve().parents[2]
# Says how much of us is loaded, how many of our finders wait, and whether a folder of a test is on the path.
TELL = """
import sys
ours = [name for name in sys.modules if name.startswith("hermes_kanban_plugin")]
waits = [one for one in sys.meta_path if getattr(one, "__module__", "") == "hermes_kanban_plugin.imports"]
print(len(ours), len(waits), [entry for entry in sys.path if entry.endswith("clone")])
"""
NOTHING, WAITING = "0 0 []\n", "3 1 []\n"


class Python:
    """An interpreter that reads the start-up files of one folder, and finds nothing of ours but through them."""

    def __init__(self, folder: Path) -> None:
        self.site = folder / "site"
        self.site.mkdir()

    def write(self, clone: Path | None) -> None:
        line = start_file.line_for(Environment(self.site, None, clone))
        assert line.startswith("import sys; ")
        assert line.count("\n") == 1
        assert line.isascii()
        (self.site / start_file.NAME).write_text(line)

    def run(self, *words: str) -> str:
        """Start it as a program with these words; returns what was said, which must be on standard output."""
        code = f"import site, sys\nsys.orig_argv[1:] = {list(words)!r}\nsite.addsitedir({str(self.site)!r})\n{TELL}"
        done = subprocess.run([sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout


@pytest.fixture
def python(tmp_path: Path) -> Python:
    return Python(tmp_path)


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    folder = tmp_path / 'it\'s an "ünusual" clone'
    folder.mkdir()
    for name in ("hermes_kanban_plugin", "plugin.toml"):
        (folder / name).symlink_to(CHECKOUT / name)
    return folder


@pytest.mark.parametrize(
    ("words", "seen"),
    [
        (("/opt/venv/bin/hermes", "kanban", "list"), WAITING),
        (("hermes", "-p", "worker", "kanban"), WAITING),
        (("-X", "dev", "-m", "hermes_cli.main", "kanban"), WAITING),
        (("/opt/venv/bin/hermes", "chat"), NOTHING),
        (("/opt/venv/bin/hermes-kanban", "kanban"), NOTHING),
        (("/home/hermes/other.py", "kanban"), NOTHING),
        ((), NOTHING),
    ],
)
def test_it_acts_in_a_hermes_kanban_process_only(
    python: Python, clone: Path, words: tuple[str, ...], seen: str
) -> None:
    python.write(clone)
    assert python.run(*words) == seen


def test_it_finds_a_distribution_by_name(python: Python) -> None:
    python.write(None)
    assert python.run("hermes", "kanban") == NOTHING
    for name in ("hermes_kanban_plugin", "plugin.toml"):
        (python.site / name).symlink_to(CHECKOUT / name)
    assert python.run("hermes", "kanban") == WAITING


def test_it_is_silent_when_the_package_is_gone(python: Python) -> None:
    python.write(None)
    assert python.run("hermes", "kanban") == NOTHING


def test_it_goes_when_the_folder_is_gone(python: Python, clone: Path) -> None:
    """Nobody uninstalls a folder but by removing it."""
    python.write(clone)
    clone.rename(clone.with_name("away"))
    assert python.run("hermes", "chat") == NOTHING
    assert (python.site / start_file.NAME).exists()
    assert python.run("hermes", "kanban") == NOTHING
    assert not (python.site / start_file.NAME).exists()


def test_it_is_silent_when_it_may_not_go(python: Python, clone: Path) -> None:
    python.write(clone)
    clone.rename(clone.with_name("away"))
    # A folder in its place cannot be removed as a file, whoever tries.
    line = (python.site / start_file.NAME).read_text().replace(start_file.NAME, "folder")
    (python.site / "folder").mkdir()
    (python.site / start_file.NAME).write_text(line)
    assert python.run("hermes", "kanban") == NOTHING
    assert (python.site / "folder").is_dir()


def test_it_is_silent_when_the_package_cannot_be_run(python: Python, tmp_path: Path) -> None:
    broken = tmp_path / "clone" / "hermes_kanban_plugin"
    broken.mkdir(parents=True)
    for problem in ("RuntimeError", "ImportError"):
        (broken / "__init__.py").write_text(f"raise {problem}('half an upgrade')\n")
        python.write(broken.parent)
        assert python.run("hermes", "kanban") == NOTHING
        assert (python.site / start_file.NAME).exists()


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize("last", [True, False])
def test_record_gains_one_line_and_loses_it_again(newline: str, last: bool) -> None:
    rows = ["a/__init__.py,sha256=x,1", '"with, comma.py",,', "a-1.dist-info/RECORD,,"]
    record = (newline.join(rows) + (newline if last else "")).encode()
    named = start_file.with_record(record, b"import sys\n")
    assert [row[0] for row in csv.reader(named.decode().splitlines())][-1] == start_file.NAME
    assert start_file.with_record(named, b"import sys\n") == named
    assert start_file.with_record(named, b"other").count(start_file.NAME.encode()) == 1
    rest = start_file.without_record(named)
    assert rest == record or (not last and rest == record + newline.encode())


def test_the_environment_of_this_interpreter_is_found() -> None:
    found = start_file.find()
    assert found.record is not None
    assert found.record.name == "RECORD"
    assert found.record.parent.parent == found.folder
    assert found.folder.is_relative_to(sys.prefix)
    assert found.clone is None


def test_setup_adds_and_undo_removes_file_and_record_line(place) -> None:
    before = place.files()
    place.write("a: 1\n")
    place.setup()
    assert place.start_file.stat().st_mode & 0o777 == 0o644
    assert place.record.read_text().splitlines()[-1].startswith("hermes_kanban.pth,sha256=")
    place.start_file.write_text("import hermes_kanban_plugin.boot  # of another version\n")
    assert [change.path for change in place.plan().changes] == [place.start_file]
    place.undo()
    place.config.unlink()
    assert place.files() == before


def test_a_start_file_of_somebody_else_stays(place) -> None:
    place.start_file.write_text("import something_else\n")
    place.undo()
    assert place.start_file.read_text() == "import something_else\n"
