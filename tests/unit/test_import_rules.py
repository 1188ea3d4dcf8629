"""The rules of the house that a reader can rely on: who may import whom, and what a module looks like.

``make check`` runs this file alone. Rule source: DESIGN.md section 3, anchors section 5.2.
"""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = "hermes_kanban_plugin"
MAX_LINES = 350

# From the bottom up. A module may import from lower rows, and from its own row as long as no circle arises. A star
# stands for the modules of a folder that are not named.
LAYERS = (
    ("errors", "clock", "testpoints", "imports", "roles", "logbook", "boot", "requirements"),
    ("causes", "breaker", "outages", "handoff", "memory", "quota"),
    ("identity", "redaction", "rules", "hookspecs", "locations", "locks", "settings", "worker_environment"),
    ("configuration", "machine", "checks", "store.attempts"),
    ("worker_logs", "store", "store.statements", "store.transaction", "store.connection", "store.journal"),
    ("store.outages", "store.failures", "store.failure_tables", "store.flags", "store.briefings"),
    ("store.schema", "store.leases", "store.promotion", "store.outcomes", "store.blocks", "store.orphans"),
    ("store.moves",),
    ("store.*", "wake", "processes"),
    ("models",),
    ("store.queries", "workspaces", "artifacts", "manager"),
    ("board", "host", "host.*", "supervisor", "supervisor.*", "service", "gateway", "gateway.*"),
    ("dispatch", "dispatch.*", "lanes", "foreign"),
    ("runtime",),
    ("toolkit", "testing"),
    ("worker", "worker.*", "maintenance", "maintenance.*", "acceptance"),
    ("diagnosis", "diagnosis.*"),
    ("installation", "installation.*", "dashboard", "dashboard.*"),
    ("host.agent_tools", "host.kanban_fence", "host.worker_bridge", "host.bystander"),
    ("registration", "cli.output"),
    ("cli", "cli.*", "tools.*", "hooks.*"),
    ("demo", "demo.*"),
)
BOTTOM = ("errors", "clock")
PURE = ("roles", "worker.activity", "dispatch.reaper", "dispatch.admission", "dispatch.ownership", "rules",
        "supervisor.verdicts", "worker_environment", "causes", "breaker", "outages", "handoff", "memory",
        "diagnosis.answer",
        "diagnosis.facts", "diagnosis.finding", "diagnosis.wording", "diagnosis.endings", "diagnosis.dependencies",
        "diagnosis.failures", "diagnosis.gates", "diagnosis.ground", "diagnosis.readiness", "diagnosis.rulebook",
        "diagnosis.runs", "diagnosis.waiting", "diagnosis.why",
        "dashboard.attention", "dashboard.evidence")  # fmt: skip
IMPURE = {
    "os", "io", "time", "datetime", "sqlite3", "subprocess", "socket", "shutil", "random", "logging", "psutil"
}  # fmt: skip
HOST_TOPS = {"hermes_cli", "hermes_constants", "gateway", "agent", "cron", "providers", "plugins", "tui_gateway",
             "tools", "model_tools", "toolsets", "utils"}  # fmt: skip
# Files that are opened by ``open``: never a board, because closing its descriptor drops SQLite's locks (contract W1).
MAY_OPEN = {
    "artifacts": "files that a worker delivers, and their copies",
    "installation.files": "config.yaml, the start-up file, RECORD, the journal of setup",
    "host.skills": "the heads of SKILL.md files",
    "host.board_file": "boards and their copies; a descriptor of a board is never closed",
    "identity": "process table and machine id",
    "locks": "lock files of their own",
    "testpoints": "flag files of tests",
    "supervisor.worker": "process table, null device",
    "supervisor.output": "worker log, null device",
    "supervisor.sweep": "process table",
    "supervisor.launcher": "worker log",
    "cli.main": "null device",
    "cli.keeping": "a new file for an export, never one that is there",
    "hooks.auto_decompose": "logs of decompositions",
    "maintenance.packing": "attachments, and their copies",
    "demo.jobs": "the demo's own archives and reports",
    "demo.graph": "the demo's own config.yaml",
    "demo.service": "the demo's own dispatcher log",
    "demo.show": "the demo's own dispatcher log",
}
# What reads or writes a whole file without the word open.
MAY_READ_TEXT = {
    "artifacts": "files that a worker delivers, and their copies",
    "host.file_check": "the host's source",
    "host.kanban_words": "config.yaml",
    "host.skills": "the list of bundled skills",
    "host.patch_targets": "the host's source",
    "host.toolsets": "config.yaml",
    "installation.files": "config.yaml, the start-up file, RECORD, the journal of setup",
    "locations": "pointer file and board.json",
    "machine": "the kernel's accounts of memory",
    "service": "unit files of the service manager",
    "configuration": "config.yaml",
    "maintenance.restoring": "board.json",
    "demo.graph": "the demo's own files",
    "demo.jobs": "the demo's own files",
    "demo.show": "the demo's own files",
}
FILE_METHODS = {"read_text", "read_bytes", "write_text", "write_bytes", "copyfile", "copy2", "copytree"}


@cache
def modules() -> dict[str, Path]:
    """Every module of the product by its name below the package."""
    found = {}
    for folder, prefix in ((ROOT / PACKAGE, ""), (ROOT / "tools", "tools."), (ROOT / "hooks", "hooks.")):
        for path in sorted(folder.rglob("*.py")):
            name = prefix + ".".join(path.relative_to(folder).with_suffix("").parts)
            found[name.removesuffix(".__init__")] = path
    return found


@cache
def tree_of(name: str) -> ast.Module:
    return ast.parse(modules()[name].read_text(encoding="utf-8"))


def nodes_at_run_time(node: ast.AST) -> Iterator[ast.AST]:
    """Every node that runs: all but what stands under ``if TYPE_CHECKING``."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and isinstance(child.test, ast.Name) and child.test.id == "TYPE_CHECKING":
            for other in child.orelse:
                yield from nodes_at_run_time(other)
            continue
        yield child
        yield from nodes_at_run_time(child)


def imported_by(nodes: Iterator[ast.AST]) -> set[str]:
    found = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports would give the package a second name in a directory install"
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                found.add(full if full.removeprefix(f"{PACKAGE}.") in modules() else str(node.module))
    return found


def imports_of(name: str) -> set[str]:
    return imported_by(nodes_at_run_time(tree_of(name)))


def own_imports_of(name: str) -> set[str]:
    prefix = f"{PACKAGE}."
    return {target.removeprefix(prefix) for target in imports_of(name) if target.startswith(prefix)}


def all_imports_of(name: str) -> set[str]:
    """Imports of any kind: for types only, and by dotted name through importlib, too."""
    found = imported_by(ast.walk(tree_of(name)))
    for node in ast.walk(tree_of(name)):
        if isinstance(node, ast.Call) and called(node) in ("import_module", "find_spec", "__import__") and node.args:
            first = node.args[0]
            if isinstance(first, ast.Constant):
                found.add(str(first.value))
    return found


def called(node: ast.Call) -> str:
    return node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")


def layer_of(name: str) -> int:
    for row, names in enumerate(LAYERS):
        if name in names:
            return row
    starred = f"{name.partition('.')[0]}.*"
    rows = [row for row, names in enumerate(LAYERS) if starred in names]
    assert rows, f"{name} stands in no layer; add it to LAYERS, as low as its imports allow"
    return rows[0]


@pytest.mark.parametrize("name", sorted(name for name in modules() if name != "__init__"))
def test_arrows_point_down(name: str) -> None:
    upwards = {target for target in own_imports_of(name) if layer_of(target) > layer_of(name)}
    assert not upwards, f"{name} imports upwards: {sorted(upwards)}"


def test_no_import_circle() -> None:
    left = {name: own_imports_of(name) & modules().keys() for name in modules()}
    while free := [name for name, targets in left.items() if not targets]:
        left = {name: targets - set(free) for name, targets in left.items() if name not in free}
    assert not left, f"these modules import each other: {sorted(left)}"


@pytest.mark.parametrize("name", BOTTOM)
def test_the_bottom_imports_nothing_of_the_package(name: str) -> None:
    assert own_imports_of(name) == set()


@pytest.mark.parametrize("name", PURE)
def test_pure_modules_have_no_time_and_no_io(name: str) -> None:
    tops = {target.partition(".")[0] for target in imports_of(name)} - {PACKAGE}
    assert not tops & IMPURE
    assert not own_imports_of(name) & {"store.connection", "store.transaction", "store.queries", "clock", "board"}
    assert not [node for node in ast.walk(tree_of(name)) if isinstance(node, ast.Call) and called(node) == "open"]


def test_only_host_imports_the_host() -> None:
    found = {
        (name, target)
        for name in modules()
        for target in all_imports_of(name)
        if target.partition(".")[0] in HOST_TOPS and name.partition(".")[0] != "host"
    }
    assert not found


def test_host_is_imported_late() -> None:
    for name in modules():
        if name.partition(".")[0] == "host":
            statements = imported_by(ast.walk(tree_of(name)))
            assert not {target for target in statements if target.partition(".")[0] in HOST_TOPS}, name


def test_nothing_imports_its_surfaces_by_a_statement() -> None:
    for name in modules():
        if not name.startswith(("tools.", "hooks.")):
            surfaces = {target for target in own_imports_of(name) if target.partition(".")[0] in ("tools", "hooks")}
            assert not surfaces, f"{name} imports {surfaces}; surfaces are loaded by dotted name"


def test_only_one_module_opens_databases() -> None:
    by_name = {
        name
        for name in modules()
        for node in ast.walk(tree_of(name))
        if isinstance(node, ast.ImportFrom) and node.module == "sqlite3"
    }
    assert not by_name, "import sqlite3 as a module, so that a connect is seen"
    connecting = {name for name in modules() if "sqlite3.connect" in attributes_of(name)}
    assert connecting == {"store.connection"}
    # sqlite-utils can open files too; it is only ever given an open connection, in one place.
    assert {name for name in modules() if "sqlite_utils" in imports_of(name)} == {"store.schema", "store.migrations"}
    given = [
        ast.unparse(node.args[0])
        for name in ("store.schema", "store.migrations")
        for node in ast.walk(tree_of(name))
        if isinstance(node, ast.Call) and called(node) == "Database"
    ]
    assert given == ["connection"]


def attributes_of(name: str) -> set[str]:
    return {ast.unparse(node) for node in ast.walk(tree_of(name)) if isinstance(node, ast.Attribute)}


def test_only_the_manager_touches_the_hook_relay() -> None:
    assert {name for name in modules() if "pluggy" in imports_of(name)} == {"manager", "hookspecs"}
    assert "self._pluggy.hook" in attributes_of("manager")
    for name in modules().keys() - {"manager"}:
        relays = {text for text in attributes_of(name) if "_pluggy" in text or text.endswith("manager.hook")}
        assert not relays, f"{name} calls hooks itself; use Manager.ask or Manager.tell"


def opens(name: str, methods: set[str]) -> bool:
    for node in ast.walk(tree_of(name)):
        if not isinstance(node, ast.Call):
            continue
        if isinstance(node.func, ast.Name) and node.func.id in methods:
            return True
        # ``runtime.open(location)`` opens a board through the store; os.open and Path.open open files.
        if isinstance(node.func, ast.Attribute) and node.func.attr in methods:
            owner = ast.unparse(node.func.value)
            if node.func.attr != "open" or owner not in ("runtime", "self.runtime", "context.runtime"):
                return True
    return False


def test_files_are_opened_only_where_they_cannot_be_boards() -> None:
    assert {name for name in modules() if opens(name, {"open"})} <= set(MAY_OPEN)


def test_whole_files_are_read_only_where_they_cannot_be_boards() -> None:
    assert {name for name in modules() if opens(name, FILE_METHODS)} <= set(MAY_READ_TEXT)


@pytest.mark.parametrize("name", sorted(modules()))
def test_a_module_is_small_and_well_named(name: str) -> None:
    assert not set(name.split(".")) & {"utils", "helpers", "common", "base", "misc"}
    lines = len(modules()[name].read_text(encoding="utf-8").splitlines())
    assert lines <= MAX_LINES, f"{name} has {lines} lines"


def public_definitions(body: list[ast.stmt], prefix: str) -> Iterator[tuple[str, ast.AST]]:
    for node in body:
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            yield f"{prefix}{node.name}", node
            yield from public_definitions(node.body, f"{prefix}{node.name}.")
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and not node.name.startswith("_"):
            yield f"{prefix}{node.name}", node


@pytest.mark.parametrize("name", sorted(modules()))
def test_public_names_are_described_and_annotated(name: str) -> None:
    assert ast.get_docstring(tree_of(name)), f"{name} has no docstring"
    for label, node in public_definitions(tree_of(name).body, f"{name}."):
        assert ast.get_docstring(node), f"{label} has no docstring"  # type: ignore[arg-type]
    for node in ast.walk(tree_of(name)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            given = node.args
            every = [*given.posonlyargs, *given.args, *given.kwonlyargs, given.vararg, given.kwarg]
            bare = [arg.arg for arg in every if arg and arg.annotation is None and arg.arg not in ("self", "cls")]
            assert not bare, f"{name}.{node.name}: {bare} have no type"
            assert node.returns is not None, f"{name}.{node.name} has no return type"


def loaded_after(statement: str, *flags: str) -> set[str]:
    code = f"import json, sys; sys.path.append({str(ROOT)!r}); before = set(sys.modules); {statement}; "
    code += "print(json.dumps(sorted(set(sys.modules) - before)))"
    done = subprocess.run([sys.executable, *flags, "-c", code], capture_output=True, text=True, check=True, cwd="/")
    return set(json.loads(done.stdout))


def test_the_supervisor_loads_the_standard_library_only() -> None:
    loaded = loaded_after(f"import {PACKAGE}.supervisor.shim", "-I", "-S")
    assert f"{PACKAGE}.supervisor.shim" in loaded
    foreign = {name for name in loaded if name.partition(".")[0] not in {*sys.stdlib_module_names, PACKAGE}}
    assert not foreign


def test_importing_the_package_loads_no_dependency() -> None:
    loaded = loaded_after(f"import {PACKAGE}")
    assert f"{PACKAGE}" in loaded
    tops = {name.partition(".")[0] for name in loaded}
    assert not tops & {
        "pluggy",
        "pydantic",
        "sqlite_utils",
        "psutil",
        "rich",
        "ruamel",
        "sqlite3",
        "importlib.metadata",
    }
