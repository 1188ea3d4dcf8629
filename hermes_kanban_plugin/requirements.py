"""What must be installed beside us, and how it gets into this Python environment.

``pip`` sees to it; a plugin folder brings nothing, and an environment that is mended by hand may lose a package. It
is looked for in every Hermes process, so finding imports nothing. The list is that of pyproject.toml
(tests/packaging/test_manifests.py compares); shtab, which completes words in a shell, is asked for where it is used.
"""

from __future__ import annotations

import re
import sys
from importlib.machinery import PathFinder

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

DISTRIBUTION = "hermes-kanban-plugin"
# Module to import -> what to install.
NEEDED = {
    "pluggy": "pluggy>=1.5,<2",
    "psutil": "psutil>=5.9,<8",
    "pydantic": "pydantic>=2.7,<3",
    "rich": "rich>=13,<16",
    "ruamel.yaml": "ruamel.yaml>=0.18,<0.20",
    "sqlite_utils": "sqlite-utils>=4.1,<5",
}
SHTAB = "shtab>=1.9,<2"
# How a gateway's dispatcher ends that cannot be run in its environment; the number is sysexits.h's for that.
CANNOT_RUN = 78


def missing() -> list[str]:
    """Return what is to be installed before we can work; nothing is imported to find out."""
    return [requirement for module, requirement in NEEDED.items() if not _is_there(module)]


def unfit() -> list[str]:
    """Return what is to be installed before we can work: what is missing, and what is there in another version.

    Costs more than :func:`missing`, because each package is asked for its version.
    """
    lacking = missing()
    return [
        requirement for requirement in NEEDED.values() if requirement in lacking or not _has_right_version(requirement)
    ]


def advice(requirements: Iterable[str]) -> str:
    """Return the one sentence that says what is missing in this environment, and the command that adds it."""
    wanted = list(requirements)
    return (
        f"the environment of this Python lacks packages or has other versions, add them with: {pip('install', *wanted)}"
    )


def pip(*words: str) -> str:
    """Return the command that does this to the packages of this interpreter: with pip, or with uv where there is none.

    Args:
        words: as they follow ``pip``.
    """
    import shlex  # late, as below: somebody is told what to do, which is rare
    import shutil

    if _is_there("pip"):
        return shlex.join([sys.executable, "-m", "pip", *words])
    verb, *rest = words
    if shutil.which("uv"):
        return shlex.join(["uv", "pip", verb, "--python", sys.executable, *rest])
    return f"{shlex.join([sys.executable, '-m', 'ensurepip'])} && {shlex.join([sys.executable, '-m', 'pip', *words])}"


def _is_there(module: str) -> bool:
    """Say whether a module can be found; the packages above it are looked into and not imported."""
    if module in sys.modules:
        return True
    path, name = None, ""
    for part in module.split("."):
        name = f"{name}.{part}".lstrip(".")
        spec = PathFinder.find_spec(name, path)
        if spec is None:
            return False
        path = list(spec.submodule_search_locations or ())
    return True


def _has_right_version(requirement: str) -> bool:
    """Say whether what is installed is in the range; what does not tell its version is taken for right."""
    from importlib.metadata import PackageNotFoundError, version  # late: slow, and no Hermes process asks for it

    name, _, bounds = requirement.partition(">=")
    lowest, _, below = bounds.partition(",<")
    try:
        found = _release(version(name))
    except PackageNotFoundError:
        return True
    return not found or _release(lowest) <= found < _release(below)


def _release(text: str) -> tuple[int, ...]:
    """Return the leading numbers of a version: those of its release, and of no pre-release."""
    leading = re.match(r"\d+(\.\d+)*", text)
    return tuple(int(number) for number in leading[0].split(".")) if leading else ()
