"""``python -m bench.bench_register [--trials N] [--json FILE]``: what our plugin costs a Hermes process at its start.

Each trial is a real process of the host, a chat or a worker, that is ended as soon as it has loaded us. Measured are
``register()`` alone, with what each part takes of it, and all that the host does to load us. Needs the host.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from hermes_kanban_plugin.clock import Clock
from hermes_kanban_plugin.testing import claim_one, make_board

TARGET_MS = 25.0  # DESIGN.md section 4
# Runs in the host's process before its main(): looks at how it loads us, then ends it.
WATCH = """
import json, os, sys, time
from hermes_kanban_plugin.imports import after_import

times = {}

def watch_loading(plugins):
    load = plugins.PluginManager._load_plugin
    def timed(self, manifest):
        began = time.perf_counter()
        load(self, manifest)
        if "register" in times:
            times["load"] = time.perf_counter() - began
            print(json.dumps(times), flush=True)
            os._exit(0)
    plugins.PluginManager._load_plugin = timed

def watch_register(registration):
    register, find = registration.register, registration.import_module
    class Part:
        def __init__(self, name):
            self.name = name
        def install(self, ctx):
            began = time.perf_counter()
            try:
                find(self.name).install(ctx)
            finally:
                times[self.name.removeprefix("hermes_kanban_plugin.")] = time.perf_counter() - began
    registration.import_module = Part
    def timed(ctx):
        began = time.perf_counter()
        register(ctx)
        times["register"] = time.perf_counter() - began
    registration.register = timed

after_import("hermes_cli.plugins", "bench", watch_loading)
after_import("hermes_kanban_plugin.registration", "bench", watch_register)
sys.argv = ["hermes", *sys.argv[1:]]
from hermes_cli.main import main
main()
"""


def main() -> int:
    """Run the trials and print a table; returns 0."""
    parser = argparse.ArgumentParser(prog="python -m bench.bench_register", description=__doc__)
    parser.add_argument("--trials", type=int, default=10)
    parser.add_argument("--json", metavar="FILE", help="write the figures there")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="hk-bench-") as folder:
        figures = {role: _figures(Path(folder), role, args.trials) for role in ("chat", "worker")}
    for role, measured in figures.items():
        print(f"{role}, milliseconds (median, largest); the target for register is {TARGET_MS:.0f}")
        for name, (median, largest) in measured.items():
            print(f"  {name:32}{median:8.1f}{largest:8.1f}")
    if args.json:
        Path(args.json).write_text(json.dumps(figures, indent=1), encoding="utf-8")
    return 0


def _figures(folder: Path, role: str, trials: int) -> dict[str, tuple[float, float]]:
    home = folder / role
    home.mkdir()
    enabled = {"plugins": {"enabled": ["hermes-kanban"], "entries": {"hermes-kanban": {"allow_tool_override": True}}}}
    (home / "config.yaml").write_text(json.dumps(enabled), encoding="utf-8")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("HERMES", "_HERMES"))}
    environment = kept | {
        "HOME": str(folder),
        "HERMES_HOME": str(home),
        "HERMES_MANAGED_DIR": str(folder / "managed"),
        "HERMES_DISABLE_LAZY_INSTALLS": "1",
    }
    words = ["chat", "-q", "hello"]
    if role == "worker":
        with make_board(home / "kanban.db", Clock()) as board:
            lease = claim_one(board, board.create_task(title="x", assignee="worker"), seconds=3600, lane="hermes")
        environment |= {
            "HERMES_KANBAN_TASK": lease.task_id,
            "HERMES_KANBAN_RUN_ID": str(lease.run_id),
            "HERMES_KANBAN_CLAIM_LOCK": lease.lock,
        }
        words = ["--cli", "chat", "-q", f"work kanban task {lease.task_id}"]
    # The first one compiles.
    samples = [_trial(words, environment, home) for _ in range(trials + 1)][1:]
    return {
        name: (
            round(statistics.median(sample[name] for sample in samples) * 1000, 1),
            round(max(sample[name] for sample in samples) * 1000, 1),
        )
        for name in samples[0]
    }


def _trial(words: list[str], environment: dict[str, str], home: Path) -> dict[str, float]:
    done = subprocess.run(
        [sys.executable, "-c", WATCH, *words], env=environment, cwd=home, stdin=subprocess.DEVNULL,
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    times: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return times


if __name__ == "__main__":
    sys.exit(main())
