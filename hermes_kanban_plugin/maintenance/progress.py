"""How long work says how far it is: a callable that takes a sentence and a share between 0 and 1."""

from __future__ import annotations

from collections.abc import Callable

Progress = Callable[[str, float], None]


def silent(what: str, share: float) -> None:
    """Say nothing."""
