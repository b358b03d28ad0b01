"""Tokens that may come next, found in the text itself: what followed the last time that these tokens stood there.

After A. Saxena, "Prompt Lookup Decoding", 2023. They are only proposals: one pass says which of them the model would
have chosen, so the text is that of the model alone.
"""

from __future__ import annotations

from collections.abc import Sequence

WIDTH = 8  # tokens of a proposal
_MATCH = 2  # so many tokens must be the same before any are proposed
_HOPE = 2.5  # tokens that a proposal is expected to bring, before any was made
_REST = 8  # tokens without proposals after some that did not pay
_COST = 1.8  # how much longer a wide pass takes than one for a single token, where nobody has measured it


class PromptLookup:
    """Proposes for one text as it grows.

    Attributes:
        end: Behind so many tokens nothing is wanted.
    """

    def __init__(self, end: int = 0) -> None:
        self.end = end
        self._places: dict[tuple[int, ...], int] = {}
        self._indexed = 0
        self._gain: float | None = None  # passes that a proposal saves
        self._rest_until = 0

    def proposed(self, tokens: Sequence[int], cost: float = _COST) -> list[int]:
        """Tokens for the places behind these; often none.

        Args:
            tokens: The text.
            cost: How much longer a pass takes with a proposal.
        """
        last = tuple(tokens[-_MATCH:])
        for place in range(max(self._indexed, _MATCH), len(tokens)):
            self._places[tuple(tokens[place - _MATCH : place])] = place
        self._indexed = len(tokens)
        place, room = self._places.get(last), min(WIDTH, self.end - len(tokens) - 1)
        if place is None or room < 1 or len(last) < _MATCH or not self._pays(len(tokens), cost):
            return []
        # what was written over since may stand there no more
        return list(tokens[place : place + room]) if tuple(tokens[place - _MATCH : place]) == last else []

    def took(self, accepted: int, length: int, cost: float = _COST) -> None:
        """How many of the last proposal were right, how long the text is by now, and what the pass cost."""
        before = _HOPE + 1 - cost if self._gain is None else self._gain
        self._gain = 0.5 * before + 0.5 * (accepted + 1 - cost)
        if self._gain < 0:
            self._gain, self._rest_until = 0.1, length + _REST

    def _pays(self, length: int, cost: float) -> bool:
        return length >= self._rest_until and (cost < _HOPE + 1 if self._gain is None else self._gain > 0)


class Pace:
    """How long passes take, by the number of their tokens; the shortest counts: a busy machine makes them longer."""

    def __init__(self) -> None:
        self._least: dict[int, float] = {}

    def note(self, tokens: int, seconds: float) -> None:
        """A pass over so many tokens has taken so long."""
        if tokens <= WIDTH + 1:
            self._least[tokens] = min(seconds, self._least.get(tokens, seconds) * 1.02)

    def cost(self, tokens: int) -> float:
        """How much longer a pass over so many tokens takes than one over a single token."""
        known = [width for width in self._least if width > 1]
        if not known or 1 not in self._least:
            return _COST
        nearest = min(known, key=lambda width: abs(width - tokens))
        return 1 + (self._least[nearest] / self._least[1] - 1) * (tokens - 1) / (nearest - 1)
