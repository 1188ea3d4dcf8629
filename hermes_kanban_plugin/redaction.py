"""Secrets are taken out of what workers write on the board.

Inside the host its own redaction is used (see ``host.py``); these patterns serve where there is no host, for example
for the last output lines of a command worker. Standard library only: the supervisor uses this module too.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

MASK = "***"

# Every pattern is bounded or anchored so that a megabyte of one word costs one pass, not one per character.

_WHOLE = re.compile(
    r"-----BEGIN [A-Z ]{0,40}PRIVATE KEY-----(?:(?!-----BEGIN ).)*?-----END [A-Z ]{0,40}PRIVATE KEY-----"
    r"|\b(?:sk|pk|rk)[-_](?=[A-Za-z0-9_-]*[0-9])[A-Za-z0-9_-]{16,}"
    r"|\bgh[pousr]_[A-Za-z0-9]{20,}|\bgithub_pat_[A-Za-z0-9_]{20,}|\bglpat-[A-Za-z0-9_-]{16,}"
    r"|\bxox[abprs]-[A-Za-z0-9-]{10,}|\bAKIA[0-9A-Z]{16}\b|\bAIza[0-9A-Za-z_-]{30,}"
    r"|\beyJ[A-Za-z0-9_-]{8,}\.eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}",
    re.DOTALL,
)
_AFTER_SCHEME = re.compile(r"\b(Bearer|Basic)\s+[A-Za-z0-9._~+/=-]{12,}", re.IGNORECASE)
_URL_PASSWORD = re.compile(r"\b([a-z][a-z0-9+.-]{0,20}://[^\s:/@]{1,200}):[^\s/@]{1,500}@", re.IGNORECASE)
_SECRET_NAME = r"(?:password|passwd|secret|token|api_?key|access_?key|private_?key)"
_NAMED = re.compile(rf"[A-Za-z0-9_]*{_SECRET_NAME}", re.IGNORECASE)
_ASSIGNED = re.compile(
    rf"(?P<name>{_SECRET_NAME}[\"']?\s*[:=]\s*)"
    r"(?P<quote>[\"']?)[^\s\"',;}]{6,}(?P=quote)",
    re.IGNORECASE,
)


def redact(text: str) -> str:
    """Return the text with everything that looks like a credential masked."""
    text = _WHOLE.sub(MASK, text)
    text = _AFTER_SCHEME.sub(rf"\1 {MASK}", text)
    text = _URL_PASSWORD.sub(rf"\1:{MASK}@", text)
    return _ASSIGNED.sub(rf"\g<name>\g<quote>{MASK}\g<quote>", text)


def redact_tree(value: Any, redact_text: Callable[[str], str] = redact, name: str = "") -> Any:
    """Return JSON data with every credential in it masked; its shape, numbers and flags stay.

    Texts are masked one by one: masking the JSON text as a whole could take a quote or a bracket away with a secret.

    Args:
        value: what ``json.loads`` returns.
        redact_text: masks one text.
        name: the key that the value stands under; a text under a secret's name is masked whole.
    """
    if isinstance(value, dict):
        return {redact_text(key): redact_tree(item, redact_text, key) for key, item in value.items()}
    if isinstance(value, list):
        return [redact_tree(item, redact_text, name) for item in value]
    if not isinstance(value, str):
        return value
    return MASK if value and _NAMED.fullmatch(name) else redact_text(value)
