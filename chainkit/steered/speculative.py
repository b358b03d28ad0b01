"""Speculative decoding: a small model proposes tokens, and one pass of the large one says which it would choose.

After Y. Leviathan et al., "Fast Inference from Transformers via Speculative Decoding", 2023. Unlike there, a token is
always drawn from the large model's own scores, and counts as accepted if it is the proposed one: so the text is that of
the large model alone, greedy or drawn, seed for seed, with any constraint; it only comes in fewer passes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from chainkit.base.errors import Unsupported
from chainkit.decoding.sampler import Logits
from chainkit.steered.branches import Branches
from chainkit.steered.requests import Answer, Request, common
from chainkit.steered.session import SessionVocabulary, SteeredSession

_LEAST_CHANCE = 0.3  # what the small model itself is so unsure of is seldom accepted
_SPARE_TOKENS = 128  # by which vocabularies of one family may differ in length


@dataclass(frozen=True)
class _Ahead:
    """Scores behind proposed tokens: row n is what follows if the first n + 1 of them are chosen."""

    start: int
    tokens: list[int]
    rows: Sequence[Logits]


class Drafted(SteeredSession):
    """A session whose next tokens another one, on a smaller model, proposes; put it before the backend's own class."""

    takes_vectors = False  # the small model has vectors of another width
    _draft: SteeredSession | None = None
    _at_once = 0
    _asked: Sequence[int] = ()
    _ahead: _Ahead | None = None
    _counted = 0  # drafts before this place are in the counters already

    def drafted_by(self, draft: SteeredSession, at_once: int) -> Self:
        """Let another session propose so many tokens at once."""
        self._draft, self._at_once = draft, at_once
        return self

    @property
    def ready(self) -> bool:
        """Whether the scores of the next token are known, perhaps from a pass that looked ahead."""
        if super().ready:
            return True
        ahead = self._ahead
        done = len(self.tokens) - ahead.start if ahead else 0
        if ahead is None or not 0 < done <= len(ahead.tokens) or self.tokens[ahead.start :] != ahead.tokens[:done]:
            return False
        self._logits = len(self.tokens), ahead.rows[done - 1]
        if len(self.tokens) > self._counted:
            self.counters.accepted += len(self.tokens) - max(self._counted, ahead.start)
            self._counted = len(self.tokens)
        return True

    def request(self, branches: Branches | None = None) -> Request[Any]:
        """What the engine must do for us: proposed tokens are computed with the text."""
        self._asked = () if branches is not None else self._proposed()
        if self._asked:
            branches = Branches([[*self._asked, self._asked[-1]]])  # scores are computed behind inner nodes only
        return super().request(branches)

    def receive(self, answer: Answer[Any]) -> None:
        """Take up what the engine has done."""
        super().receive(answer)
        self._ahead = None
        if self._asked:
            self.counters.drafted += len(self._asked)
            self._ahead = _Ahead(len(self.tokens), list(self._asked), list(answer.logits[1:]))
            self._asked = ()

    def rewind(self, length: int) -> Self:
        """Forget all but the first `length` tokens.

        Raises:
            ValueError: There are not so many.
        """
        super().rewind(length)
        self._counted = min(self._counted, length)
        if self._ahead is not None and length < self._ahead.start:
            self._ahead = None
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
            return tokens
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
