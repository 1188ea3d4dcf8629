"""What of us stands in a ``config.yaml``, and writing it there or taking it away without touching anything else.

Rule source: contract section 7 (a plugin loads if ``plugins.enabled`` names it and ``plugins.disabled`` does not, and
may replace tools if ``plugins.entries.<name>.allow_tool_override`` says so).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from hermes_kanban_plugin.configuration import PLUGIN_ID
from hermes_kanban_plugin.errors import SetupRefused
from hermes_kanban_plugin.installation.yaml_text import YamlText, is_null

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    Path = tuple[str, ...]

ENABLED = ("plugins", "enabled")
DISABLED = ("plugins", "disabled")
ENTRY = ("plugins", "entries", PLUGIN_ID)
OVERRIDE = (*ENTRY, "allow_tool_override")
# What setup may have to make on the way, outermost first.
CONTAINERS: tuple[Path, ...] = (("plugins",), ENABLED, ENTRY[:2], ENTRY)
_BOM = "\ufeff"
_YES = "true"
_REFUSALS = ("", "~", "null", "false", "no", "off", "0", "n")
_DEEPEST = 100


class Traces(NamedTuple):
    """What a file says about us; ``override`` is the word that stands there, or None."""

    enabled: bool
    disabled: bool
    override: str | None

    @property
    def complete(self) -> bool:
        """Whether the host loads us and lets us replace tools."""
        return self.enabled and not self.disabled and self.allows_override

    @property
    def allows_override(self) -> bool:
        """Whether the host reads the word as a yes."""
        return self.override is not None and self.override.lower() not in _REFUSALS

    def wished(self) -> Traces:
        """Return what setup wants to stand there; a yes in other words is left as it is."""
        return Traces(True, False, self.override if self.allows_override else _YES)


def read(text: str) -> Traces:
    """Return what a ``config.yaml`` says about us.

    Raises:
        SetupRefused: it is not valid YAML, or so written that nobody can tell.
    """
    return _traces(YamlText(text.removeprefix(_BOM)))


def containers(text: str) -> list[Path]:
    """Return which of the keys that setup may have to make are there, whatever they hold."""
    document = YamlText(text.removeprefix(_BOM))
    return [path for path in CONTAINERS if document.node(path) is not None]


def decides(text: str) -> bool:
    """Say whether a file has a list of enabled plugins, or names us among the disabled ones."""
    document = YamlText(text.removeprefix(_BOM))
    return document.node(ENABLED) is not None or _traces(document).disabled


def reach(text: str, wish: Traces, made: Collection[Path] = ()) -> str:
    """Return a ``config.yaml`` that says what is wished about us and is otherwise the same, byte for byte.

    Args:
        text: the file.
        wish: what it shall say.
        made: keys that are taken away too when nothing is left in them.

    Raises:
        SetupRefused: it is not valid YAML, or cannot be edited without touching other lines.
    """
    bom, body = (_BOM, text[1:]) if text.startswith(_BOM) else ("", text)
    rest = _without_us(YamlText(body).root)
    for name in Traces._fields:
        document = YamlText(body)
        goal = _traces(document)._replace(**{name: getattr(wish, name)})
        if goal == _traces(document):
            continue
        found = next((text for text in _proposals(document, name, wish, made) if _is(text, goal, rest)), None)
        if found is None:
            dotted = ".".join({"enabled": ENABLED, "disabled": DISABLED, "override": OVERRIDE}[name])
            raise SetupRefused(f"{dotted} cannot be changed without touching other lines; change it by hand")
        body = found
    return bom + body


def _proposals(document: YamlText, name: str, wish: Traces, made: Collection[Path]) -> Iterator[str]:
    if name == "override":
        if wish.override is None:
            yield from document.without_pair(_last_user(document, OVERRIDE, made))
        elif isinstance(document.node(OVERRIDE), ScalarNode):
            yield from document.with_scalar(OVERRIDE, wish.override)
        if wish.override == _YES:
            yield from document.with_value(OVERRIDE, True)
        return
    path, wanted = (ENABLED, wish.enabled) if name == "enabled" else (DISABLED, wish.disabled)
    if wanted:
        yield from document.with_item(path, PLUGIN_ID)
        yield from document.with_value(path, [PLUGIN_ID])
        return
    node = document.node(path)
    if isinstance(node, SequenceNode) and len(node.value) == 1 and path in made:
        yield from document.without_pair(_last_user(document, path, made))
    yield from document.without_item(path, PLUGIN_ID)


def _last_user(document: YamlText, path: Path, made: Collection[Path]) -> Path:
    """Return the outermost key that was made for nothing but the one at a path."""
    while len(path) > 1 and path[:-1] in made:
        parent = document.node(path[:-1])
        if not isinstance(parent, MappingNode) or len(parent.value) > 1:
            break
        path = path[:-1]
    return path


def _is(text: str, goal: Traces, rest: Any) -> bool:
    """Say whether a proposed text says what it should about us and the same as before about everything else."""
    try:
        document = YamlText(text)
        return _traces(document) == goal and _without_us(document.root) == rest
    except SetupRefused:
        return False


def _traces(document: YamlText) -> Traces:
    override = document.node(OVERRIDE)
    return Traces(
        _names_us(document.node(ENABLED), ENABLED),
        _names_us(document.node(DISABLED), DISABLED),
        None if override is None else str(override.value),
    )


def _names_us(node: Node | None, path: Path) -> bool:
    if node is None or is_null(node):
        return False
    if not isinstance(node, SequenceNode):
        raise SetupRefused(f"{'.'.join(path)} is not a list; make it one")
    return any(isinstance(one, ScalarNode) and one.value == PLUGIN_ID for one in node.value)


# --- everything that is not ours -----------------------------------------------------------------------------------


def _without_us(root: MappingNode | None) -> tuple[Any, ...]:
    """Return all that a document says, but for us and for keys on our path that hold nothing."""
    return tuple(_pairs(root, ())) if root is not None else ()


def _pairs(mapping: MappingNode, path: Path) -> Iterator[tuple[Any, Any]]:
    for key, value in mapping.value:
        here = (*path, str(key.value)) if isinstance(key, ScalarNode) else ("", *path)
        if here == OVERRIDE:
            continue
        said = _said(value, here)
        if (here in CONTAINERS or here == DISABLED) and said in ((), None):
            continue
        yield _plain(key, 0), said


def _said(value: Node, path: Path) -> Any:
    """Return what a value on our path says without us, and what any other one says."""
    if path in CONTAINERS or path == DISABLED:
        if isinstance(value, MappingNode):
            return tuple(_pairs(value, path))
        if isinstance(value, SequenceNode):
            others = [one for one in value.value if not (isinstance(one, ScalarNode) and one.value == PLUGIN_ID)]
            return tuple(_plain(one, 0) for one in others)
        if is_null(value):
            return None
    return _plain(value, 0)


def _plain(node: Node, depth: int) -> Any:
    """Return a node as comparable values: kind, tag and content."""
    if depth > _DEEPEST:
        raise SetupRefused("it is nested too deeply, or contains itself")
    if isinstance(node, ScalarNode):
        return node.tag, node.value
    if isinstance(node, MappingNode):
        return node.tag, tuple((_plain(key, depth + 1), _plain(value, depth + 1)) for key, value in node.value)
    return node.tag, tuple(_plain(one, depth + 1) for one in node.value)
