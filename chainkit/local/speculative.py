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

_LEAST_CHANCE = 0.3  # what the small model itself is so unsure of is seldom accepted
_SPARE_TOKENS = 128  # by which vocabularies of one family may differ in length


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


def sure(logits: Logits) -> int | None:
    """The likeliest token, if it is likely enough."""
    token = int(logits.argmax())
    chance = 1.0 / float(np.exp(logits - logits[token]).sum())
    return token if chance >= _LEAST_CHANCE else None
