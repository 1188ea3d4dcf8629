"""What an attempt without a final word leaves behind, as a comment and as facts."""

from __future__ import annotations

from hermes_kanban_plugin import handoff
from hermes_kanban_plugin.causes import Cause
from hermes_kanban_plugin.handoff import Changes, Remains

CHANGES = Changes(["report.md", "src/main.py"], 3, " src/main.py | 4 ++--")


def test_the_comment_names_all_that_is_left_and_says_what_to_do() -> None:
    text = handoff.briefing(7, Cause.PROTOCOL_VIOLATION, "", Remains("All done!", CHANGES, 0, None, 12))
    assert text.startswith("Run 7 ended without kanban_complete or kanban_block.")
    for part in (
        "- report.md\n- src/main.py\n- and 3 more",
        "src/main.py | 4 ++--",
        "All done!",
        "do only what is missing",
    ):
        assert part in text
    assert text.index("report.md") < text.index("All done!") < text.index("Next:")


def test_a_silent_attempt_is_said_to_be_silent() -> None:
    text = handoff.briefing(7, Cause.TIMED_OUT, "ran 61 s", Remains(" \n", Changes(), None, 9, 61))
    assert "did not finish: ran 61 s" in text
    assert "It printed nothing." in text
    assert "Files" not in text
    assert "difference" not in text


def test_endless_words_are_cut_to_their_end() -> None:
    remains = Remains("x" * 10_000 + "the end", Changes(), 0, None, 1)
    assert len(handoff.briefing(7, Cause.PROTOCOL_VIOLATION, "", remains)) < handoff.MAX_WORDS + 500
    assert remains.facts()["last_words"].endswith("the end")
    assert len(remains.facts()["last_words"]) == handoff.MAX_WORDS


def test_all_parts_are_there_in_what_a_worker_is_shown_of_a_comment() -> None:
    """Hermes shows the first 2,048 characters of each: what is to be done must not be behind them."""
    names = [f"{'deep/' * 30}file-{number}.py" for number in range(40)]
    remains = Remains("w" * 9000 + " and then the end", Changes(names, 7, "d" * 2000), 0, None, 12)
    text = handoff.briefing(123_456, Cause.TIMED_OUT, "e" * 500, remains)
    assert len(text) <= 2048
    assert text.startswith("Run 123456 did not finish: eee")
    assert "call kanban_complete with a summary" in text
    assert "w and then the end" in text
    assert "file-0.py" in text
    assert "dddd" in text
    named = sum(f"file-{number}.py" in text for number in range(40))
    assert f"- and {47 - named} more" in text


def test_short_parts_leave_their_room_to_the_last_words() -> None:
    text = handoff.briefing(7, Cause.CRASHED, "exit 3", Remains("x" * 5000, Changes(), 3, None, 1))
    assert 1900 < len(text) <= 2048


def test_the_facts_can_be_stored() -> None:
    assert Remains("words", CHANGES, 0, None, 12).facts() == {
        "last_words": "words", "changed_files": ["report.md", "src/main.py"], "more_changed_files": 3,
        "difference": " src/main.py | 4 ++--", "exit_code": 0, "exit_signal": None, "runtime_seconds": 12,
    }  # fmt: skip
