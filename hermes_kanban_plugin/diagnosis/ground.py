"""What the board stands on: the dispatcher, the clock, SQLite, the file system, the backups. Pure.

Failure modes E1, G2, G7, G11, K3; contract W1.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hermes_kanban_plugin.diagnosis.finding import Finding, Level
from hermes_kanban_plugin.diagnosis.wording import count, own, span
from hermes_kanban_plugin.dispatch.standing import State

if TYPE_CHECKING:
    from hermes_kanban_plugin.diagnosis.facts import BoardFacts, Dispatching

# File systems whose locks do not keep the processes of several machines (or of one) apart as SQLite needs it.
NETWORK_FILE_SYSTEMS = frozenset(
    {
        "nfs", "nfs3", "nfs4", "cifs", "smb", "smb2", "smb3", "smbfs", "afs", "afpfs", "webdav", "davfs", "ncpfs", "9p",
        "ceph", "glusterfs", "lustre", "beegfs", "ocfs2", "gfs2", "orangefs", "drvfs", "wslfs", "lxfs", "vboxsf",
        "vmhgfs", "prl_fs", "fuse.sshfs", "fuse.glusterfs", "fuse.cephfs", "fuse.rclone", "fuse.s3fs", "fuse.gcsfuse",
        "fuse.davfs", "fuse.vmhgfs-fuse", "fuse.grpcfuse", "fakeowner",
    }
)  # fmt: skip
# The write-ahead log could lose committed changes from 3.7.0 on; mended in 3.51.3 and in two older lines (G2).
FIRST_WITH_DEFECT = (3, 7, 0)
MENDED_FROM = (3, 51, 3)
MENDED_LINES = ((3, 44, 6), (3, 50, 7))
# A board gets its first backup within a day, and then one a week at least.
FIRST_BACKUP_SECONDS = 86_400
BACKUP_STALE_SECONDS = 7 * 86_400


def findings(facts: BoardFacts) -> list[Finding]:
    """Return what is wrong below the board."""
    rules = (_silent_dispatcher, _clock, _sqlite, _file_system, _backup, _cut)
    return [found for rule in rules if (found := rule(facts)) is not None]


def has_log_defect(version: tuple[int, int, int]) -> bool:
    """Say whether an SQLite version has the defect that loses committed changes of a board in WAL mode."""
    if version < FIRST_WITH_DEFECT or version >= MENDED_FROM:
        return False
    return not any(version[:2] == line[:2] and version >= line for line in MENDED_LINES)


def _silent_dispatcher(facts: BoardFacts) -> Finding | None:
    state = facts.dispatching
    if state.serves:
        return None
    work = sum(facts.counts.get(status, 0) for status in ("ready", "review", "running", "todo"))
    what, fix = _state_of(state, facts)
    sentence = f"nobody dispatches board {facts.board}: {what}"
    sentence += f"; {count(work, 'task')} cannot go on" if work else "; it has nothing to do either"
    evidence = {"state": str(state.state), "last_tick_at": state.last_tick_at, "pid": state.pid,
                "ended_at": state.ended_at, "unfinished": work}  # fmt: skip
    level = Level.CRITICAL if work else Level.INFO
    return Finding(kind="dispatcher_silent", level=level, sentence=sentence, evidence=evidence, fix=fix)


def _state_of(state: Dispatching, facts: BoardFacts) -> tuple[str, str]:
    """Say how the dispatcher is gone, and how it comes back."""
    start = own("dispatcher")
    age = span(facts.now - state.last_tick_at) if state.last_tick_at is not None else ""
    if state.state is State.SILENT:
        return f"pid {state.pid} lives but has not ticked for {age}", f"kill -CONT {state.pid}"
    if state.state is State.OTHERS:
        return f"the dispatcher, pid {state.pid}, was told to serve another one only", f"kill {state.pid} && {start}"
    if state.state is State.STOPPED:
        return f"the last one was stopped, its last tick was {age} ago", start
    if state.state is State.DEAD:
        return f"pid {state.pid} ended without a word, its last tick was {age} ago", start
    return "none of ours ever did", start


def _clock(facts: BoardFacts) -> Finding | None:
    line = facts.timeline
    said = []
    if line.ahead:
        said.append(f"the newest event is stamped {span(line.ahead)} in the future")
    if line.set_back:
        said.append(f"the clock was set back by {span(line.set_back)} at event {line.at_event}")
    if line.future_tasks:
        were = "was" if line.future_tasks == 1 else "were"
        said.append(f"{count(line.future_tasks, 'task')} {were} created in the future")
    if not said:
        return None
    sentence = f"the clock cannot be trusted: {', and '.join(said)}; leases and waits may be wrong meanwhile"
    return Finding(kind="clock_trouble", level=Level.WARNING, sentence=sentence, evidence=line._asdict(),
                   fix="timedatectl status")  # fmt: skip


def _sqlite(facts: BoardFacts) -> Finding | None:
    machine = facts.machine
    version = ".".join(str(part) for part in machine.sqlite_version)
    if machine.journal_mode != "wal" or not has_log_defect(machine.sqlite_version):
        return None
    sentence = f"SQLite {version} can, rarely, lose rows of a board with a write-ahead log"
    evidence = {"sqlite_version": version, "journal_mode": machine.journal_mode}
    return Finding(kind="sqlite_version_risk", level=Level.WARNING, sentence=sentence, evidence=evidence,
                   fix="use a Python with SQLite 3.51.3 or newer (3.50.7 and 3.44.6 are mended too)")  # fmt: skip


def _file_system(facts: BoardFacts) -> Finding | None:
    machine = facts.machine
    if machine.file_system is None or machine.file_system.lower() not in NETWORK_FILE_SYSTEMS:
        return None
    sentence = (
        f"the board lies on {machine.file_system} ({machine.mount_point}), whose locks do not keep its writers apart; "
        "it will be damaged sooner or later"
    )
    evidence = {"path": machine.path, "file_system": machine.file_system, "mount_point": machine.mount_point}
    return Finding(kind="database_on_network_file_system", level=Level.CRITICAL, sentence=sentence, evidence=evidence,
                   fix="move the kanban home to a local disk: HERMES_KANBAN_HOME")  # fmt: skip


def _backup(facts: BoardFacts) -> Finding | None:
    """Judge the newest backup; a board that is younger than a day has nothing to lose yet."""
    machine, oldest = facts.machine, facts.oldest_task_at
    if machine.backup_folder is None or oldest is None or not facts.unfinished:
        return None
    if facts.now - (oldest if machine.backup_at is None else machine.backup_at) < _patience(machine.backup_at):
        return None
    what = "has no backup"
    if machine.backup_at is not None:
        what = f"was backed up last {span(facts.now - machine.backup_at)} ago"
    evidence = {"backup_at": machine.backup_at, "folder": machine.backup_folder, "oldest_task_at": oldest}
    return Finding(kind="backup_missing", level=Level.WARNING, sentence=f"board {facts.board} {what}",
                   evidence=evidence, fix=own("backup"))  # fmt: skip


def _patience(backup_at: int | None) -> int:
    return FIRST_BACKUP_SECONDS if backup_at is None else BACKUP_STALE_SECONDS


def _cut(facts: BoardFacts) -> Finding | None:
    """Say that a board has more than is looked at, so that nobody takes a short list for all."""
    if not facts.cut:
        return None
    more = " and ".join(facts.cut)
    sentence = f"board {facts.board} has more {more} than are looked at; the first ones were"
    return Finding(kind="looked_at_in_part", level=Level.INFO, sentence=sentence, evidence={"cut": list(facts.cut)})
