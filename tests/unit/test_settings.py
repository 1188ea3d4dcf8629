from __future__ import annotations

import os
from pathlib import Path

import pytest

from hermes_kanban_plugin import configuration
from hermes_kanban_plugin.configuration import LiveSettings, load
from hermes_kanban_plugin.errors import InvalidSettings
from hermes_kanban_plugin.settings import HostSettings, PluginSettings, Settings


def write(home: Path, text: str) -> None:
    (home / "config.yaml").write_text(text)


def plugin_section(body: str) -> str:
    indented = "\n".join(f"      {line}" for line in body.splitlines())
    return f"plugins:\n  entries:\n    hermes-kanban:\n{indented}\n"


def test_without_a_file_everything_has_its_default(home: Path) -> None:
    settings = load(home)
    assert settings == Settings(host=HostSettings(), plugin=PluginSettings())
    assert settings.host.dispatch_interval_seconds == 60
    assert settings.host.failure_limit == 2
    assert settings.host.max_spawn is settings.host.max_in_progress is None
    assert settings.plugin.lease_seconds == 120
    assert settings.plugin.lanes == {}


@pytest.mark.parametrize("text", ["", "# nothing\n", "kanban:\n", "- a\n- list\n", "word\n", "plugins: []\n"])
def test_a_file_that_says_nothing_to_us(home: Path, text: str) -> None:
    write(home, text)
    assert load(home) == Settings()


def test_the_hosts_section_is_honoured_and_may_hold_anything(home: Path) -> None:
    write(
        home,
        "kanban:\n  max_spawn: 3\n  max_in_progress: ''\n  max_in_progress_per_profile: null\n"
        "  failure_limit: 5\n  default_assignee: Writer\n  something_of_a_newer_host: [1, 2]\n",
    )
    host = load(home).host
    assert (host.max_spawn, host.max_in_progress, host.max_in_progress_per_profile) == (3, None, None)
    assert (host.failure_limit, host.default_assignee) == (5, "Writer")


@pytest.mark.parametrize("line", ["max_spawn: many", "max_in_progress: 0", "failure_limit: -1", "max_spawn: [1]",
                                  "dispatch_interval_seconds: x", "default_assignee: 5"])  # fmt: skip
def test_a_wrong_value_of_the_hosts_section_is_ignored_and_named(home: Path, line: str) -> None:
    write(home, f"kanban:\n  {line}\n  max_in_progress_per_profile: 7\n")
    settings = load(home)
    assert settings.host == HostSettings(max_in_progress_per_profile=7)
    (ignored,) = settings.ignored
    assert ignored.startswith(line.partition(":")[0])
    assert "\n" not in ignored


@pytest.mark.parametrize(
    ("line", "key", "value"),
    [
        ("dispatch_interval_seconds: 0", "dispatch_interval_seconds", 60),
        ("dispatch_interval_seconds: 0.2", "dispatch_interval_seconds", 1),
        ("dispatch_interval_seconds: '15'", "dispatch_interval_seconds", 15),
        ("failure_limit: 2.7", "failure_limit", 2),
        ("max_spawn: 0", "max_spawn", 0),  # nothing may start
        ("max_spawn: -3", "max_spawn", 0),
        ("max_in_progress: ${CAP}", "max_in_progress", 4),
        ("auto_decompose: off", "auto_decompose", False),
        ("auto_decompose: 'no'", "auto_decompose", False),
        ("auto_decompose:", "auto_decompose", False),
        ("auto_decompose_per_tick: 0", "auto_decompose_per_tick", 3),
        ("auto_decompose_per_tick: -1", "auto_decompose_per_tick", 1),
    ],
)
def test_the_hosts_section_is_read_as_the_host_reads_it(
    home: Path, monkeypatch: pytest.MonkeyPatch, line: str, key: str, value: object
) -> None:
    monkeypatch.setenv("CAP", "4")
    write(home, f"kanban:\n  {line}\n")
    settings = load(home)
    assert settings.ignored == ()
    assert settings.host == HostSettings().model_copy(update={key: value})


def test_our_section(home: Path) -> None:
    write(
        home,
        plugin_section(
            "allow_tool_override: true\nlease_seconds: 30\nlanes:\n  Counter:\n    command: [wc, -l, '{title}']"
        ),
    )
    plugin = load(home).plugin
    assert plugin.lease_seconds == 30
    assert plugin.lanes["counter"].command == ("wc", "-l", "{title}")  # under the name an assignee is stored by


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("lease_second: 30", ["'lease_second'", "'lease_seconds'"]),
        ("poll_second: 1", ["'poll_second'", "'poll_seconds'"]),
        ("lane: {}", ["'lane'", "'lanes'"]),
        ("comman: x", ["'comman'; did you mean 'extend_kanban_command'"]),  # never a key of another place
        ("lanes: {a: {comand: [x]}}", ["comand", "'command'"]),
        ("lease_seconds: 5", ["lease_seconds", "6", "5"]),
        ("lease_seconds: soon", ["lease_seconds", "'soon'"]),
        ("lanes: {a: {command: 'wc -l'}}", ["lanes.a.command"]),  # a shell string is not an argument vector
        ("lanes: {a: {command: []}}", ["lanes.a.command"]),
        ("lanes: [a]", ["lanes"]),
        ("pools: {gpu: {size: 1, assignee: [a]}}", ["assignee", "'assignees'"]),
        ("pools: {gpu: {size: 1, assignees: []}}", ["pools.gpu.assignees"]),
        ("pools: {gpu: {size: -1, assignees: [a]}}", ["pools.gpu.size", "-1"]),
        ("assignee_caps: {a: -1}", ["assignee_caps.a", "-1"]),
        ("assignee_caps: 3", ["assignee_caps", "3"]),
    ],
)
def test_our_section_is_checked(home: Path, body: str, words: list[str]) -> None:
    write(home, plugin_section(body))
    with pytest.raises(InvalidSettings) as refusal:
        load(home)
    assert all(word in str(refusal.value) for word in [*words, str(home / "config.yaml")])
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("text", ["a: [1\n", "a: b: c\n", "\tkanban: x\n", "a: *nowhere\n", "\x00"])
def test_a_file_that_is_not_yaml(home: Path, text: str) -> None:
    write(home, text)
    with pytest.raises(InvalidSettings, match=r"config\.yaml") as refusal:
        load(home)
    assert "\n" not in str(refusal.value)


def test_a_file_that_is_not_text(home: Path) -> None:
    (home / "config.yaml").write_bytes(b"kanban:\n  default_assignee: \xff\xfe\n")
    with pytest.raises(InvalidSettings, match="cannot be read"):
        load(home)


def test_a_folder_in_its_place(home: Path) -> None:
    (home / "config.yaml").mkdir()
    with pytest.raises(InvalidSettings, match="cannot be read"):
        load(home)


def test_environment_wins_over_the_file(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(home, plugin_section("lease_seconds: 30\npoll_seconds: 1"))
    monkeypatch.setenv("HERMES_KANBAN_PLUGIN_LEASE_SECONDS", "40")
    monkeypatch.setenv("HERMES_KANBAN_PLUGIN_LANES", '{"Shell": {"command": ["sh", "-c", "true"]}}')
    monkeypatch.setenv("HERMES_KANBAN_PLUGIN_BLOCK_PLUGINS", '["one", "two"]')
    plugin = load(home).plugin
    assert (plugin.lease_seconds, plugin.poll_seconds) == (40, 1)
    assert plugin.lanes["shell"].command == ("sh", "-c", "true")
    assert plugin.block_plugins == ("one", "two")


def test_an_unknown_variable_of_ours_is_refused_with_the_nearest_key(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HERMES_KANBAN_PLUGIN_LEASE_SECS", "40")
    with pytest.raises(InvalidSettings, match=r"'lease_secs'.*'lease_seconds'"):
        load(home)


def test_the_debug_switch_is_no_setting(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HERMES_KANBAN_PLUGIN_DEBUG", "1")
    assert load(home) == Settings()


@pytest.mark.parametrize(
    ("value", "seconds"),
    [("300", 300), (" 45 ", 45), ("", 120), ("0", 120), ("-5", 120), ("soon", 120), ("²", 120), ("1.5", 120),
     ("3", 6), ("999999", 86_400)],
)  # fmt: skip
def test_the_hosts_claim_ttl_is_the_default_lease(
    home: Path, monkeypatch: pytest.MonkeyPatch, value: str, seconds: int
) -> None:
    monkeypatch.setenv("HERMES_KANBAN_CLAIM_TTL_SECONDS", value)
    assert load(home).plugin.lease_seconds == seconds
    write(home, plugin_section("lease_seconds: 77"))
    assert load(home).plugin.lease_seconds == 77  # what is said to us in particular wins


@pytest.mark.parametrize(("value", "seconds"), [("0", 0), ("10", 10), ("-1", 300), ("x", 300)])
def test_the_hosts_cooldown(home: Path, monkeypatch: pytest.MonkeyPatch, value: str, seconds: int) -> None:
    monkeypatch.setenv("HERMES_KANBAN_RATE_LIMIT_COOLDOWN_SECONDS", value)
    assert load(home).plugin.rate_limit_cooldown_seconds == seconds


def test_settings_are_frozen(home: Path) -> None:
    with pytest.raises(ValueError, match="frozen"):
        load(home).plugin.lease_seconds = 1  # type: ignore[misc]


class TestLive:
    def test_an_edit_is_seen_at_the_next_use(self, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        live = LiveSettings(home)
        assert live.current().host.max_spawn is None
        write(home, "kanban: {max_spawn: 1}\n")
        assert live.current().host.max_spawn == 1
        write(home, "kanban: {max_spawn: 22}\n")
        assert live.current().host.max_spawn == 22
        (home / "config.yaml").unlink()
        monkeypatch.setattr(configuration, "EMPTY_SECONDS", 0.0)  # it stayed away: believed
        assert live.current() == Settings()

    def test_an_unchanged_file_is_not_read_again(self, home: Path) -> None:
        write(home, "kanban: {max_spawn: 1}\n")
        live = LiveSettings(home)
        assert live.current() is live.current()

    def test_an_edit_of_the_same_size_is_seen(self, home: Path) -> None:
        write(home, "kanban: {max_spawn: 1}\n")
        live = LiveSettings(home)
        write(home, "kanban: {max_spawn: 2}\n")
        stamp = (home / "config.yaml").stat().st_mtime_ns + 1_000_000_000
        os.utime(home / "config.yaml", ns=(stamp, stamp))
        assert live.current().host.max_spawn == 2

    @pytest.mark.parametrize("bad", ["kanban: [\n", "kanban: {max_spawn: no way}\n", plugin_section("leese: 1")])
    def test_a_bad_edit_keeps_the_last_good_settings(self, home: Path, bad: str) -> None:
        write(home, "kanban: {max_spawn: 7}\n")
        live = LiveSettings(home)
        good = live.current()
        write(home, bad)
        assert live.current() is good
        assert live.problem is not None
        assert "config.yaml" in live.problem
        assert live.current() is good
        write(home, "kanban: {max_spawn: 8}  # corrected\n")
        assert live.current().host.max_spawn == 8
        assert live.problem is None

    def test_a_bad_file_at_the_start_is_refused(self, home: Path) -> None:
        write(home, "kanban: [\n")
        with pytest.raises(InvalidSettings):
            LiveSettings(home)


# --- where they come from ------------------------------------------------------------------------------------------


def test_a_key_that_stands_twice_counts_as_in_the_host(home: Path) -> None:
    write(home, "kanban: {max_spawn: 1}\nkanban: {max_spawn: 2}\n")
    assert load(home).host.max_spawn == 2


def administered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    folder = tmp_path / "managed"
    folder.mkdir(exist_ok=True)
    (folder / "config.yaml").write_text(text)
    monkeypatch.setenv("HERMES_MANAGED_DIR", str(folder))


def test_what_the_administrator_set_wins_key_by_key(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(home, "kanban: {max_spawn: 9, failure_limit: 5}\n" + plugin_section("lease_seconds: 60"))
    ours = "plugins: {entries: {hermes-kanban: {max_starts_per_hour: 3}}}\n"
    administered(tmp_path, monkeypatch, f"kanban: {{max_spawn: 1}}\n{ours}")
    found = load(home)
    assert (found.host.max_spawn, found.host.failure_limit) == (1, 5)
    assert (found.plugin.lease_seconds, found.plugin.max_starts_per_hour) == (60, 3)


def test_without_a_file_of_ours_the_administrators_counts(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    administered(tmp_path, monkeypatch, "kanban: {max_in_progress: 4}\n")
    live = LiveSettings(home)
    assert live.current().host.max_in_progress == 4
    administered(tmp_path, monkeypatch, "kanban: {max_in_progress: 22}\n")
    assert live.current().host.max_in_progress == 22


def test_a_file_of_the_administrator_that_nobody_can_read_decides_nothing(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    write(home, "kanban: {max_spawn: 9}\n")
    administered(tmp_path, monkeypatch, "kanban: [")
    assert load(home).host.max_spawn == 9
    assert "administrator" in caplog.text


def test_a_kanban_home_elsewhere_has_the_settings_of_hermes(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.setenv("HERMES_KANBAN_HOME", str(elsewhere))
    assert load(elsewhere) == Settings()
    write(elsewhere, "kanban: {max_spawn: 7}\n")
    assert load(elsewhere).host.max_spawn == 7  # there is no other one
    write(home, "kanban: {max_spawn: 3}\n")
    assert load(elsewhere).host.max_spawn == 3


# --- a start that nobody looks at ----------------------------------------------------------------------------------


def test_a_dispatcher_starts_without_the_keys_that_are_wrong(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HERMES_KANBAN_PLUGIN_POLL", "1")
    write(home, "kanban: {max_spawn: 2}\n" + plugin_section("lease_second: 30\nlaunch_seconds: 0\nlease_seconds: 60"))
    with pytest.raises(InvalidSettings):
        load(home)
    found = load(home, lenient=True)
    assert (found.host.max_spawn, found.plugin.lease_seconds, found.plugin.launch_seconds) == (2, 60, 30)
    assert len(found.refused) == 3
    text = " ".join(found.refused)
    assert all(word in text for word in ("'lease_second'", "launch_seconds", "'poll'"))


def test_what_is_no_yaml_is_refused_all_the_same(home: Path) -> None:
    write(home, "kanban: [")
    with pytest.raises(InvalidSettings):
        load(home, lenient=True)


def test_later_a_slip_leaves_what_counts(home: Path) -> None:
    write(home, plugin_section("lease_second: 30\nlease_seconds: 60"))
    live = LiveSettings(home, lenient=True)
    write(home, plugin_section("lease_second: 30\nlease_seconds: 600"))
    assert live.current().plugin.lease_seconds == 60
    assert live.problem is not None
    write(home, plugin_section("lease_seconds: 6000"))
    assert live.current().plugin.lease_seconds == 6000
