"""Tokens that may come next, found in the text itself: what followed the last time that these tokens stood there.

After A. Saxena, "Prompt Lookup Decoding", 2023. They are only proposals: one pass says which of them the model would
have chosen, so the text is that of the model alone.
"""

from __future__ import annotations

from collections.abc import Sequence

_MATCH = 2  # so many tokens must be the same before any are proposed
_WIDTH = 8  # a pass over so many tokens more takes about 1.8 times as long on a CPU
_PAYS = 1.5  # tokens that a proposal must bring on average
_REST = 8  # tokens without proposals after some that did not pay


class Lookup:
    """Proposes for one text as it grows.

    Args:
        end: Behind so many tokens nothing is wanted.
    """

    def __init__(self, end: int) -> None:
        self._end = end
        self._places: dict[tuple[int, ...], int] = {}
        self._indexed = 0
        self._gain, self._rest_until = _PAYS + 1.5, 0  # so that one that fails is not enough

    def proposed(self, tokens: Sequence[int]) -> list[int]:
        """Tokens for the places behind these; often none."""
        last = tuple(tokens[-_MATCH:])
        for place in range(max(self._indexed, _MATCH), len(tokens)):
            self._places[tuple(tokens[place - _MATCH : place])] = place
        self._indexed = len(tokens)
        place, room = self._places.get(last), min(_WIDTH, self._end - len(tokens) - 1)
        if place is None or room < 1 or len(tokens) < self._rest_until or len(last) < _MATCH:
            return []
        # what was written over since may stand there no more
        return list(tokens[place : place + room]) if tuple(tokens[place - _MATCH : place]) == last else []

    def took(self, accepted: int, length: int) -> None:
        """How many of the last proposal were right, and how long the text is by now."""
        self._gain = 0.5 * self._gain + 0.5 * accepted
        if self._gain < _PAYS:
            self._gain, self._rest_until = _PAYS + 0.5, length + _REST
