from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as some

from hermes_kanban_plugin.redaction import MASK, redact

RANDOM = "Zx81kQpL93mNv27TrYw4Bd6"
KEY = f"-----BEGIN RSA PRIVATE KEY-----\nMIIB{RANDOM}\n{RANDOM}==\n-----END RSA PRIVATE KEY-----"


@pytest.mark.parametrize(
    ("text", "redacted"),
    [
        (f"sk-{RANDOM}", MASK),
        (f"sk-proj-{RANDOM}", MASK),
        (f"sk_live_{RANDOM}", MASK),
        (f"ghp_{RANDOM}", MASK),
        (f"github_pat_{RANDOM}", MASK),
        (f"glpat-{RANDOM}", MASK),
        ("xoxb-123456789012-abcdef", MASK),
        ("AKIAIOSFODNN7EXAMPLE", MASK),
        (f"AIza{RANDOM}abcdefgh", MASK),
        (f"eyJhbGciOiJI.eyJzdWIiOiIx.{RANDOM}", MASK),
        (KEY, MASK),
        (f"Authorization: Bearer {RANDOM}", f"Authorization: Bearer {MASK}"),
        (f"authorization: basic {RANDOM}", f"authorization: basic {MASK}"),
        ("postgres://user:hunter22@db:5432/x", f"postgres://user:{MASK}@db:5432/x"),
        ("password: hunter2", f"password: {MASK}"),
        ('{"api_key": "abcdef123", "n": 1}', f'{{"api_key": "{MASK}", "n": 1}}'),
        ("DB_PASSWORD=hunter22 make", f"DB_PASSWORD={MASK} make"),
        ("access_key='abcdefgh'", f"access_key='{MASK}'"),
        ("client_secret = abcdefgh; next", f"client_secret = {MASK}; next"),
        ("MY_TOKEN=abcdefgh,OTHER=1", f"MY_TOKEN={MASK},OTHER=1"),
    ],
)
def test_what_looks_like_a_credential_is_masked_and_nothing_else(text: str, redacted: str) -> None:
    assert redact(text) == redacted
    assert redact(f"before\n{text}\nafter") == f"before\n{redacted}\nafter"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "wrote 12 tests, all pass; see docs/reference/cli.md",
        "commit 0a1b2c3d4e5f60718293a4b5c6d7e8f901234567",
        "task t_0a1b2c3d of run 7, sha256:9f86d081884c7d659a2feaa0c55ad015",
        "https://example.org/a?b=c#d and http://host:8080/x",
        "me@example.org asked for a password reset",
        "the token is valid; the secret of success",
        "max_tokens: 100000, tokens = 4096",
        "Basic idea: Bearer of news",
        "risk-assessment_of_the_new_release.md",
        "/home/user/.hermes/kanban.db",
        "Grüße, 世界 🎉\ttabs and\r\nlines",
    ],
)
def test_ordinary_text_is_left_alone(text: str) -> None:
    assert redact(text) == text


@given(words=some.lists(some.text(alphabet="abcdefg .,\n", max_size=30), max_size=5), secret=some.sampled_from(
    [f"ghp_{RANDOM}", "AKIAIOSFODNN7EXAMPLE", f"sk-{RANDOM}"]))  # fmt: skip
def test_a_secret_is_masked_wherever_it_stands(words: list[str], secret: str) -> None:
    text = f" {secret} ".join(words)
    assert redact(text) == f" {MASK} ".join(words)


@given(text=some.text())
def test_masking_twice_changes_nothing_more(text: str) -> None:
    assert redact(redact(text)) == redact(text)


@pytest.mark.timeout(30)
@pytest.mark.parametrize("piece", ["a", "a_", "A1", "password", "-----BEGIN PRIVATE KEY-----\n", "http:", "x=\n"])
def test_a_long_text_is_done_in_one_go(piece: str) -> None:
    """A worker's last line may be one long word; a pattern that tries every start for every end would never finish."""
    text = piece * (200_000 // len(piece))
    assert redact(text) == text
