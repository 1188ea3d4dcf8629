"""File locks between real processes."""

from __future__ import annotations

import fcntl
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from hermes_kanban_plugin.errors import BoardUnusable
from hermes_kanban_plugin.locks import FileLock, trying

HOLD = """
import sys
from pathlib import Path
from hermes_kanban_plugin.locks import FileLock
lock = FileLock(Path(sys.argv[1]))
print(lock.acquire(), flush=True)
input()
"""


class Holder:
    """Another process that tries to take the lock and keeps it."""

    def __init__(self, path: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", HOLD, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.got_it = self.process.stdout.readline().strip() == "True"

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "folder/made.lock"


@pytest.fixture
def holder(path: Path) -> Iterator[Holder]:
    other = Holder(path)
    yield other
    other.kill()


def test_one_process_at_a_time(path: Path, holder: Holder) -> None:
    assert holder.got_it
    mine = FileLock(path)
    assert not mine.acquire()
    assert not mine.held


def test_the_other_process_is_refused_too(path: Path) -> None:
    mine = FileLock(path)
    assert mine.acquire()
    other = Holder(path)
    assert not other.got_it
    other.kill()
    assert mine.held


def test_a_holder_that_is_killed_gives_it_back(path: Path, holder: Holder) -> None:
    mine = FileLock(path)
    assert not mine.acquire()
    holder.kill()  # SIGKILL: it could not say goodbye
    assert mine.acquire()
    mine.release()


def test_release_and_again(path: Path) -> None:
    one, two = FileLock(path), FileLock(path)
    assert one.acquire()
    assert one.acquire()  # taking it twice is harmless
    assert not two.acquire()
    one.release()
    assert not one.held
    one.release()
    assert two.acquire()
    assert not one.acquire()
    two.release()


def test_a_block_is_told_whether_it_is_alone(path: Path) -> None:
    with trying(path) as outer, trying(path) as inner:
        assert (outer, inner) == (True, False)
    with trying(path) as again:
        assert again


def test_a_block_that_fails_gives_it_back(path: Path) -> None:
    with pytest.raises(RuntimeError), trying(path):
        raise RuntimeError
    assert FileLock(path).acquire()


def test_the_hosts_own_flock_is_honoured(path: Path) -> None:
    path.parent.mkdir()
    with path.open("a") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        with trying(path) as alone:
            assert not alone


def test_the_file_stays(path: Path) -> None:
    with trying(path):
        pass
    assert path.exists()


def test_a_lock_is_not_inherited_by_programs_that_are_started(path: Path) -> None:
    lock = FileLock(path)
    assert lock.acquire()
    program = [sys.executable, "-c", "print('runs', flush=True); input()"]
    child = subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, close_fds=False)
    assert child.stdout.readline() == "runs\n"
    lock.release()
    assert FileLock(path).acquire()  # although the child still lives
    child.communicate("end\n")


def test_a_lock_file_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path in (tmp_path / "file/below.lock", tmp_path):
        with pytest.raises(BoardUnusable, match="cannot be opened"):
            FileLock(path).acquire()


def test_a_lock_on_a_file_that_was_removed_is_taken_anew(path: Path) -> None:
    mine = FileLock(path)
    assert mine.acquire()
    path.unlink()
    other = Holder(path)
    try:
        assert other.got_it
        assert not mine.acquire()
        assert not mine.held
    finally:
        other.kill()
    assert mine.acquire()
