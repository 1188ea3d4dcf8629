"""The dispatcher's log: fields in their order, values that can be read back."""

from __future__ import annotations

import json
import re

from hermes_kanban_plugin.logbook import entries_of, entry
from hermes_kanban_plugin.models import Rescued, Skipped, Started, TickReport

FIELD = re.compile(r'(\w+)=("(?:[^"\\]|\\.)*"|[^\s"=]+)')


def read(line: str) -> dict[str, str]:
    return {name: json.loads(value) if value.startswith('"') else value for name, value in FIELD.findall(line)}


def test_a_line_begins_with_what_was_done_and_ends_with_a_sentence() -> None:
    line = entry("rescued", "its worker died", board="default", task="t_1", run=None, outcome="reclaimed")

    assert line == 'action=rescued board=default task=t_1 outcome=reclaimed msg="its worker died"'


def test_whatever_stands_in_a_value_can_be_read_back() -> None:
    for value in ("", "a b", 'say "no"', "a=b", "two\nlines", "tab\there", "ümlaut", "\\", "x" * 2000):
        line = entry("noted", value, title=value)

        assert "\n" not in line
        assert read(line) == {"action": "noted", "title": value, **({"msg": value} if value else {})}


def test_a_report_is_a_line_for_each_deed_with_board_task_and_run() -> None:
    report = TickReport(
        board="default",
        rescued=[Rescued(task_id="t_1", run_id=1, outcome="reclaimed", reason="died")],
        repaired=[Rescued(task_id="t_2", run_id=None, outcome="repaired", reason="a claim too many")],
        promoted=["t_3"],
        started=[Started(task_id="t_4", run_id=4, assignee="coder", lane="hermes")],
        failed=[Skipped(task_id="t_5", reason="no such folder")],
        skipped=[Skipped(task_id="t_6", reason="at capacity")],
    )

    lines = [read(line) for line in entries_of(report)]

    assert [line["action"] for line in lines] == ["rescued", "repaired", "promoted", "started", "launch_failed"]
    assert {line["board"] for line in lines} == {"default"}
    assert [line["task"] for line in lines] == ["t_1", "t_2", "t_3", "t_4", "t_5"]
    assert [line.get("run") for line in lines] == ["1", None, None, "4", None]
