"""A text that a transformers model has read, token by token: `Session` on the library's forward pass."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Self

from chainkit.backends.huggingface.engine import Engine, Memory
from chainkit.backends.huggingface.vocabulary import Vocabulary
from chainkit.decoding.sampler import Logits, log_softmax
from chainkit.steered.session import SteeredSession


class TransformersSession(SteeredSession):
    """Tokens on an engine of transformers."""

    def __init__(self, engine: Engine, tokens: Sequence[int] = (), *, cancelled: threading.Event | None = None) -> None:
        super().__init__(tokens, cancelled=cancelled)
        self.engine = engine
        self._memory: Memory | None = None

    @property
    def vocabulary(self) -> Vocabulary:
        """The model's tokens."""
        return self.engine.vocabulary

    @property
    def limit(self) -> int:
        """How many tokens the context holds."""
        return self.engine.limit

    def score(self, options: Sequence[str]) -> list[float]:
        """The joint log-probability of each text as the continuation of this one; the session stays as it is.

        Each text is computed in one pass; an empty text has the log-probability 0.
        """
        self.begun()
        length, start = len(self.tokens), self.logits()
        scores: list[float] = []
        try:
            for option in options:
                tokens = self.vocabulary.tokenize(option)
                rows = [start]
                if len(tokens) > 1:
                    self.append(tokens[:-1])
                    rows += list(self._advance(len(tokens) - 1))
                chances = (log_softmax(row)[token] for row, token in zip(rows, tokens, strict=False))
                scores.append(float(sum(chances)))
                self.rewind(length)
        finally:
            self.rewind(length)
            self._logits = length, start
        return scores

    def fork(self) -> Self:
        """A second session with the same tokens; what was read is copied and not read again."""
        twin = type(self)(self.engine, self.tokens)
        twin._logits = self._logits  # the same text has the same next token
        return twin

    def close(self) -> None:
        """Give the memory to others; what was read stays there for reuse until they need the place."""
        if self._memory is not None and self._memory.belongs_to(self):
            self._memory.owner = None
        self._memory = None

    def _next(self) -> Logits:
        return self._advance(1)[0]

    def _pause(self) -> None:
        """A memory is never waited for: whoever needs one takes the one that was used longest ago."""

    def _advance(self, last: int) -> Logits:
        """The scores behind each of the last tokens, [last, V]."""
        self._memory, computed, logits = self.engine.advance(
            self, self._memory, self.tokens, self._cancelled.is_set, last=last
        )
        self._count(computed)
        return logits
