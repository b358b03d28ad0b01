"""A text that a transformers model has read, token by token: `Session` on the library's forward pass."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Self

from chainkit.backends.huggingface.engine import Engine
from chainkit.backends.huggingface.vocabulary import Vocabulary
from chainkit.local.session import LocalSession
from chainkit.local.speculative import Drafted


class TransformersSession(LocalSession):
    """Tokens on an engine of transformers."""

    engine: Engine
    takes_vectors = True

    def __init__(self, engine: Engine, tokens: Sequence[int] = (), *, cancelled: threading.Event | None = None) -> None:
        super().__init__(tokens, cancelled=cancelled)
        self.engine = engine

    @property
    def vocabulary(self) -> Vocabulary:
        """The model's tokens."""
        return self.engine.vocabulary

    def fork(self) -> Self:
        """A second session with the same tokens; what was read is copied and not read again."""
        twin = type(self)(self.engine, self.tokens)
        twin._logits = self._logits  # the same text has the same next token
        return twin

    def close(self) -> None:
        """Give the memory to others; what was read stays there for reuse until they need the place."""
        self.engine.drop(self._place, self)
        self._place = None

    def _pause(self) -> None:
        """A memory is never waited for: whoever needs one takes the one that was used longest ago."""


class DraftedTransformersSession(Drafted, TransformersSession):
    """Tokens on an engine of transformers, some of them proposed by a smaller model."""
