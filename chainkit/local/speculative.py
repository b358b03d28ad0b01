"""Speculative decoding: a small model proposes tokens, and one pass of the large one says which it would choose.

After Y. Leviathan et al., "Fast Inference from Transformers via Speculative Decoding", 2023. Unlike there, a token is
always drawn from the large model's own scores, and counts as accepted if it is the proposed one: so the text is that of
the large model alone, greedy or drawn, seed for seed, with any constraint; it only comes in fewer passes.
"""

from __future__ import annotations

import numpy as np

from chainkit.base.errors import Unsupported
from chainkit.decoding.loop import Vocabulary
from chainkit.decoding.sampler import Logits
from chainkit.local.lookup import Chance, Pace, best_length

_LEAST_CHANCE = 0.3  # what the small model itself is so unsure of is seldom accepted
_REST = 16  # passes without a proposal where they do not pay; then one is tried, to see whether that has changed
_SPARE_TOKENS = 128  # allowed difference between vocabulary sizes of one family


def check_vocabularies(large: Vocabulary, small: Vocabulary) -> None:
    """Refuse a small model whose tokens are not those of the large one.

    Raises:
        Unsupported: Says where they differ.
    """
    sizes = large.size, small.size
    if abs(sizes[0] - sizes[1]) > _SPARE_TOKENS:
        raise Unsupported(f"the draft has {sizes[1]} tokens and the model {sizes[0]}; take one of the same family")
    for token in range(min(sizes)):
        if large.name(token) != small.name(token):
            shown = f"{large.name(token)!r} and {small.name(token)!r}"
            raise Unsupported(f"token {token} is {shown} in model and draft; take a draft model of the same family")


class DraftLength:
    """How many tokens a small model proposes at once: as many as pay, where it was measured what passes cost.

    Attributes:
        most: Maximum; used unchanged where the cost of passes is unknown.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self._chance = Chance()
        self._rested = 0

    def value(self, large: Pace, small: Pace) -> int:
        """Tokens to propose now.

        Args:
            large: Of the model.
            small: Of the one that proposes.
        """
        if not (large.measured and small.measured and large.single and small.single):
            return self.most
        if length := best_length(self._chance.value, large.cost, self.most, small.single / large.single):
            return length
        self._rested = (self._rested + 1) % _REST
        return 0 if self._rested else 1

    def took(self, accepted: int, proposed: int) -> None:
        """Record how many tokens of the last proposal were accepted; those after the first wrong one do not count."""
        for place in range(min(accepted + 1, proposed)):
            self._chance.note(place < accepted)


def sure(logits: Logits) -> int | None:
    """The likeliest token, if it is likely enough."""
    token = int(logits.argmax())
    chance = 1.0 / float(np.exp(logits - logits[token]).sum())
    return token if chance >= _LEAST_CHANCE else None
