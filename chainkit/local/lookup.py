"""Prompt lookup decoding: propose next tokens from the text itself, as they followed the same tokens before.

After A. Saxena, "Prompt Lookup Decoding", 2023. They are only proposals: one pass says which of them the model would
have chosen, so the text is that of the model alone. How many are proposed follows from what passes cost on this machine
and from how often the text has gone on as it had before.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

WIDTH = 8  # tokens of a proposal at most
_MATCH = 2  # tokens that must match before any are proposed
_CHANCE, _SIGHTINGS = 0.75, 4.0  # prior that a text continues as before, and its weight in sightings
_FADE = 0.9  # factor on the weight of older sightings
_GAIN = 1.05  # propose only what brings more tokens in the time of one
_COST = 0.1  # extra time of a pass for each further token, where it was not measured

Cost = Callable[[int], float]
"""Time of a pass over a number of tokens, relative to one over a single token."""


def best_length(chance: float, cost: Cost, most: int, each: float = 0.0) -> int:
    """Number of tokens to propose for the highest throughput; 0 if proposals do not pay.

    >>> best_length(0.9, lambda tokens: 1 + 0.1 * (tokens - 1), most=8)
    8
    >>> best_length(0.9, lambda tokens: 1 + 0.4 * (tokens - 1), most=8)
    4
    >>> best_length(0.9, lambda tokens: 1.0 * tokens, most=8)
    0

    Args:
        chance: Probability that a proposed token is right if those before it are.
        cost: Relative time of a pass.
        most: Tokens to propose at most.
        each: Passes over a single token in whose time one token is proposed.
    """
    best, length, tokens, likely = _GAIN, 0, 1.0, 1.0
    for count in range(1, most + 1):
        likely *= chance
        tokens += likely
        speed = tokens / (cost(count + 1) + count * each)
        if speed > best:
            best, length = speed, count
    return length


class Chance:
    """Running estimate of how often a proposed token is right; recent ones count most."""

    def __init__(self) -> None:
        self._right, self._seen = _CHANCE * _SIGHTINGS, _SIGHTINGS

    @property
    def value(self) -> float:
        """Between 0 and 1."""
        return self._right / self._seen

    def note(self, right: bool) -> None:
        """Record whether one more was right."""
        self._right = self._right * _FADE + right
        self._seen = self._seen * _FADE + 1


class PromptLookup:
    """Proposes for one text as it grows.

    Attributes:
        end: Number of tokens after which nothing is proposed.
    """

    def __init__(self, end: int = 0) -> None:
        self.end = end
        self._places: dict[tuple[int, ...], int] = {}
        self._indexed = 0
        self._begun: int | None = None  # length of the text before anything was proposed
        self._chance = Chance()

    def proposed(self, tokens: Sequence[int], cost: Cost | None = None) -> list[int]:
        """Proposed continuation of these tokens; often empty.

        Args:
            tokens: The text.
            cost: Relative time of a pass; None where it is unknown.
        """
        self._index(tokens)
        last = tuple(tokens[-_MATCH:])
        place, room = self._places.get(last), min(WIDTH, self.end - len(tokens) - 1)
        # after a rewind these tokens may have been replaced
        if place is None or room < 1 or len(last) < _MATCH or tuple(tokens[place - _MATCH : place]) != last:
            return []
        length = best_length(self._chance.value, cost or Pace().cost, min(room, len(tokens) - place))
        return list(tokens[place : place + length])

    def _index(self, tokens: Sequence[int]) -> None:
        """Note what follows each pair of tokens, and whether it is what followed the last time."""
        if self._begun is None:
            self._begun = len(tokens)
        for place in range(max(self._indexed, _MATCH), len(tokens)):
            pair = tuple(tokens[place - _MATCH : place])
            before = self._places.get(pair)
            if before is not None and place >= self._begun and before < place:
                self._chance.note(tokens[before] == tokens[place])
            self._places[pair] = place
        self._indexed = len(tokens)


class Pace:
    """How long passes take whose tokens are all scored, by the number of their tokens.

    Attributes:
        measured: Whether it was known from the start; then it stays fixed, and proposals are reproducible.
            Otherwise passes are timed, the shortest of each length: a busy machine makes them longer.
    """

    def __init__(self, known: Mapping[int, float] | None = None) -> None:
        self._least = dict(known or {})
        self.measured = bool(known)

    def note(self, tokens: int, seconds: float) -> None:
        """Record the time of a pass over a number of tokens."""
        if not self.measured and tokens <= WIDTH + 1:
            self._least[tokens] = min(seconds, self._least.get(tokens, seconds) * 1.02)

    @property
    def single(self) -> float | None:
        """Seconds of a pass over one token; None as long as there was none."""
        return self._least.get(1)

    def cost(self, tokens: int) -> float:
        """Time of a pass over a number of tokens, relative to one over a single token."""
        single = self.single
        if single is None or len(self._least) < 2:
            return 1 + _COST * (tokens - 1)
        widths = sorted(self._least)
        if tokens <= widths[-1]:
            return float(np.interp(tokens, widths, [self._least[width] for width in widths])) / single
        slope = (self._least[widths[-1]] - self._least[widths[-2]]) / (widths[-1] - widths[-2])
        return (self._least[widths[-1]] + slope * (tokens - widths[-1])) / single
