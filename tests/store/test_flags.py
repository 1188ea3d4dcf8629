"""Flags of a board: set, read, cleared."""

from __future__ import annotations

from hermes_kanban_plugin.store import flags


def test_a_flag_says_who_set_it_and_since_when(desk) -> None:
    assert flags.find(desk.writer, flags.PAUSED) is None
    flags.put(desk.writer, flags.PAUSED, "upgrade", "ann", desk.now)
    assert flags.find(desk.writer, flags.PAUSED) == flags.Flag("paused", "upgrade", "ann", desk.now)


def test_setting_it_again_replaces_it(desk) -> None:
    flags.put(desk.writer, flags.PAUSED, "one", "ann", desk.now)
    flags.put(desk.writer, flags.PAUSED, "two", "bob", desk.now + 5)
    assert flags.find(desk.writer, flags.PAUSED) == flags.Flag("paused", "two", "bob", desk.now + 5)


def test_clearing_says_whether_there_was_one(desk) -> None:
    assert not flags.clear(desk.writer, flags.PAUSED)
    flags.put(desk.writer, flags.PAUSED, "", "ann", desk.now)
    assert flags.clear(desk.writer, flags.PAUSED)
    assert flags.find(desk.writer, flags.PAUSED) is None
