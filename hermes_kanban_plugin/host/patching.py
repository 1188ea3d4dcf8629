"""Putting a function of ours in the place of one of the host's, so that doing it twice changes nothing."""

from __future__ import annotations

from typing import Any

_OURS = "_hermes_kanban"


def marked(ours: Any, original: Any) -> Any:
    """Return our function, which from now on says what it stands in for."""
    setattr(ours, _OURS, original)
    return ours


def original(function: Any) -> Any:
    """Return what stood in this place before us, so that a second registration does not wrap our own wrapper."""
    return getattr(function, _OURS, function)
