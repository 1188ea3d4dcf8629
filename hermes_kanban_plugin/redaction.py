"""Secrets are taken out of what workers write on the board.

Inside the host its own redaction is used (see ``host.py``); these patterns serve where there is no host, for example
for the last output lines of a command worker. Standard library only: the supervisor uses this module too.
"""

from __future__ import annotations

import re

MASK = "***"

_WHOLE = re.compile(
    r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?-----END [A-Z ]*PRIVATE KEY-----"
    r"|\b(?:sk|pk|rk)[-_](?:[a-z]+[-_])?[A-Za-z0-9_-]{16,}"
    r"|\bgh[pousr]_[A-Za-z0-9]{20,}|\bgithub_pat_[A-Za-z0-9_]{20,}|\bglpat-[A-Za-z0-9_-]{16,}"
    r"|\bxox[abprs]-[A-Za-z0-9-]{10,}|\bAKIA[0-9A-Z]{16}\b|\bAIza[0-9A-Za-z_-]{30,}"
    r"|\beyJ[A-Za-z0-9_-]{8,}\.eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}",
    re.DOTALL,
)
_AFTER_SCHEME = re.compile(r"\b(Bearer|Basic)\s+[A-Za-z0-9._~+/=-]{12,}", re.IGNORECASE)
_URL_PASSWORD = re.compile(r"\b([a-z][a-z0-9+.-]*://[^\s:/@]+):[^\s/@]+@", re.IGNORECASE)
_ASSIGNED = re.compile(
    r"(?P<name>[A-Za-z0-9_]*(?:password|passwd|secret|token|api_?key|access_?key|private_?key)[\"']?\s*[:=]\s*)"
    r"(?P<quote>[\"']?)[^\s\"',;}]{6,}(?P=quote)",
    re.IGNORECASE,
)


def redact(text: str) -> str:
    """Return the text with everything that looks like a credential masked."""
    text = _WHOLE.sub(MASK, text)
    text = _AFTER_SCHEME.sub(rf"\1 {MASK}", text)
    text = _URL_PASSWORD.sub(rf"\1:{MASK}@", text)
    return _ASSIGNED.sub(rf"\g<name>\g<quote>{MASK}\g<quote>", text)
