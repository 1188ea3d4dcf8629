"""What can be wrong with an installation, as findings: each with what shows it and the command that mends it.

Nothing is changed. What is wrong on a board itself is not looked for here.
"""

from __future__ import annotations

import os
import re
import shutil
import sqlite3
import subprocess
from importlib.metadata import Distribution, PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from hermes_kanban_plugin import __version__, host, locations, requirements
from hermes_kanban_plugin.clock import Clock
from hermes_kanban_plugin.configuration import PLUGIN_ID, load
from hermes_kanban_plugin.diagnosis.finding import Finding, Level, worst_first
from hermes_kanban_plugin.diagnosis.ground import NETWORK_FILE_SYSTEMS, has_log_defect
from hermes_kanban_plugin.dispatch import standing
from hermes_kanban_plugin.errors import InvalidSettings, KanbanError, SetupRefused
from hermes_kanban_plugin.host import file_check, patch_targets
from hermes_kanban_plugin.installation import enabling, files, folder, homes, start_file, tab
from hermes_kanban_plugin.store import connection

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hermes_kanban_plugin.installation.homes import Home
    from hermes_kanban_plugin.locations import BoardLocation

SETUP = "hermes-kanban setup"
RESTART = "hermes gateway restart"
_COMMAND_SECONDS = 10.0
_SWITCHES = (
    "guard_file_check", "take_over_dispatcher", "bridge_activity", "fence_failures", "fence_blocks",
    "fence_subagents", "release_on_signal", "note_limits", "fence_attachments", "extend_kanban_command",
)  # fmt: skip


def run(board: str | None) -> list[Finding]:
    """Return everything that is found, the worst first.

    Args:
        board: look at this board only, or None for all.

    Raises:
        InvalidArgument, UnknownBoard: there is no such board.
    """
    root = locations.kanban_root()
    boards = [locations.locate_existing(board)] if board else locations.serving_boards(root)
    found = [
        *_homes(),
        *_words(),
        *_versions(),
        *_host(),
        *_settings(root),
        *_dispatcher(root, boards),
        *(one for location in boards for one in _board(location)),
        *_sqlite(),
    ]
    return worst_first(found)


def is_problem(finding: Finding) -> bool:
    """Say whether a finding makes the exit status 1: something does not work, and not only might be better."""
    return finding.level.rank >= Level.ERROR.rank


# --- Hermes --------------------------------------------------------------------------------------------------------


def _homes() -> Iterator[Finding]:
    for home in homes.find(locations.hermes_root()):
        yield from _home(home)


def _home(home: Home) -> Iterator[Finding]:
    evidence = {"profile": home.profile, "path": str(home.config)}
    where = "the root home" if home.profile == homes.ROOT_PROFILE else f"profile {home.profile}"
    try:
        traces = enabling.read(files.look(home.config).text)
    except SetupRefused as problem:
        named = str(problem) if str(home.config) in str(problem) else f"{home.config}: {problem}"
        yield Finding(
            kind="config_unreadable", level=Level.ERROR, sentence=f"{where}: {named}", evidence=evidence,
            fix="correct the file; setup changes nothing in one that it cannot read",
        )  # fmt: skip
        return
    if not traces.enabled or traces.disabled:
        yield Finding(
            kind="plugin_not_enabled", level=Level.ERROR, evidence=evidence, fix=SETUP,
            sentence=f"{where} does not load the plugin, so Hermes runs there without it",
        )  # fmt: skip
    elif not traces.allows_override:
        yield Finding(
            kind="tool_override_missing", level=Level.ERROR, evidence=evidence, fix=SETUP,
            sentence=f"{where} loads the plugin, which may not replace the kanban tools there",
        )  # fmt: skip
    if not start_file.runs_the_host():
        return
    clone = start_file.find().clone
    if clone is not None and folder.needs_link(home, clone, None):
        yield Finding(
            kind="plugin_folder_missing", level=Level.ERROR, fix=SETUP,
            evidence={"profile": home.profile, "path": str(folder.place_in(home)), "link": folder.leads_to(home)},
            sentence=f"{where} does not find the plugin's folder, so Hermes runs there without it",
        )  # fmt: skip
    if clone is None and not tab.is_linked(home):
        yield Finding(
            kind="dashboard_tab_missing", level=Level.WARNING, fix=SETUP,
            evidence={"profile": home.profile, "path": str(tab.place_in(home))},
            sentence=f"{where}: hermes dashboard has no tab of ours",
        )  # fmt: skip


def _words() -> Iterator[Finding]:
    if not start_file.runs_the_host():
        yield Finding(
            kind="host_missing", level=Level.INFO, sentence="this Python does not run Hermes; only command lanes work",
            fix="pip install hermes-kanban-plugin, with the Python that runs Hermes",
        )  # fmt: skip
        return
    environment = start_file.find()
    seen = start_file.look_at(environment)
    if seen.content != start_file.line_for(environment).encode():
        yield Finding(
            kind="shell_words_missing", level=Level.WARNING, evidence={"path": str(seen.path)}, fix=SETUP,
            sentence="hermes kanban in the shell has no words of ours (hermes-kanban has them)",
        )  # fmt: skip


def _versions() -> Iterator[Finding]:
    """Compare the parts that may come from different installations."""
    environment = start_file.find()
    parts: dict[str, str] = {}
    again = requirements.pip("install", "-U", requirements.DISTRIBUTION)
    if environment.record is not None:
        parts["installed distribution"] = Distribution.at(environment.record.parent).version
    script = shutil.which(PLUGIN_ID)
    if script is not None:
        parts[script] = _version_of(script)
    manifest = str(locations.hermes_root() / "plugins" / PLUGIN_ID / "plugin.yaml")
    if os.path.isfile(manifest):
        named = re.search(rb"^version:\s*[\"']?([\w.+-]+)", files.look(Path(manifest)).content or b"", re.MULTILINE)
        parts[manifest] = named[1].decode() if named else "unknown"
    for part, found in parts.items():
        if found != __version__:
            yield Finding(
                kind="version_mismatch", level=Level.ERROR,
                fix=again if part != manifest else f"hermes plugins update {PLUGIN_ID}",
                sentence=f"{part} is version {found}, and this is {__version__}",
                evidence={"part": part, "found": found},
            )  # fmt: skip


def _version_of(script: str) -> str:
    try:
        done = subprocess.run(
            [script, "--version"], capture_output=True, text=True, timeout=_COMMAND_SECONDS, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return "unknown (it does not run)"
    return done.stdout.split()[-1] if done.stdout.split() else "unknown"


def _host() -> Iterator[Finding]:
    try:
        found = version("hermes-agent")
    except PackageNotFoundError:
        return
    if not host.is_tried(found):
        yield Finding(
            kind="host_version_unknown", level=Level.WARNING, evidence={"found": found},
            sentence=f"Hermes {found} is none of the versions that the plugin was tried with ({host.tried_versions()})",
            fix=requirements.pip("install", "-U", requirements.DISTRIBUTION),
        )  # fmt: skip
    checks = file_check.state_of_installed_host()
    if checks.state is file_check.State.UNKNOWN:
        names = ", ".join(checks.functions)
        yield Finding(
            kind="file_check_unknown", level=Level.WARNING, evidence={"functions": list(checks.functions)},
            sentence=f"{names} of this Hermes may drop SQLite's locks and are not known, so they were left alone",
            fix="keep a dispatcher of ours running: hermes-kanban status",
        )  # fmt: skip
    for target in patch_targets.unknown(missing_too=not host.is_tried(found)):
        yield Finding(
            kind="patch_target_unknown", level=Level.WARNING,
            evidence={"module": target.module, "function": target.name, "switch": target.switch},
            sentence=f"{target.name} of {target.module} is not what {target.switch} replaces, so it was left alone",
            fix=requirements.pip("install", "-U", requirements.DISTRIBUTION),
        )  # fmt: skip


def _settings(root: Path) -> Iterator[Finding]:
    try:
        loaded = load(root)
    except InvalidSettings as problem:
        yield Finding(
            kind="settings_invalid", level=Level.ERROR, sentence=" ".join(str(problem).split()),
            evidence={"path": str(locations.settings_file(root))},
            fix="correct it; a running dispatcher goes on with the last good ones and takes it over at once",
        )  # fmt: skip
        return
    for words in loaded.ignored:
        yield Finding(
            kind="settings_ignored", level=Level.WARNING, evidence={"path": str(locations.settings_file(root))},
            sentence=f"section kanban: the default counts for {words}", fix="correct it; it is taken over at once",
        )  # fmt: skip
    for name in _SWITCHES:
        if not getattr(loaded.plugin, name):
            yield Finding(
                kind="switched_off", level=Level.INFO, sentence=f"{name} is switched off", evidence={"key": name}
            )


# --- the boards ----------------------------------------------------------------------------------------------------


def _dispatcher(root: Path, boards: list[BoardLocation]) -> Iterator[Finding]:
    found = standing.look(root, boards, Clock().now())
    if not found.serves:
        evidence = {"state": found.state.value, "pid": found.pid, "lock_holder_pid": found.holder}
        sentence, fix = "no dispatcher of ours serves; see: hermes-kanban status", RESTART
        if found.state is standing.State.SILENT:
            fix = f"kill -CONT {found.pid}"
        elif found.state is standing.State.HERMES:
            sentence = f"no dispatcher of ours serves: pid {found.holder}, a Hermes without us, holds the lock"
            fix = f"{SETUP}, then restart that gateway (its command: ps -p {found.holder} -o args)"
        yield Finding(kind="dispatcher_silent", level=Level.ERROR, evidence=evidence, sentence=sentence, fix=fix)


def _board(location: BoardLocation) -> Iterator[Finding]:
    evidence = {"board": location.slug, "path": str(location.database)}
    try:
        reader = connection.open_reader(str(location.database))
        try:
            with connection.translating(str(location.database)):
                said = str(reader.execute("PRAGMA quick_check(1)").fetchone()[0])
        finally:
            reader.close()
    except (KanbanError, sqlite3.Error) as problem:
        yield Finding(
            kind="board_unusable", level=Level.CRITICAL, sentence=" ".join(str(problem).split()), evidence=evidence
        )
        return
    if said != "ok":
        yield Finding(
            kind="board_damaged", level=Level.CRITICAL, evidence=evidence | {"check": said},
            sentence=f"board {location.slug} ({location.database}) is damaged: {said}",
            fix="stop the gateway, keep a copy of the file with its -wal and -shm, restore a backup",
        )  # fmt: skip
    system = _file_system_of(location.database)
    if system in NETWORK_FILE_SYSTEMS:
        yield Finding(
            kind="database_on_network_file_system", level=Level.CRITICAL, evidence=evidence | {"file_system": system},
            sentence=f"board {location.slug} is on {system}, where SQLite cannot keep several writers apart",
            fix="move the kanban home to a local disk: HERMES_KANBAN_HOME",
        )  # fmt: skip


def _file_system_of(path: Path) -> str | None:
    """Return the kind of file system that a file is on, or None when that cannot be seen."""
    try:
        mounts = psutil.disk_partitions(all=True)
    except (OSError, psutil.Error):
        return None
    holding = [mount for mount in mounts if path.resolve().is_relative_to(mount.mountpoint)]
    innermost = max(holding, key=lambda mount: len(mount.mountpoint), default=None)
    return innermost.fstype.lower() if innermost is not None else None


def _sqlite() -> Iterator[Finding]:
    if has_log_defect(sqlite3.sqlite_version_info[:3]):
        yield Finding(
            kind="sqlite_version_risk", level=Level.WARNING, evidence={"found": sqlite3.sqlite_version},
            sentence=f"SQLite {sqlite3.sqlite_version} can, rarely, lose rows when its write-ahead log starts anew",
            fix="use a Python with SQLite 3.51.3 or newer (3.50.7 and 3.44.6 are mended too)",
        )  # fmt: skip
