"""``python -m bench.pictures``: what an operator sees of a board with trouble, as pictures for the documentation.

A dispatcher with real workers serves a board in a temporary home until it looks like a Monday morning, and is then
killed. Each command runs in a terminal of 80 columns; what it printed becomes ``docs/pictures/NAME.svg`` and ``.txt``.
A line that is wider than the terminal is an error.
"""

from __future__ import annotations

import fcntl
import io
import json
import os
import pty
import re
import signal
import sqlite3
import struct
import subprocess
import sys
import tempfile
import termios
import time
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Iterator

FOLDER = Path(__file__).resolve().parents[1] / "docs" / "pictures"
COLUMNS, LINES = 80, 18
COMMAND = [sys.executable, "-m", "hermes_kanban_plugin.cli.main"]
_CODES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
# How long ago things are made to have happened, seconds.
MINUTE, HOUR = 60, 3600
BEATS = "hermes-kanban heartbeat $HERMES_KANBAN_TASK > /dev/null; sleep 3000"
LANES = {
    "coder": BEATS,
    "writer": BEATS,
    "tester": "echo 'E   AssertionError: 3 of 41 invoices are rounded the wrong way'; exit 1",
    "clerk": "true",
}


def main() -> int:
    """Make every picture; returns 1 if one has a line that is too wide."""
    FOLDER.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="hermes-") as folder:
        home = Path(folder) / ".hermes"
        home.mkdir()
        environment = {name: value for name, value in os.environ.items() if not name.startswith("HERMES_")}
        environment |= {
            "HOME": folder, "HERMES_HOME": str(home), "TERM": "xterm-256color", "COLUMNS": str(COLUMNS),
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}", "USER": "ana", "LOGNAME": "ana",
        }  # fmt: skip
        with _monday_morning(home, environment) as tasks:
            wide = [
                _draw("status", ["status"], folder, environment),
                _draw("why", ["why", tasks["blocked child"]], folder, environment, ["why", tasks["typo"]]),
                _draw("doctor", ["doctor"], folder, environment),
                _draw("watch", ["watch"], folder, environment, keys="q"),
                _draw("stats", ["stats"], folder, environment),
            ]
    return 1 if any(wide) else 0


# --- the board -----------------------------------------------------------------------------------------------------


@contextmanager
def _monday_morning(home: Path, environment: dict[str, str]) -> Iterator[dict[str, str]]:
    """Give a board with trouble: two workers at work, a broken task, a question, a typo, and a dead dispatcher."""
    lanes = {name: {"command": ["sh", "-c", line]} for name, line in LANES.items()}
    entry = {"lanes": lanes, "retry_base_seconds": 1, "retry_cap_seconds": 1, "allow_tool_override": True}
    plugins = {"enabled": ["hermes-kanban"], "entries": {"hermes-kanban": entry}}
    document = {"kanban": {"max_in_progress": 4}, "plugins": plugins}
    (home / "config.yaml").write_text(json.dumps(document), encoding="utf-8")

    def run(*words: str) -> str:
        return subprocess.run([*COMMAND, *words], env=environment, capture_output=True, text=True, check=True).stdout

    def create(title: str, *words: str) -> str:
        return str(json.loads(run("create", title, *words, "--json"))["id"])

    tasks = {
        "done 1": create("Collect last month's receipts", "--assignee", "clerk"),
        "done 2": create("Sort the support inbox", "--assignee", "clerk"),
        "broken": create("Check the rounding of invoices", "--assignee", "tester"),
        "running 1": create("Migrate the billing tables", "--assignee", "coder", "--priority", "2"),
        "running 2": create("Write the release notes for 0.2", "--assignee", "writer"),
        "question": create("Pick the region of the backup", "--initial-status", "blocked", "--created-by", "ana"),
        "typo": create("Translate the invoices into Polish", "--assignee", "translater"),
    }
    tasks["blocked child"] = create("Send the invoices", "--assignee", "clerk", "--parent", tasks["broken"])
    tasks["child"] = create("Review the migration", "--assignee", "coder", "--parent", tasks["running 1"])
    dispatcher = subprocess.Popen([*COMMAND, "dispatcher"], env=environment, stdout=subprocess.DEVNULL,
                                  stderr=subprocess.DEVNULL)  # fmt: skip
    try:
        _wait(home, {"broken": "blocked", "done 1": "done", "done 2": "done", "running 1": "running",
                     "running 2": "running"}, tasks)  # fmt: skip
        dispatcher.send_signal(signal.SIGKILL)
        dispatcher.wait()
        _age(home, tasks)
        yield tasks
    finally:
        dispatcher.kill()
        dispatcher.wait()
        for name in ("running 1", "running 2"):
            run("stop", tasks[name])
        _wait_for_supervisors(home)


def _wait(home: Path, wanted: dict[str, str], tasks: dict[str, str]) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        with closing(sqlite3.connect(home / "kanban.db")) as board:
            found = dict(board.execute("SELECT id, status FROM tasks"))
            beats = board.execute("SELECT count(*) FROM tasks WHERE last_heartbeat_at IS NOT NULL").fetchone()[0]
        if beats == 2 and all(found[tasks[name]] == status for name, status in wanted.items()):
            return
        time.sleep(0.1)
    raise SystemExit(f"the board did not come to what it should show: {found}")


def _wait_for_supervisors(home: Path) -> None:
    """Wait until the workers' supervisors have written their last row, so that the home can be removed."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        with closing(sqlite3.connect(home / "kanban.db")) as board:
            if not board.execute("SELECT 1 FROM kp_runs WHERE accepted_at IS NOT NULL AND ended_at IS NULL").fetchone():
                return
        time.sleep(0.1)


def _age(home: Path, tasks: dict[str, str]) -> None:
    """Let things have happened a while ago: what is shown are ages, and a real one would take until noon."""
    ago = {
        "done 1": 9 * HOUR, "done 2": 8 * HOUR, "broken": 5 * HOUR, "running 1": 47 * MINUTE,
        "running 2": 12 * MINUTE, "question": 26 * HOUR, "typo": 3 * HOUR, "blocked child": 5 * HOUR,
        "child": 47 * MINUTE,
    }  # fmt: skip
    with closing(sqlite3.connect(home / "kanban.db", isolation_level=None)) as board:
        for name, seconds in ago.items():
            values = {"id": tasks[name], "ago": seconds, "took": 19 * MINUTE}
            board.execute("UPDATE tasks SET created_at = created_at - :ago - :took, started_at = started_at - :ago, "
                          "completed_at = completed_at - :ago + :took WHERE id = :id", values)  # fmt: skip
            board.execute("UPDATE task_runs SET started_at = started_at - :ago, "
                          "ended_at = ended_at - :ago + :took WHERE task_id = :id", values)  # fmt: skip
            board.execute("UPDATE task_events SET created_at = created_at - :ago WHERE task_id = :id", values)
            board.execute("UPDATE task_events SET created_at = created_at + :took WHERE task_id = :id "
                          "AND kind IN ('completed', 'crashed', 'gave_up')", values)  # fmt: skip
        _renumber(board)
        board.execute("UPDATE tasks SET last_heartbeat_at = last_heartbeat_at - 40 WHERE status = 'running'")
        board.execute("UPDATE kp_dispatchers SET began_at = began_at - 93600, last_tick_at = last_tick_at - 240")


def _renumber(board: sqlite3.Connection) -> None:
    """Put the history in the order of its times, as a history is."""
    columns = "task_id, run_id, kind, payload, created_at"
    rows = board.execute(f"SELECT {columns} FROM task_events ORDER BY created_at, id").fetchall()
    board.execute("DELETE FROM task_events")
    board.executemany(f"INSERT INTO task_events ({columns}) VALUES (?, ?, ?, ?, ?)", rows)


# --- the pictures --------------------------------------------------------------------------------------------------


def _draw(
    name: str, words: list[str], home: str, environment: dict[str, str], *more: list[str], keys: str = ""
) -> bool:
    """Run commands in a terminal and keep what was seen; says whether a line was too wide."""
    console = Console(record=True, width=COLUMNS, file=io.StringIO(), force_terminal=True, color_system="truecolor")
    wide = False
    for number, arguments in enumerate([words, *more]):
        printed = _in_a_terminal(arguments, environment, keys).replace(home, "~")
        wide = wide or _is_wide(name, printed)
        if number:
            console.print()
        console.print(Text(f"$ hermes-kanban {' '.join(arguments)}", style="bold"))
        console.print(Text.from_ansi(printed.rstrip()), end="\n", no_wrap=True, crop=False)
    console.print()  # the picture's lower edge would cut the last line's descenders
    title = f"hermes-kanban {words[0]}"
    (FOLDER / f"{name}.txt").write_text(_stripped(console.export_text(clear=False)), encoding="utf-8")
    (FOLDER / f"{name}.svg").write_text(_plain_fonts(console.export_svg(title=title)), encoding="utf-8")
    print(f"{name}: {len(printed.splitlines())} lines")
    return wide


def _in_a_terminal(words: list[str], environment: dict[str, str], keys: str) -> str:
    leader, follower = pty.openpty()
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", LINES, COLUMNS, 0, 0))
    process = subprocess.Popen([*COMMAND, *words], stdin=follower, stdout=follower, stderr=follower, env=environment)
    os.close(follower)
    printed, pressed = b"", False
    while True:
        try:
            chunk = os.read(leader, 65_536)
        except OSError:
            break
        if not chunk:
            break
        printed += chunk
        if keys and not pressed and b"q quit" in printed:
            os.write(leader, keys.encode())
            pressed = True
    process.wait()
    os.close(leader)
    text = printed.decode().replace("\r\n", "\n")
    return text if not keys else _last_frame(text)


def _last_frame(text: str) -> str:
    """Return the picture that a live display drew last, without the codes that move the cursor."""
    frames = [frame for frame in text.split("\x1b[H") if "q quit" in frame]
    return re.sub(r"\x1b\[[0-9;?]*[A-LN-Za-z]", lambda code: code[0] if code[0].endswith("m") else "", frames[-1])


def _is_wide(name: str, printed: str) -> bool:
    wide = [line for line in _CODES.sub("", printed).splitlines() if cell_len(line.rstrip()) > COLUMNS]
    for line in wide:
        print(f"{name}: {cell_len(line)} columns: {line}", file=sys.stderr)
    return bool(wide)


def _stripped(text: str) -> str:
    return "\n".join(line.rstrip() for line in text.splitlines()).rstrip() + "\n"


def _plain_fonts(svg: str) -> str:
    """Take the fonts out that would be fetched from elsewhere; the picture is shown in the reader's own."""
    return re.sub(r"@font-face\s*\{.*?\}\s*", "", svg, flags=re.DOTALL).replace("Fira Code, monospace", "monospace")


if __name__ == "__main__":
    sys.exit(main())
