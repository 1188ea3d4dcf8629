"""What the demo's workers do: real work on real files. Each is a process of its own, started by a supervisor.

Usage: ``jobs.py VERB SOURCE_FOLDER``; the working folder is shared by all jobs. Standard library only.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import re
import subprocess
import sys
import tarfile
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

SLOW_SECONDS = {"index": 3.0, "words": 2.0, "merge": 2.0}


def collect(source: Path) -> str:
    """Copy the sources, so that all jobs see the same files."""
    files = sorted(source.rglob("*.py"))
    for path in files:
        target = Path("sources") / path.relative_to(source)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(path.read_bytes())
    return f"collected {len(files)} files"


def compress(_: Path) -> str:
    """Pack the sources."""
    with tarfile.open("sources.tar.gz", "w:gz") as archive:
        archive.add("sources")
    return f"packed {Path('sources.tar.gz').stat().st_size} bytes"


def checksum(_: Path) -> str:
    """Write the SHA-256 of every file."""
    sums = {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in _files()}
    Path("checksums.json").write_text(json.dumps(sums, indent=1))
    return f"checksums of {len(sums)} files"


def lines(_: Path) -> str:
    """Count the lines of every file."""
    counts = {str(path): len(path.read_text().splitlines()) for path in _files()}
    Path("lines.json").write_text(json.dumps(counts))
    return f"{sum(counts.values())} lines in {len(counts)} files"


def words(_: Path) -> str:
    """Count the words of all files, slowly."""
    time.sleep(SLOW_SECONDS["words"])
    counts = Counter(word for path in _files() for word in re.findall(r"[a-z]{4,}", path.read_text().lower()))
    Path("words.json").write_text(json.dumps(counts.most_common(50)))
    return f"{len(counts)} words, most often {counts.most_common(1)[0][0]!r}"


def index(_: Path) -> str:
    """Build an index of names, slowly and step by step, so that there is time to be killed in the middle."""
    files, found = _files(), {}
    for number, path in enumerate(files, 1):
        found[str(path)] = re.findall(r"^(?:def|class) (\w+)", path.read_text(), re.MULTILINE)
        Path("index.part").write_text(json.dumps(found))
        time.sleep(SLOW_SECONDS["index"] / len(files))
        if number % 20 == 0:
            print(f"indexed {number} of {len(files)}", flush=True)
    Path("index.part").replace("index.json")
    return f"indexed {sum(map(len, found.values()))} names"


def review(_: Path) -> str:
    """Ask a person once; go on when the task was opened again."""
    asked = Path("review.asked")
    if not asked.exists():
        asked.touch()
        task_id = os.environ["HERMES_KANBAN_TASK"]
        command = [sys.executable, "-m", "hermes_kanban_plugin.cli.main", "block", task_id, "--kind", "needs_input"]
        subprocess.run([*command, "may this be published?"], check=True)
        return "asked"
    return "a person said yes"


def verify(_: Path) -> str:
    """Unpack the archive in memory and compare it with the checksums."""
    sums = json.loads(Path("checksums.json").read_text())
    with tarfile.open("sources.tar.gz") as archive:
        for name, wanted in sums.items():
            stream = archive.extractfile(name)
            if stream is None or hashlib.sha256(stream.read()).hexdigest() != wanted:
                raise SystemExit(f"{name} differs from its checksum")
    return f"archive and checksums agree on {len(sums)} files"


def merge(_: Path) -> str:
    """Put all results together, slowly."""
    time.sleep(SLOW_SECONDS["merge"])
    names = ("checksums", "lines", "words", "index")
    report = {name: json.loads(Path(f"{name}.json").read_text()) for name in names}
    with gzip.open("report.json.gz", "wt") as stream:
        json.dump(report, stream)
    return f"merged {len(names)} results"


def publish(_: Path) -> str:
    """Check that the report can be read back."""
    with gzip.open("report.json.gz", "rt") as stream:
        report = json.load(stream)
    return f"published a report on {len(report['lines'])} files"


def _files() -> list[Path]:
    return sorted(Path("sources").rglob("*.py"))


JOBS: dict[str, Callable[[Path], str]] = {
    job.__name__: job for job in (collect, compress, checksum, lines, words, index, review, verify, merge, publish)
}


if __name__ == "__main__":
    print(JOBS[sys.argv[1]](Path(sys.argv[2])))
