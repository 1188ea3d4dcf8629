"""Secrets never reach the board: not in what people read, not in what machines read, wherever an agent puts them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from hermes_kanban_plugin import redaction

if TYPE_CHECKING:
    from tests.tools.conftest import Seat

KEY = "sk-" + "live" + "A1b2C3d4E5f6G7h8I9j0"  # put together here, so that no scanner takes this file for a leak
GITHUB = "ghp_" + "a1B2c3D4e5F6g7H8i9J0k1L2"


@pytest.mark.parametrize("tool", ["kanban_heartbeat", "kanban_block", "kanban_complete"])
def test_no_text_of_a_tool_brings_a_secret_onto_the_board(seat: Seat, tool: str) -> None:
    seat.work()
    spread = f"used {KEY} and\nGITHUB_TOKEN={GITHUB} to log in"
    fields: dict[str, dict[str, Any]] = {
        "kanban_heartbeat": {"note": spread},
        "kanban_block": {"reason": spread},
        "kanban_complete": {
            "summary": spread,
            "result": spread,
            "metadata": {"log": [spread, {"deep": spread}], GITHUB: 1, "password": "hunter2"},
        },
    }
    assert seat.call(tool, **fields[tool])["ok"] is True
    written = seat.dump()
    assert "log in" in written
    for secret in (KEY, GITHUB, "hunter2"):
        assert secret not in written


def test_audit_of_phantom_cards_holds_no_secret(seat: Seat) -> None:
    seat.work()
    seat.call("kanban_complete", summary=f"made cards with {KEY}", created_cards=["t_00000000"])
    assert "made cards with" in seat.dump()
    assert KEY not in seat.dump()


@pytest.mark.parametrize(
    "metadata",
    [
        {"max_token": 1234567, "token": True},
        {"command": 'export API_KEY="abcdefgh123"'},
        {"command": "curl -H 'Authorization: Bearer abcdefghijklmnop'\\"},
        {"nested": {"tokens": [1, 2.5, None]}, "text": 'a "quoted" word'},
    ],
    ids=["numbers", "quotes", "backslash", "nested"],
)
def test_metadata_stays_the_json_it_was(seat: Seat, metadata: dict[str, Any]) -> None:
    """Masking the JSON text as a whole would break it, and finished work would be refused."""
    lease = seat.work()
    assert seat.call("kanban_complete", summary="done", metadata=metadata)["ok"] is True
    kept = seat.board.runs(lease.task_id)[0].metadata
    assert shape(kept) == shape(metadata)


def shape(value: Any) -> Any:
    """Return data with every text replaced by its type."""
    if isinstance(value, dict):
        return {key: shape(item) for key, item in value.items()}
    if isinstance(value, list):
        return [shape(item) for item in value]
    return "text" if isinstance(value, str) else value


def test_plain_metadata_is_kept_word_for_word(seat: Seat) -> None:
    lease = seat.work()
    metadata = {"changed_files": ["src/token.py", "a/b.c"], "tests_run": 12, "ok": True, "umlaut": "über"}
    seat.call("kanban_complete", summary="done", metadata=metadata)
    assert seat.board.runs(lease.task_id)[0].metadata == metadata


def test_names_of_secrets_mask_whole_texts_below_them() -> None:
    data = {"api_key": ["one two", "three"], "secret": "x", "secretary": "ann", "client_secret": {"value": "v"}}
    expected = {"api_key": ["***", "***"], "secret": "***", "secretary": "ann", "client_secret": {"value": "v"}}
    assert redaction.redact_tree(data) == expected
