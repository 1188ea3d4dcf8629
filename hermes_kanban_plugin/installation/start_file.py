"""The start-up file that puts our words into ``hermes kanban``: where it goes, what it says, who removes it.

Python runs the one line of such a file at its start. Ours does nothing unless the process is a ``hermes kanban``, and
nothing ever gets out of it: not an error, not a word. It stands in the RECORD of our distribution, so that
uninstalling that removes it too. Rule source: docs/adr/0011-shell-words.md.
"""

from __future__ import annotations

import base64
import hashlib
import os
import site
import sysconfig
from importlib.metadata import Distribution
from pathlib import Path
from typing import NamedTuple

from hermes_kanban_plugin import host
from hermes_kanban_plugin.installation.files import Snapshot, look

NAME = "hermes_kanban.pth"
DISTRIBUTION = "hermes-kanban-plugin"
_MARK = "hermes_kanban_plugin.boot"
_MODE = 0o644
_CONDITION = (
    '"kanban" in sys.orig_argv and any(word.rpartition("/")[2] == "hermes" or word.startswith("hermes_cli") '
    "for word in sys.orig_argv[1:6])"
)
_RUN = "import hermes_kanban_plugin.boot\n {margin}hermes_kanban_plugin.boot.install()\n"


class Environment(NamedTuple):
    """The Python environment that runs Hermes: where its start-up files are, and how we are installed in it.

    ``record`` is the RECORD of our distribution; ``clone`` is the folder of a directory install, which has none.
    ``scripts`` is where the environment has its programs, or None where ours would not run as one.
    """

    folder: Path
    record: Path | None
    clone: Path | None
    scripts: Path | None = None


def find() -> Environment:
    """Return the environment of this interpreter."""
    folders = _site_folders()
    for distribution in Distribution.discover(name=DISTRIBUTION, path=[str(folder) for folder in folders]):
        record = distribution.locate_file("") / Path(getattr(distribution, "_path", "")).name / "RECORD"
        return Environment(Path(str(record)).parent.parent, Path(str(record)), None, _scripts())
    return Environment(folders[0], None, Path(__file__).resolve().parents[2], _scripts())


def runs_the_host() -> bool:
    """Say whether this interpreter is the one that runs Hermes."""
    return host.is_installed()


def _scripts() -> Path | None:
    return Path(sysconfig.get_path("scripts")) if os.name == "posix" else None


def _site_folders() -> list[Path]:
    """Return the folders whose start-up files this interpreter reads, the main one first."""
    named = [sysconfig.get_path("purelib"), sysconfig.get_path("platlib"), *site.getsitepackages()]
    if site.ENABLE_USER_SITE:
        named.append(site.getusersitepackages())
    return [Path(one) for one in dict.fromkeys(named) if os.path.isdir(one)] or [Path(named[0])]


def line_for(environment: Environment) -> str:
    """Return the file's content; with a clone its folder is looked in last, so that a distribution wins over it.

    A distribution is uninstalled together with the file. A clone is not: when its folder is gone, the file goes too,
    with the next ``hermes kanban``.
    """
    if environment.clone is None:
        code = f"try:\n {_RUN.format(margin='')}except Exception:\n pass"
    else:
        clone, own = str(environment.clone), str(environment.folder / NAME)
        code = (
            f"try:\n sys.path.append({clone!r})\n try:\n  {_RUN.format(margin=' ')} except ImportError:\n"
            f"  import os\n  os.path.lexists({clone!r}) or os.remove({own!r})\n finally:\n"
            f"  sys.path.remove({clone!r})\nexcept Exception:\n pass"
        )
    return f"import sys; {_CONDITION} and exec({code!a})\n"


def look_at(environment: Environment) -> Snapshot:
    """Return the start-up file as it is now."""
    return look(environment.folder / NAME, _MODE)


def is_ours(seen: Snapshot) -> bool:
    """Say whether a file is a start-up file of ours, of whatever version."""
    return seen.content is not None and _MARK.encode() in seen.content


def with_record(record: bytes, content: bytes) -> bytes:
    """Return a RECORD that names the start-up file with this content."""
    text = without_record(record).decode("utf-8")
    newline = "\r\n" if "\r\n" in text else "\n"
    if text and not text.endswith("\n"):
        text += newline
    return f"{text}{_entry(content)}{newline}".encode()


def without_record(record: bytes) -> bytes:
    """Return a RECORD that does not name the start-up file."""
    lines = record.decode("utf-8").splitlines(keepends=True)
    return "".join(line for line in lines if not line.startswith(f"{NAME},")).encode()


def _entry(content: bytes) -> str:
    digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
    return f"{NAME},sha256={digest},{len(content)}"
