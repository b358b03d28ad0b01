"""A text that a GGUF model has read, token by token: `Session` on llama.cpp."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Self

from chainkit.backends.llama_cpp.engine import Engine
from chainkit.backends.llama_cpp.slots import Slot
from chainkit.backends.llama_cpp.vocabulary import Vocabulary
from chainkit.local.session import LocalSession


class LlamaSession(LocalSession):
    """Tokens on an engine of llama.cpp."""

    engine: Engine
    takes_vectors = True

    def __init__(self, engine: Engine, tokens: Sequence[int] = (), *, cancelled: threading.Event | None = None) -> None:
        super().__init__(tokens, cancelled=cancelled)
        self.engine = engine

    @property
    def vocabulary(self) -> Vocabulary:
        """The model's tokens."""
        return self.engine.vocabulary

    @property
    def place(self) -> Slot:
        """Where the tokens are in memory, once they were read."""
        assert self._place is not None
        return self._place

    def fork(self) -> Self:
        """A second session with the same tokens; what was read is shared and not read again."""
        twin = type(self)(self.engine, self.tokens)
        twin._logits = self._logits  # the same text has the same next token
        return twin

    def close(self) -> None:
        """Give the memory back; the text stays there for reuse until others need the place."""
        self.engine.drop(self._place, self)
        self._place = None

    def _pause(self) -> None:
        self.engine.release(self._place)
