"""Which skills a profile's worker would find: looked for on disk where the host's worker looks, without starting it.

A worker that finds none of the skills it is started with ends at once, and one that finds some goes on without the
others, so a missing one is found before the start (failure mode E15). Rule source: contract section 5 (``--skills``);
the host's search order: the profile's ``skills`` folder, then ``skills.external_dirs`` of its configuration, with the
bundled skills copied in at its start unless the profile refused them.
"""

from __future__ import annotations

import os
import re
import sysconfig
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from hermes_kanban_plugin import host
from hermes_kanban_plugin.configuration import read_yaml
from hermes_kanban_plugin.errors import InvalidSettings

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

SKILL = "SKILL.md"
NO_BUNDLED = ".no-bundled-skills"
MANIFEST = ".bundled_manifest"
# Folders that the host does not look into, and those of a skill that hold its supporting files.
_EXCLUDED = frozenset(
    {".git", ".github", ".hub", ".archive", ".venv", "venv", "node_modules", "site-packages", "__pycache__", ".tox",
     ".nox", ".pytest_cache", ".mypy_cache", ".ruff_cache"}
)  # fmt: skip
_SUPPORT = frozenset({"references", "templates", "assets", "scripts"})
_NAME_LINE = re.compile(r"^name:[ \t]*(.+?)[ \t]*$", re.MULTILINE)
_HEAD_BYTES = 8192


class Shelf(NamedTuple):
    """The skills of one profile: every name that is found, those that are switched off, and where was looked."""

    names: frozenset[str]
    disabled: frozenset[str]
    places: tuple[str, ...]

    def has(self, name: str) -> bool:
        """Say whether a worker would load a skill by this name."""
        bare = name.strip().lstrip("/")
        return bool(bare) and bare not in self.disabled and (bare in self.names or _is_of_a_plugin(bare))

    def lacks(self, wanted: Sequence[str]) -> list[str]:
        """Return which of some skills a worker would not find, each once."""
        return [name for name in dict.fromkeys(wanted) if not self.has(name)]


def shelf_of(profile: str) -> Shelf | None:
    """Return the skills of a profile, or None when it has no home."""
    home = host.profile_home(profile)
    if home is None:
        return None
    section = _skills_section(home)
    bundled, names = bundled_folder(), set[str]()
    places = [home / "skills", *_external(section, home)]
    for place in places:
        names.update(_names_in(place))
    if bundled is not None and not (home / NO_BUNDLED).exists():
        removed = _removed_by_the_user(home / "skills")
        names.update(name for name in _names_in(bundled) if name.rpartition("/")[2] not in removed)
        places.append(bundled)
    return Shelf(frozenset(names), _disabled(section), tuple(str(place) for place in places))


def toolset_names() -> frozenset[str]:
    """Return the names of the host's toolsets, which people take for skills; none without the host."""
    if not host.is_installed():
        return frozenset()
    try:
        names = import_module("toolsets").get_toolset_names()
    except Exception:  # noqa: BLE001 - a host of another version must not keep a board from being looked at
        return frozenset()
    return frozenset(str(name).casefold() for name in names)


def bundled_folder() -> Path | None:
    """Return where the host's own skills are, which a worker copies into its profile at its start."""
    override = os.environ.get("HERMES_BUNDLED_SKILLS", "").strip()
    if override:
        return Path(override)
    roots = (sysconfig.get_path(scheme) for scheme in ("data", "purelib", "platlib"))
    return next((Path(root) / "skills" for root in roots if root and (Path(root) / "skills").is_dir()), None)


def _is_of_a_plugin(name: str) -> bool:
    """Say whether a name belongs to a plugin's skill: those are known only in a process that loads the plugin."""
    return ":" in name


def _names_in(folder: Path) -> Iterator[str]:
    """Yield every name by which a skill below a folder is found: folder name, path, title, and flat files."""
    for place, folders, files in os.walk(folder, followlinks=True):
        has_skill = SKILL in files
        folders[:] = [name for name in folders if name not in _EXCLUDED and not (has_skill and name in _SUPPORT)]
        here = Path(place)
        relative = here.relative_to(folder).as_posix()
        if has_skill:
            yield here.name
            yield relative
            yield relative.replace("/", ":")
            yield from _title(here / SKILL)
        for name in files:
            stem, dot, ending = name.rpartition(".")
            if dot and ending == "md" and name != SKILL:
                yield stem
                yield f"{relative}/{stem}" if relative != "." else stem


def _title(path: Path) -> Iterator[str]:
    """Yield the name that a skill gives itself in its head."""
    try:
        with path.open(encoding="utf-8", errors="replace") as stream:
            text = stream.read(_HEAD_BYTES)
    except OSError:
        return
    if not text.startswith("---"):
        return
    found = _NAME_LINE.search(text.partition("\n---")[0])
    if found:
        yield found[1].strip("'\"")


def _skills_section(home: Path) -> dict[str, Any]:
    try:
        section = read_yaml(home / "config.yaml").get("skills")
    except InvalidSettings:
        return {}
    return section if isinstance(section, dict) else {}


def _external(section: dict[str, Any], home: Path) -> list[Path]:
    listed = section.get("external_dirs") or []
    wishes = [listed] if isinstance(listed, str) else listed if isinstance(listed, list) else []
    found = []
    for wish in wishes:
        path = Path(os.path.expanduser(os.path.expandvars(str(wish).strip())))
        path = path if path.is_absolute() else home / path
        if str(wish).strip() and path.is_dir():
            found.append(path)
    return found


def _disabled(section: dict[str, Any]) -> frozenset[str]:
    """Return the skills that are switched off for a worker, which is a command line and no chat platform."""
    listed = section.get("disabled") or []
    values = [listed] if isinstance(listed, str) else listed if isinstance(listed, list) else []
    return frozenset(str(value).strip() for value in values)


def _removed_by_the_user(folder: Path) -> set[str]:
    """Return the bundled skills that were there once and were deleted: the host does not bring them back."""
    try:
        lines = (folder / MANIFEST).read_text(encoding="utf-8").splitlines()
    except OSError:
        return set()
    known = {line.partition(":")[0].strip() for line in lines if line.strip()}
    return known - set(_names_in(folder))
