"""A YAML text that is edited in single places: every byte outside of an edit stays what it was.

ruamel.yaml says where each node stands (its marks); the text is then changed there and nowhere else, because writing a
whole document back would change spacing, wrapping and comments of lines that are none of ours. An edit proposes one or
more texts; who asked for it checks them by reading them again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from hermes_kanban_plugin.errors import SetupRefused

if TYPE_CHECKING:
    from collections.abc import Iterator

    Value = bool | str | list[str] | dict[str, "Value"]

DEFAULT_STEP = 2
_MERGE = "tag:yaml.org,2002:merge"


class YamlText:
    """One document as text and as nodes.

    Raises:
        SetupRefused: it is not valid YAML, holds several documents, or is no mapping; the message has no file name.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        self.newline = "\r\n" if text.partition("\n")[0].endswith("\r") else "\n"
        try:
            root = YAML(typ="safe", pure=True).compose(text)
        except (YAMLError, ValueError) as problem:
            raise SetupRefused(f"it is not valid YAML: {' '.join(str(problem).split())[:200]}") from problem
        if root is not None and is_null(root):
            root = None
        if root is not None and not isinstance(root, MappingNode):
            raise SetupRefused("it is not a mapping of keys to values")
        self.root: MappingNode | None = root

    # --- looking ---------------------------------------------------------------------------------------------------

    def find(self, path: tuple[str, ...]) -> tuple[MappingNode, int] | None:
        """Return the mapping that holds a key and the key's place in it, or None when it is not there.

        Raises:
            SetupRefused: a step of the path stands twice, or comes from somewhere else by a merge key.
        """
        mapping: Any = self.root
        place = -1
        for depth, name in enumerate(path):
            if depth:
                mapping = mapping.value[place][1]
            if not isinstance(mapping, MappingNode):
                return None
            places = [number for number, (key, _) in enumerate(mapping.value) if key.value == name]
            dotted = ".".join(path[: depth + 1])
            if len(places) > 1:
                raise SetupRefused(f"{dotted} stands there more than once; leave one of them")
            if any(key.tag == _MERGE for key, _ in mapping.value):
                raise SetupRefused(f"{dotted} may come from a merge key (<<); write the keys out")
            if not places:
                return None
            place = places[0]
        return mapping, place

    def node(self, path: tuple[str, ...]) -> Node | None:
        """Return the value of a key, or None when it is not there."""
        found = self.find(path)
        return None if found is None else found[0].value[found[1]][1]

    # --- editing ---------------------------------------------------------------------------------------------------

    def with_value(self, path: tuple[str, ...], value: Value) -> Iterator[str]:
        """Propose texts in which a key that is missing, or null, has a value; the steps to it are made."""
        for depth in range(len(path)):
            node = self.node(path[: depth + 1])
            if node is None:
                yield from self._with_pair(path[:depth], path[depth], _nested(path[depth + 1 :], value))
                return
            if is_null(node):
                yield from self._with_filled(path[: depth + 1], _nested(path[depth + 1 :], value))
                return

    def with_scalar(self, path: tuple[str, ...], word: str) -> Iterator[str]:
        """Propose a text in which a scalar that is there is written anew."""
        node = self.node(path)
        if isinstance(node, ScalarNode) and not _is_implicit_null(node):
            yield self._replaced(node.start_mark.index, node.end_mark.index, word)

    def with_item(self, path: tuple[str, ...], item: str) -> Iterator[str]:
        """Propose texts in which a list that is there has one item more, at its end."""
        node = self.node(path)
        if not isinstance(node, SequenceNode):
            return
        if not node.flow_style:
            last = node.value[-1]
            dash = self.text.rindex("-", 0, last.start_mark.index)
            line = self.text.rfind("\n", 0, dash) + 1
            gap = self.text[dash + 1 : last.start_mark.index]
            between = gap if gap.isspace() and "\n" not in gap else " "
            yield self._with_lines(self._content_end(last), [f"{self.text[line:dash]}-{between}{item}"])
        elif node.value:
            last = node.value[-1]
            yield self._replaced(last.end_mark.index, last.end_mark.index, f", {_like(item, last)}")
        else:
            key = self._key_of(path)
            yield self._replaced(node.start_mark.index, node.end_mark.index, f"[{_like(item, key)}]")

    def without_item(self, path: tuple[str, ...], item: str) -> Iterator[str]:
        """Propose texts in which a list lacks an item; a list that gets empty is written as such."""
        node = self.node(path)
        if not isinstance(node, SequenceNode):
            return
        places = [number for number, one in enumerate(node.value) if _is_word(one, item)]
        if not places:
            return
        if node.flow_style:
            yield from self._without_flow([(one, one) for one in node.value], places[0])
            return
        one = node.value[places[0]]
        line = self.text.rfind("\n", 0, self.text.rindex("-", 0, one.start_mark.index)) + 1
        end = self._line_end(self._content_end(one))
        if len(node.value) > 1:
            yield self._replaced(line, end, "")
        else:
            colon = self._colon_after(self._key_of(path))
            yield self.text[:colon] + " []" + self.text[colon:line] + self.text[end:]

    def without_pair(self, path: tuple[str, ...]) -> Iterator[str]:
        """Propose texts in which a key and its value are not there."""
        found = self.find(path)
        if found is None:
            return
        mapping, place = found
        key, value = mapping.value[place]
        if mapping.flow_style:
            yield from self._without_flow(mapping.value, place)
            return
        line = self.text.rfind("\n", 0, key.start_mark.index) + 1
        end = self._line_end(self._pair_end(key, value))
        if end == len(self.text) and not self.text.endswith("\n"):
            line = max(0, line - len(self.newline))  # the line break before it was ours
        yield self._replaced(line, end, "")

    # --- pieces ----------------------------------------------------------------------------------------------------

    def _with_pair(self, path: tuple[str, ...], key: str, value: Value) -> Iterator[str]:
        mapping = self.node(path) if path else self.root
        if mapping is None:
            yield self._with_lines(len(self.text), self._block(key, value, 0))
        elif isinstance(mapping, MappingNode) and mapping.flow_style:
            yield from self._with_flow_pair(mapping, path, key, value)
        elif isinstance(mapping, MappingNode):
            first, last = mapping.value[0][0], mapping.value[-1]
            lines = self._block(key, value, first.start_mark.column)
            yield self._with_lines(self._pair_end(*last), lines)
            start = self.text.rfind("\n", 0, first.start_mark.index) + 1
            yield self._replaced(start, start, "".join(line + self.newline for line in lines))
            yield self._with_lines(len(self.text), lines)

    def _with_flow_pair(self, mapping: MappingNode, path: tuple[str, ...], key: str, value: Value) -> Iterator[str]:
        if mapping.value:
            sibling = mapping.value[-1][0]
            end = self._content_end(mapping.value[-1][1])
            yield self._replaced(end, end, f", {_flow_pair(key, value, sibling)}")
        else:
            pair = _flow_pair(key, value, self._key_of(path) if path else None)
            yield self._replaced(mapping.start_mark.index, mapping.end_mark.index, f"{{{pair}}}")

    def _with_filled(self, path: tuple[str, ...], value: Value) -> Iterator[str]:
        """Propose texts in which a null has a value: below its line, or in its place."""
        key, node = self._key_of(path), self.node(path)
        assert node is not None
        colon = self._colon_after(key)
        flow = _flow(value, key)
        if _is_implicit_null(node):
            yield self._with_lines(colon, self._block(str(key.value), value, key.start_mark.column)[1:])
            yield self._replaced(colon, colon, f" {flow}")
        else:
            yield self._replaced(node.start_mark.index, node.end_mark.index, flow)

    def _without_flow(self, pairs: list[tuple[Node, Node]], place: int) -> Iterator[str]:
        start, end = pairs[place][0].start_mark.index, self._content_end(pairs[place][1])
        if place + 1 < len(pairs):
            yield self._replaced(start, pairs[place + 1][0].start_mark.index, "")
        elif place:
            yield self._replaced(self._content_end(pairs[place - 1][1]), end, "")
        else:
            yield self._replaced(start, end, "")
            rest = self.text[end:]
            comma = len(rest) - len(rest.lstrip()) + 1
            yield self._replaced(start, end + comma, "")

    def _block(self, key: str, value: Value, column: int) -> list[str]:
        """Return the lines of a pair in the manner of the document."""
        step, dash = self._manner()
        margin = " " * column
        if isinstance(value, dict):
            inner = [line for name, one in value.items() for line in self._block(name, one, column + step)]
            return [f"{margin}{key}:", *inner]
        if isinstance(value, list):
            return [f"{margin}{key}:", *(f"{margin}{' ' * dash}- {item}" for item in value)]
        return [f"{margin}{key}: {_word(value)}"]

    def _manner(self) -> tuple[int, int]:
        """Return how far the document indents a mapping, and a list, below their key."""
        steps: list[int] = []
        dashes: list[int] = []
        waiting = [self.root] if self.root is not None and not self.root.flow_style else []
        while waiting:
            for key, value in waiting.pop(0).value:
                if isinstance(value, SequenceNode) and not value.flow_style:
                    dashes.append(value.start_mark.column - key.start_mark.column)
                elif isinstance(value, MappingNode) and not value.flow_style and value.value:
                    steps.append(value.value[0][0].start_mark.column - key.start_mark.column)
                    waiting.append(value)
        step = next((one for one in steps if one > 0), DEFAULT_STEP)
        return step, next((one for one in dashes if one >= 0), step)

    def _key_of(self, path: tuple[str, ...]) -> Node:
        found = self.find(path)
        assert found is not None
        key: Node = found[0].value[found[1]][0]
        return key

    def _colon_after(self, key: Node) -> int:
        """Return where the value of a key may begin: behind its colon."""
        return self.text.index(":", key.end_mark.index) + 1

    def _pair_end(self, key: Node, value: Node) -> int:
        return self._colon_after(key) if _is_implicit_null(value) else self._last_end(value)

    def _last_end(self, node: Node) -> int:
        if isinstance(node, MappingNode) and not node.flow_style and node.value:
            return self._pair_end(*node.value[-1])
        if isinstance(node, SequenceNode) and not node.flow_style and node.value:
            return self._last_end(node.value[-1])
        return self._content_end(node)

    def _content_end(self, node: Node) -> int:
        """Return where the content of a node ends; a block scalar's mark is behind the empty lines that follow it."""
        start, end = int(node.start_mark.index), int(node.end_mark.index)
        if isinstance(node, ScalarNode) and node.style in ("|", ">"):
            return start + len(self.text[start:end].rstrip())
        return end

    def _line_end(self, index: int) -> int:
        """Return where the line ends that a place is in, behind its line break."""
        end = self.text.find("\n", index)
        return len(self.text) if end < 0 else end + 1

    def _with_lines(self, index: int, lines: list[str]) -> str:
        """Return the text with lines put behind the line that a place is in."""
        end = self._line_end(index)
        if end and not self.text[:end].endswith("\n"):  # the last line has no line break, so ours gets none either
            return self.text[:end] + self.newline + self.newline.join(lines)
        return self.text[:end] + "".join(line + self.newline for line in lines) + self.text[end:]

    def _replaced(self, start: int, end: int, piece: str) -> str:
        return self.text[:start] + piece + self.text[end:]


def _nested(path: tuple[str, ...], value: Value) -> Value:
    for name in reversed(path):
        value = {name: value}
    return value


def is_null(node: Node) -> bool:
    """Say whether a node is a null, written out or left out."""
    return isinstance(node, ScalarNode) and str(node.tag).endswith(":null")


def _is_implicit_null(node: Node) -> bool:
    return is_null(node) and node.start_mark.index == node.end_mark.index


def _is_word(node: Node, word: str) -> bool:
    return isinstance(node, ScalarNode) and node.value == word


def _word(value: bool | str) -> str:
    return ("true" if value else "false") if isinstance(value, bool) else value


def _like(word: str, sibling: Node | None) -> str:
    """Return a word quoted as its neighbour is."""
    quote = sibling.style if isinstance(sibling, ScalarNode) and sibling.style in ("'", '"') else ""
    return f"{quote}{word}{quote}"


def _flow_pair(key: str, value: Value, sibling: Node | None) -> str:
    return f"{_like(key, sibling)}: {_flow(value, sibling)}"


def _flow(value: Value, sibling: Node | None) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(_flow_pair(key, one, sibling) for key, one in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(_like(item, sibling) for item in value) + "]"
    return _word(value) if isinstance(value, bool) else _like(value, sibling)
