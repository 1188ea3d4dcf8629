"""Editing a config.yaml: our lines come and go, and every other byte stays what it was."""

from __future__ import annotations

import difflib

import pytest
from ruamel.yaml import YAML

from hermes_kanban_plugin.errors import SetupRefused
from hermes_kanban_plugin.installation import enabling
from hermes_kanban_plugin.installation.enabling import Traces

# What people and programs write, each with what setup has to keep.
TEXTS = {
    "nothing": "",
    "only a comment": "# later\n",
    "only a document mark": "---\n",
    "no line break at the end": "a: 1",
    "an end mark": "a: 1\n...\n",
    "comments at both ends": "---\n# top\na: 1\n# end\n",
    "carriage returns": "a: 1\r\nb:\r\n  - x\r\n",
    "a byte order mark": "\ufeffa: 1\n",
    "a directive": "%YAML 1.1\n---\na: yes\n",
    "odd spacing": "plugins : \n  enabled :\n   -   q\nother:   {a:   1}   \n",
    "everything indented": "  a: 1\n  b: 2\n",
    "a null": "plugins:\n",
    "a null among others": "plugins:\n  enabled:\nz: 1\n",
    "a null in words": "plugins: ~  # none\n",
    "empty, in one line": "plugins: {} # none\nz: 1\n",
    "empty lists": "plugins:\n  enabled: []\n  disabled: []\n",
    "a list at the key": "plugins:\n  enabled:\n  - a\n  - 'b'  # two\nz: 1\n",
    "a commented item": "plugins:\n  enabled:\n    - a\n    # - b\n\n  # more\nz: 1\n",
    "four columns": "plugins:\n    enabled:\n        - a\n    entries:\n        foo:\n            k: 1\n",
    "a list in one line": "plugins:\n  enabled: [a, b]   # two\n",
    "quoted items": "plugins:\n  enabled: ['a', \"b\"]\n",
    "a list in many lines": "plugins:\n  enabled: [\n    a,  # one\n    b,\n  ]\n",
    "everything in one line": "plugins: {enabled: [a], disabled: [hermes-kanban]}\n",
    "disabled, alone": "plugins:\n  disabled:\n    - hermes-kanban\n",
    "disabled, with a comment": "plugins:\n  disabled:   # off\n  - x\n  - hermes-kanban # no\n  - y\n",
    "disabled, first of a line": "plugins:\n  disabled: [hermes-kanban, y]\n",
    "disabled, last of a line": "plugins:\n  disabled: [x, hermes-kanban]\n",
    "disabled, with a last comma": "plugins:\n  disabled: [hermes-kanban,]\n",
    "our settings": "plugins:\n  entries:\n    hermes-kanban:\n      lanes: {sh: {command: [sh]}}\n",
    "our settings in one line": "plugins:\n  entries:\n    hermes-kanban: {lease_seconds: 60}\n",
    "our settings, empty": "plugins:\n  entries:\n    hermes-kanban:\n",
    "a no": "plugins:\n  entries:\n    hermes-kanban:\n      allow_tool_override: false # no\n",
    "a literal at the end": "prompt: |\n  one\n\n  two\n",
    "a kept literal at the end": "prompt: |+\n  one\n\n\n",
    "a folded text": "prompt: >-\n  one\n  two\n\n# end\n",
    "a long quoted text": "prompt: 'one\n\n  two'\nlong: \"" + "word " * 60 + '"\n',
    "anchors elsewhere": "b: &b [1]\nz: *b\n",
    "tags": "plugins: !!map\n  enabled: !!seq [a]\nx: !mine {y: 1}\n",
    "a key that stands twice elsewhere": "a: 1\na: 2\n",
    "an explicit key": "? plugins\n: enabled: [a]\n",
    "JSON": '{"plugins": {"enabled": ["a"], "entries": {"x": {}}}, "k": [1, 2]}',
    "JSON in many lines": '{\n  "model": "x",\n  "plugins": {\n    "enabled": [\n      "a"\n    ]\n  }\n}\n',
    "empty JSON": "{}",
    "not ASCII": "# ümläut\nname: '世界 🎉'\n",
}  # fmt: skip
NONE = Traces(False, False, None)


def data(text: str) -> object:
    yaml = YAML(typ="safe", pure=True)
    yaml.allow_duplicate_keys = True
    yaml.constructor.add_constructor("!mine", lambda constructor, node: constructor.construct_mapping(node))
    return yaml.load(text.removeprefix("\ufeff"))


def grew(before: str, after: str) -> bool:
    """Say whether a line is another one with something put into it."""
    rest = iter(after)
    return all(sign in rest for sign in before)


def lines_of_others(before: str, after: str) -> list[str]:
    """Return the lines that are gone or new although they are none of ours; one that only got longer is still there."""
    lines = list(difflib.ndiff(before.splitlines(keepends=True), after.splitlines(keepends=True)))
    gone = [line[2:] for line in lines if line.startswith("- ")]
    new = [line[2:] for line in lines if line.startswith("+ ")]
    foreign = [line for line in gone if not any(grew(line.rstrip("\r\n"), one) for one in new)]
    foreign += [line for line in new if not any(grew(one.rstrip("\r\n"), line) for one in gone)]
    ours = ("hermes-kanban", "plugins:", "enabled:", "disabled:", "entries:", "allow_tool_override:")
    return [line for line in foreign if line.strip() and not any(word in line for word in ours)]


@pytest.mark.parametrize("name", TEXTS)
def test_setup_writes_our_lines_and_touches_no_other(name: str) -> None:
    text = TEXTS[name]
    done = enabling.reach(text, enabling.read(text).wished())
    assert enabling.read(done).complete
    said = data(done)
    assert isinstance(said, dict)
    assert "hermes-kanban" in said["plugins"]["enabled"]
    assert "hermes-kanban" not in (said["plugins"].get("disabled") or [])
    assert said["plugins"]["entries"]["hermes-kanban"]["allow_tool_override"] is True
    assert lines_of_others(text, done) == []
    assert enabling.reach(done, enabling.read(done).wished()) == done


@pytest.mark.parametrize("name", TEXTS)
def test_what_setup_wrote_can_be_taken_out_again(name: str) -> None:
    """Not byte for byte where a null or an item came back, but the same for everybody who reads it."""
    text = TEXTS[name]
    before = enabling.read(text)
    done = enabling.reach(text, before.wished())
    made = [path for path in enabling.containers(done) if path not in enabling.containers(text)]
    back = enabling.reach(done, before, made)
    assert enabling.read(back) == before
    if not before.disabled and "null" not in name and "empty" not in name:
        assert back == text
    else:
        assert drop_empty(data(back)) == drop_empty(data(text))


def drop_empty(value: object) -> object:
    """Take out what says nothing; a list is a set here, because the order of plugins is none."""
    if isinstance(value, dict):
        return {key: kept for key, one in value.items() if (kept := drop_empty(one)) not in (None, {}, frozenset())}
    return frozenset(value) if isinstance(value, list) and all(isinstance(one, str) for one in value) else value


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: [\n", "not valid YAML"),
        ("\ta: 1\n", "not valid YAML"),
        ("a: *nobody\n", "not valid YAML"),
        ("a: 1\n---\nb: 2\n", "single document"),
        ("- a\n", "not a mapping"),
        ("just words\n", "not a mapping"),
        ("plugins: {}\nplugins: {}\n", "plugins stands there more than once"),
        ("plugins:\n  enabled: []\n  enabled: [a]\n", "plugins.enabled stands there more than once"),
        ("x: &x {enabled: [a]}\nplugins:\n  <<: *x\n", "merge key"),
        ("plugins:\n  enabled: yes\n", "plugins.enabled is not a list"),
    ],
)
def test_what_nobody_can_read_is_refused(text: str, words: str) -> None:
    with pytest.raises(SetupRefused, match=words):
        enabling.read(text)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("x: &x [a]\nplugins:\n  enabled: *x\n", "plugins.enabled"),  # writing there would change x
        ("plugins: [a]\n", "plugins.enabled"),
        ("plugins:\n  enabled: [hermes-kanban]\n  entries: [1]\n", "plugins.entries.hermes-kanban.allow_tool_override"),
    ],
)
def test_what_cannot_be_edited_alone_is_refused(text: str, words: str) -> None:
    with pytest.raises(SetupRefused, match=f"{words} cannot be changed without touching other lines"):
        enabling.reach(text, enabling.read(text).wished())


@pytest.mark.parametrize("word", ["true", "True", "yes", "on", "'true'"])
def test_a_yes_in_other_words_is_left_alone(word: str) -> None:
    text = f"plugins: {{enabled: [hermes-kanban], entries: {{hermes-kanban: {{allow_tool_override: {word}}}}}}}\n"
    assert enabling.read(text).complete
    assert enabling.reach(text, enabling.read(text).wished()) == text


def test_a_document_that_contains_itself_is_refused_and_not_followed_for_ever() -> None:
    with pytest.raises(SetupRefused, match="contains itself"):
        enabling.reach("a: &a [*a]\n", Traces(True, False, "true"))
