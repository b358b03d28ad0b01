"""Speculative decoding: a small model proposes tokens, and one pass of the large one says which it would choose.

After Y. Leviathan et al., "Fast Inference from Transformers via Speculative Decoding", 2023. Unlike there, a token is
always drawn from the large model's own scores, and counts as accepted if it is the proposed one: so the text is that of
the large model alone, greedy or drawn, seed for seed, with any constraint; it only comes in fewer passes.
"""

from __future__ import annotations

from typing import Self

import numpy as np

from chainkit.base.errors import Unsupported
from chainkit.decoding.sampler import Logits
from chainkit.local.requests import common
from chainkit.local.session import LocalSession, SessionVocabulary

_LEAST_CHANCE = 0.3  # what the small model itself is so unsure of is seldom accepted
_SPARE_TOKENS = 128  # by which vocabularies of one family may differ in length


class Drafted(LocalSession):
    """A session whose next tokens another one, on a smaller model, proposes; put it before the backend's own class."""

    takes_vectors = False  # the small model has vectors of another width
    _draft: LocalSession | None = None
    _at_once = 0

    def drafted_by(self, draft: LocalSession, at_once: int) -> Self:
        """Let another session propose so many tokens at once."""
        self._draft, self._at_once = draft, at_once
        return self

    def fork(self) -> Self:
        """A second session with the same tokens, with proposals of its own."""
        twin = super().fork()
        return twin.drafted_by(self._draft.fork(), self._at_once) if self._draft else twin

    def close(self) -> None:
        """Give the memory to others, that of the small model too."""
        super().close()
        if self._draft is not None:
            self._draft.close()

    def _proposed(self) -> list[int]:
        """What the small model would write."""
        draft, tokens = self._draft, list[int]()
        if draft is None:
            return super()._proposed()
        room = min(self._at_once, self.limit - len(self.tokens) - 1, draft.limit - len(self.tokens))
        if room <= 0:
            return tokens
        draft.rewind(common(draft.tokens, self.tokens)).append(self.tokens[len(draft.tokens) :])
        while len(tokens) < room:
            token = _sure(draft.logits())
            if token is None or token >= _size(self.vocabulary) or self.vocabulary.is_end(token):
                break
            tokens.append(token)
            draft.append([token])
        draft._pause()
        return tokens


def check_vocabularies(large: SessionVocabulary, small: SessionVocabulary) -> None:
    """Refuse a small model whose tokens are not those of the large one.

    Raises:
        Unsupported: Says where they differ.
    """
    sizes = _size(large), _size(small)
    if abs(sizes[0] - sizes[1]) > _SPARE_TOKENS:
        raise Unsupported(f"the draft has {sizes[1]} tokens and the model {sizes[0]}; take one of the same family")
    for token in range(min(sizes)):
        if large.name(token) != small.name(token):
            shown = f"{large.name(token)!r} and {small.name(token)!r}"
            raise Unsupported(f"token {token} is {shown} in model and draft; take a draft model of the same family")


def _size(vocabulary: SessionVocabulary) -> int:
    return vocabulary.size


def _sure(logits: Logits) -> int | None:
    """The likeliest token, if it is likely enough."""
    token = int(logits.argmax())
    chance = 1.0 / float(np.exp(logits - logits[token]).sum())
    return token if chance >= _LEAST_CHANCE else None
