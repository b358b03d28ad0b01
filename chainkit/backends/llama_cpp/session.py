"""A text that a GGUF model has read, token by token: `Session` on llama.cpp."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Self

from chainkit.backends.llama_cpp.engine import Engine, Slot
from chainkit.backends.llama_cpp.vocabulary import Vocabulary
from chainkit.decoding.sampler import Logits, log_softmax
from chainkit.steered.session import SteeredSession


class LlamaSession(SteeredSession):
    """Tokens on an engine of llama.cpp."""

    def __init__(self, engine: Engine, tokens: Sequence[int] = (), *, cancelled: threading.Event | None = None) -> None:
        super().__init__(tokens, cancelled=cancelled)
        self.engine = engine
        self._slot: Slot | None = None

    @property
    def vocabulary(self) -> Vocabulary:
        """The model's tokens."""
        return self.engine.vocabulary

    @property
    def limit(self) -> int:
        """How many tokens the context holds."""
        return self.engine.limit

    def score(self, options: Sequence[str]) -> list[float]:
        """The joint log-probability of each text as the continuation of this one; the session stays as it is."""
        self.begun()
        length, start = len(self.tokens), self.logits()
        scores: list[float] = []
        try:
            for option in options:
                scores.append(self._joint(self.vocabulary.tokenize(option)))
                self.rewind(length)
                self._logits = length, start
        finally:
            self.rewind(length)
            self._pause()
        return scores

    def fork(self) -> Self:
        """A second session with the same tokens; what was read is shared and not read again."""
        twin = type(self)(self.engine, self.tokens)
        twin._logits = self._logits  # the same text has the same next token
        return twin

    def close(self) -> None:
        """Give the memory back; the text stays there for reuse until others need the place."""
        self.engine.drop(self._slot, self)
        self._slot = None

    def _next(self) -> Logits:
        self._slot, computed, logits = self.engine.advance(
            self, self._slot, self.tokens, self._known, self._cancelled.is_set
        )
        self._count(computed)
        return logits

    def _pause(self) -> None:
        self.engine.release(self._slot)

    def _joint(self, tokens: Sequence[int]) -> float:
        total = 0.0
        for token in tokens:
            total += float(log_softmax(self.logits())[token])
            self.append([token])
        return total
