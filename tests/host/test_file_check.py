"""W1 in the process that does the harm: the host's checks of the file drop its locks, and ours in their place do not.

Each scene: a host process has a board open, and one of the host's checks runs in it. Then somebody else, with nothing
but SQLite, opens the board, writes and closes. If the first process has lost its locks, that one takes itself for the
last, deletes the log, and what the first process writes next is seen by nobody.
"""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from hermes_kanban_plugin.host.file_check import FileChecks, State, state_of_installed_host

if TYPE_CHECKING:
    from tests.host.conftest import Actor, House

pytestmark = [pytest.mark.host, pytest.mark.xdist_group("file check")]

CHECKS = ("_check_file_length_invariant", "_validate_sqlite_header", "_backup_corrupt_db")
NONE: tuple[str, ...] = ()
# Every process: what was replaced, and what was said about it.
PREAMBLE = """
import logging
said = []
class Ear(logging.Handler):
    def emit(self, record):
        said.append([record.levelname, record.getMessage()])
logging.getLogger("hermes_kanban_plugin").addHandler(Ear())
logging.getLogger("hermes_kanban_plugin").setLevel(logging.DEBUG)
from hermes_cli import kanban_db as kb
from hermes_kanban_plugin.host import file_check
CHECKS = {checks!r}
original = {{name: getattr(kb, name) for name in CHECKS}}
def replaced():
    return [name for name in CHECKS if getattr(kb, name).__module__.startswith("hermes_kanban_plugin.")]
"""
CONNECT = "import sqlite3; conn = kb.connect()"
BY_HAND = """
import sqlite3, sys
with sqlite3.connect(sys.argv[1], isolation_level=None) as plain:
    plain.execute("INSERT INTO tasks (id, title, status, created_at) VALUES ('t_00000001', 'by hand', 'ready', 1)")
plain.close()
"""
# An index whose pages belong to nobody: whole enough to work with, and damaged to every integrity check.
DAMAGE = """
conn.execute("CREATE TABLE spare (a)")
conn.execute("CREATE INDEX spare_a ON spare (a)")
conn.execute("PRAGMA writable_schema = ON")
conn.execute("DELETE FROM sqlite_master WHERE name = 'spare_a'")
conn.execute("PRAGMA writable_schema = OFF")
"""
REFUSED = """
try:
    kb.init_db()
except kb.KanbanDbCorruptError as refusal:
    backup = str(refusal.backup_path)
"""
# What makes the host run each of its checks.
HARM = {
    "_check_file_length_invariant": "kb.create_task(conn, title='one more')",
    "_validate_sqlite_header": "kb.init_db()",  # each /kanban command, each request of the dashboard
    "_backup_corrupt_db": DAMAGE + REFUSED,
}
WITHOUT_DEFENCE = pytest.mark.skipif(
    sqlite3.sqlite_version_info >= (3, 51), reason="SQLite itself resists dropped locks from 3.51.0 on"
)


def start(house: House, *, but: tuple[str, ...] = NONE, connect: bool = True) -> Actor:
    """Start a host process with our checks in it, except those that are named."""
    process = house.host(PREAMBLE.format(checks=CHECKS))
    process.ask("file_check.install(None)")
    for name in but:
        process.ask(f"kb.{name} = original[{name!r}]")
    if connect:
        process.ask(CONNECT)
    return process


def holds_lock(process: Actor, house: House) -> bool:
    """Say whether SQLite's shared lock on the board is there, as the kernel lists it."""
    pid, inode = str(process._process.pid), str(os.stat(house.database).st_ino)
    rows = [line.split() for line in Path("/proc/locks").read_text().splitlines()]
    return any(row[1] == "POSIX" and row[4] == pid and row[5].rpartition(":")[2] == inode for row in rows)


def write_by_hand(house: House) -> None:
    subprocess.run([sys.executable, "-c", BY_HAND, str(house.database)], check=True, timeout=60)


def write(process: Actor, title: str) -> None:
    process.ask(f"kb.create_task(conn, title={title!r})")


@pytest.mark.skipif(not Path("/proc/locks").exists(), reason="this system does not list its locks")
@pytest.mark.parametrize("but", [NONE, CHECKS], ids=["with us", "without us"])
@pytest.mark.parametrize("check", CHECKS)
def test_each_check_drops_the_locks_without_us_and_none_with_us(house: House, check: str, but: tuple[str, ...]) -> None:
    process = start(house)
    assert holds_lock(process, house)
    if but:
        process.ask(f"kb.{check} = original[{check!r}]")
    process.ask(HARM[check])
    assert holds_lock(process, house) is (but == NONE)


@WITHOUT_DEFENCE
@pytest.mark.parametrize("check", CHECKS)
def test_without_us_each_check_costs_a_row(house: House, check: str) -> None:
    first = start(house, but=(check,))
    write(first, "before")
    first.ask(HARM[check])
    write_by_hand(house)
    write(first, "after")
    assert "after" not in house.titles(), "told ok, and nobody else can see it"


@pytest.mark.parametrize("check", CHECKS)
def test_with_us_no_check_costs_a_row(house: House, check: str) -> None:
    first = start(house)
    write(first, "before")
    first.ask(HARM[check])
    log = os.stat(f"{house.database}-wal").st_ino
    write_by_hand(house)
    assert os.stat(f"{house.database}-wal").st_ino == log
    write(first, "after")
    assert house.titles() >= {"before", "by hand", "after"}
    first.ask("conn.close()")
    assert house.titles() >= {"before", "by hand", "after"}


def test_hosts_lose_nothing_among_themselves(house: House) -> None:
    """The scene of test_lost_rows.py, where plain hosts lose what they acknowledged; here each has our checks."""
    first = start(house)
    write(first, "before")
    with start(house) as second:
        write(second, "second")
        second.ask("conn.close()")
    write(first, "after")
    assert "after" in house.titles()
    newcomer = start(house)
    write(newcomer, "newcomer")
    newcomer.ask("conn.close()")
    first.ask("conn.close()")
    assert house.titles() == {"before", "second", "after", "newcomer"}
    assert house.integrity() == "ok"


CROWD = """
errors, done = [], []
def write(name, count):
    for number in range(count):
        try:
            kb.create_task(conn, title=f"{name} {number}", body="x" * 20000)
            done.append(f"{name} {number}")
        except Exception as problem:
            errors.append(f"{type(problem).__name__}: {problem}"[:200])
            if len(errors) > 5:
                break
"""
WRITERS = ("a", "b", "c", "d")


def write_together(house: House, but: tuple[str, ...], count: int) -> tuple[list[str], set[str]]:
    """Let four hosts write at once, as much as makes the file grow; returns their errors and the rows that are lost."""
    start(house).leave()
    crowd = [start(house) for _ in WRITERS]
    for process in crowd:
        process.ask(CROWD)
        for name in but:
            process.ask(f"kb.{name} = original[{name!r}]")
    for name, process in zip(WRITERS, crowd, strict=True):
        process.tell(f"write({name!r}, {count})")
    for process in crowd:
        process.answer()
    errors = [error for process in crowd for error in process.ask("errors")]
    done = {title for process in crowd for title in process.ask("done")}
    for process in crowd:
        process.ask("conn.close()")
    try:
        return errors, done - house.titles()
    except sqlite3.DatabaseError as damage:
        return [*errors, f"DatabaseError: {damage}"], set()


def test_four_hosts_at_once_lose_nothing_and_see_no_error(house: House) -> None:
    assert write_together(house, NONE, 400) == ([], set())
    assert len(house.titles()) == 4 * 400
    assert house.integrity() == "ok"


@WITHOUT_DEFENCE
def test_without_us_four_hosts_at_once_do_harm(house: House) -> None:
    errors, lost = write_together(house, CHECKS, 1500)
    assert errors or lost


def test_one_descriptor_is_kept_and_no_more(house: House) -> None:
    first = start(house)

    def descriptors() -> int:
        opened = psutil.Process(first._process.pid).open_files()
        return [one.path for one in opened].count(str(house.database))

    write(first, "one")
    first.ask("kb.init_db()")  # SQLite keeps one descriptor of a closed connection for the next one
    before = descriptors()
    for number in range(20):
        write(first, f"more {number}")
        first.ask("kb.init_db()")
    assert descriptors() == before


# --- what the checks find, they find as before ------------------------------------------------------------------------

BOTH = pytest.mark.parametrize("but", [NONE, CHECKS], ids=["ours", "the host's"])


def error_of(process: Actor, source: str) -> str:
    process.ask(f"try:\n    {source}\n    error = None\nexcept sqlite3.DatabaseError as found:\n    error = found")
    return str(process.ask("f'{type(error).__name__}: {error}'"))


@BOTH
def test_a_torn_file_is_found(house: House, but: tuple[str, ...]) -> None:
    first = start(house, but=but)
    write(first, "before")
    # The pages at the end must be ones that no write needs.
    first.ask("conn.execute('CREATE TABLE spare AS SELECT randomblob(100000) AS a')")
    first.ask("conn.execute('PRAGMA wal_checkpoint(TRUNCATE)').fetchone()")
    os.truncate(house.database, house.database.stat().st_size - 2 * 4096)
    error = error_of(first, "kb.create_task(conn, title='torn')")
    assert error.startswith("DatabaseError: torn-extend")
    assert str(house.database) in error


@BOTH
def test_a_file_that_is_no_database_is_found(house: House, but: tuple[str, ...]) -> None:
    first = start(house, but=but, connect=False)
    house.database.write_bytes(b"SQLit\x17\x03\x03\x00\x20 whatever")
    error = error_of(first, "import sqlite3; kb.connect()")
    assert error.startswith("DatabaseError: file is not a database")
    assert "53 51 4c 69 74 17" in error
    assert str(house.database) in error


@BOTH
def test_what_is_not_there_or_empty_becomes_a_board(house: House, but: tuple[str, ...]) -> None:
    first = start(house, but=but)
    write(first, "one")
    house.environment["HERMES_KANBAN_DB"] = str(house.home / "empty.db")
    (house.home / "empty.db").touch()
    write(start(house, but=but), "two")


@BOTH
def test_a_damaged_board_is_copied_under_the_same_name(house: House, but: tuple[str, ...]) -> None:
    first = start(house, but=but)
    write(first, "before")
    first.ask(DAMAGE)
    first.ask("conn.execute('PRAGMA wal_checkpoint(TRUNCATE)').fetchone()")
    digest = hashlib.sha256(house.database.read_bytes()).hexdigest()
    write(first, "in the log")
    first.ask(REFUSED)
    backup = Path(first.ask("backup"))
    assert backup == house.home / f"kanban.db.corrupt.{digest[:16]}.bak"
    assert backup.read_bytes() == house.database.read_bytes()
    assert Path(f"{backup}-wal").read_bytes() == Path(f"{house.database}-wal").read_bytes()
    with closing(sqlite3.connect(backup)) as copy:
        assert {row[0] for row in copy.execute("SELECT title FROM tasks")} == {"before", "in the log"}
    first.ask(REFUSED)
    assert sorted(house.home.glob("*.bak")) == [backup]
    assert list(house.home.glob("*.partial")) == []


# --- when, and when not -----------------------------------------------------------------------------------------------


def test_the_plugin_replaces_them_when_the_host_loads_it(house: House) -> None:
    """As in every real process: register() first, the board module later."""
    plugins = {"enabled": ["hermes-kanban"]}
    (house.home / "config.yaml").write_text(json.dumps({"plugins": plugins}), encoding="utf-8")
    process = house.host("from hermes_cli.plugins import get_plugin_manager; import sys")
    process.ask("get_plugin_manager().discover_and_load()")
    process.ask(PREAMBLE.format(checks=CHECKS))
    assert process.ask("replaced()") == list(CHECKS)


def test_they_are_replaced_in_the_shell_too(house: House) -> None:
    """``hermes kanban`` loads no plugin; what setup puts into the environment does it, where we are enabled."""
    plugins = {"enabled": ["hermes-kanban"]}
    (house.home / "config.yaml").write_text(json.dumps({"plugins": plugins}), encoding="utf-8")
    process = house.host("from hermes_kanban_plugin import boot; boot.install()")
    process.ask("kanban('create', 'in the shell')")
    assert house.titles() == {"in the shell"}
    process.ask(PREAMBLE.format(checks=CHECKS))
    assert process.ask("replaced()") == list(CHECKS)


def test_replacing_twice_changes_nothing(house: House) -> None:
    process = start(house)
    process.ask("once = [getattr(kb, name) for name in CHECKS]; file_check.install(None)")
    assert process.ask("once == [getattr(kb, name) for name in CHECKS]") is True
    assert process.ask("[replaced(), said]") == [list(CHECKS), []]


OTHER = """
import inspect, sys
source = inspect.getsource(kb._check_file_length_invariant)
open("other.py", "w").write("import os, sqlite3\\n" + source + "    return\\n")
sys.path.insert(0, "")
import other
kb._check_file_length_invariant = other._check_file_length_invariant
"""
WRAPPED = """
import functools
whole = kb._check_file_length_invariant
@functools.wraps(whole)
def wrapper(conn):
    return whole(conn)
kb._check_file_length_invariant = wrapper
"""
NO_FUNCTION = "kb._check_file_length_invariant = sorted"


@pytest.mark.parametrize("replace", [OTHER, WRAPPED, NO_FUNCTION], ids=["changed", "wrapped", "no function"])
def test_unknown_code_is_left_alone_and_named(house: House, replace: str) -> None:
    process = house.host(PREAMBLE.format(checks=CHECKS))
    process.ask(replace)
    process.ask("unknown = kb._check_file_length_invariant; file_check.install(None)")
    assert process.ask("kb._check_file_length_invariant is unknown") is True
    assert process.ask("replaced()") == list(CHECKS[1:])
    ((level, text),) = process.ask("said")
    assert level == "WARNING"
    assert "_check_file_length_invariant" in text
    assert "hermes-kanban doctor" in text


def configure(house: House, value: Any) -> None:
    document = {"plugins": {"entries": {"hermes-kanban": {"guard_file_check": value}}}}
    (house.home / "config.yaml").write_text(json.dumps(document), encoding="utf-8")


@pytest.mark.parametrize(
    ("variable", "key", "expected"),
    [
        ("off", None, NONE),
        (None, False, NONE),
        (None, "off", NONE),
        ("on", False, CHECKS),  # the variable wins
        (None, True, CHECKS),
        ("sometimes", None, CHECKS),  # neither on nor off: as if nothing was said
    ],
)
def test_the_switch(house: House, variable: str | None, key: Any, expected: tuple[str, ...]) -> None:
    if variable is not None:
        house.environment["HERMES_KANBAN_PLUGIN_GUARD_FILE_CHECK"] = variable
    if key is not None:
        configure(house, key)
    assert start(house).ask("replaced()") == list(expected)


def test_the_switch_is_read_in_the_profile_of_the_process(house: House) -> None:
    configure(house, False)
    profile = house.home / "profiles" / "worker"
    profile.mkdir(parents=True)
    house.environment["HERMES_HOME"] = str(profile)
    assert start(house).ask("replaced()") == list(CHECKS)


# --- what a doctor can ask --------------------------------------------------------------------------------------------


def test_the_state_is_told_without_importing_the_host() -> None:
    assert state_of_installed_host() == FileChecks(State.REPLACED, tuple(sorted(CHECKS, key=DEFINED.index)))
    code = "import sys; from hermes_kanban_plugin.host import file_check as f; f.state_of_installed_host(); "
    code += "sys.exit(any(name.partition('.')[0] == 'hermes_cli' for name in sys.modules))"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


DEFINED = ["_validate_sqlite_header", "_backup_corrupt_db", "_check_file_length_invariant"]  # their order in the file


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        (None, FileChecks(State.NO_HOST)),
        ("def connect(): ...\n", FileChecks(State.HARMLESS)),
        (
            "def _validate_sqlite_header(path):\n    path.open()\n",
            FileChecks(State.UNKNOWN, ("_validate_sqlite_header",)),
        ),
        (
            "from hermes_cli.elsewhere import _backup_corrupt_db\n",
            FileChecks(State.UNKNOWN, ("_backup_corrupt_db",)),
        ),
    ],
)
def test_the_state_of_another_host(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str | None, expected: FileChecks
) -> None:
    package = tmp_path / "site" / "hermes_cli"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    if source is not None:
        (package / "kanban_db.py").write_text(source)
    monkeypatch.syspath_prepend(str(package.parent))
    assert state_of_installed_host() == expected
