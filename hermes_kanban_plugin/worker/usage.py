"""How many tokens a worker used: what its host says of each answer, added up. Pure, standard library only.

Rule source: failure mode K5.
"""

from __future__ import annotations

from typing import Any, NamedTuple


class Usage(NamedTuple):
    """Tokens that went to models and that came from them; what was read from a provider's cache went there too."""

    input_tokens: int = 0
    output_tokens: int = 0

    def plus(self, said: Any) -> Usage:
        """Return the sum with what the host says of one answer; what is no number counts nothing.

        Args:
            said: the host's summary, a mapping with ``prompt_tokens`` (or ``input_tokens``) and ``output_tokens`` (or
                ``completion_tokens``), or anything else.
        """
        if not isinstance(said, dict):
            return self
        sent = _count(said, "prompt_tokens", "input_tokens")
        received = _count(said, "output_tokens", "completion_tokens")
        return Usage(self.input_tokens + sent, self.output_tokens + received)


def _count(said: dict[Any, Any], *names: str) -> int:
    for name in names:
        value = said.get(name)
        if isinstance(value, (int, float)) and not isinstance(value, bool) and 0 < value < 2**53:
            return int(value)
    return 0
